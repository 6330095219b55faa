"""Measure the default model on labelled public sets, beside nearest neighbours and an isolation forest.

Every set is split into random halves by seed (`benchmarks.quality.protocol`); the model is trained by
`training.train.train`, its file loaded and the other half scored as the service does (`benchmarks.quality.trained`).
Rows are kept as they are measured, so that an interrupted run goes on where it stopped; changed code or settings start
anew. Writes quality.json, with conditions and all rows, and the same as tables in quality.md; quality-small.json and so
on for part of the sets.

    python -m benchmarks.quality --sets small
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.quality.measure import Case
from benchmarks.quality.options import Options, read_options
from benchmarks.quality.protocol import SEEDS
from benchmarks.quality.published import published_figures
from benchmarks.quality.report import report
from benchmarks.quality.results import conditions_in_words, incomplete, result_stem, write_results
from benchmarks.quality.rows import Row
from benchmarks.quality.run import exit_code, rows_of
from benchmarks.quality.summary import among_published, by_set, this_run

NAME = "quality"

_PROTOCOL = (
    "A random half of the normal records trains, the other half and all anomalies test. Figures are means over seeds; "
    "recall at 1% is at the threshold that 1% of the normal test records exceed, none where they are under 100."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return 1 if a case failed or the data are missing."""
    return exit_code(lambda: _run(read_options(__doc__, SEEDS, arguments)))


def _run(options: Options) -> int:
    cases = [Case(each.name, seed) for each in options.sets for seed in options.seeds]
    rows, failed = rows_of(cases, options)
    if rows:
        _write(list(rows.values()), options, [*failed])
    return int(bool(failed))


def _write(rows: list[Row], options: Options, failed: list[Case]) -> None:
    sets = by_set(rows)
    run, others = this_run(sets), among_published(sets, published_figures(options.data))
    seeds = ", ".join(map(str, options.seeds))
    notes = [f"{len(sets)} sets, seeds {seeds}. {_PROTOCOL}", conditions_in_words(rows)]
    if failed:
        notes.insert(0, incomplete(failed))
    figures = {"seeds": options.seeds, "failed": failed, "this_run": run, "among_published": others, "by_set": sets}
    stem = result_stem(NAME, options.wanted)
    write_results(stem, "python -m benchmarks.quality", figures, rows, options)
    page = options.output / f"{stem}.md"
    page.write_text(report("Quality on public sets", notes, sets, run, others), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")

"""Measure the default model on labelled public sets, beside nearest neighbours and an isolation forest.

Every set is split into random halves by seed (`benchmarks.quality.protocol`); the model is trained by
`training.train.train`, its file loaded and the other half scored as the service does (`benchmarks.quality.trained`).
Rows are kept as they are measured, so that an interrupted run goes on where it stopped; changed code or settings start
anew. Writes quality.json, with conditions and all rows, and the same as tables in quality.md; quality-small.json and so
on for part of the sets. With a folder of OddBench tables (`benchmarks.quality.oddbench` says how to make it) these are
a second group, in oddbench.json and oddbench.md. Earlier figures of the model stand beside its own.

    python -m benchmarks.quality --sets small
    python -m benchmarks.quality --sets none --oddbench FOLDER
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.quality.measure import Case
from benchmarks.quality.oddbench import HALVES, half_of, tables
from benchmarks.quality.options import Options, read_options
from benchmarks.quality.protocol import SEEDS
from benchmarks.quality.published import earlier_figures, published_figures
from benchmarks.quality.report import group_report, report
from benchmarks.quality.results import conditions_in_words, incomplete, result_stem, write_results
from benchmarks.quality.rows import Row
from benchmarks.quality.run import exit_code, rows_of
from benchmarks.quality.summary import among_published, beside_earlier, by_set, lead_over, this_run

NAME, GROUP = "quality", "oddbench"

_PROTOCOL = (
    "A random half of the normal records trains, the other half and all anomalies test. Figures are means over seeds; "
    "recall at 1% is at the threshold that 1% of the normal test records exceed, none where they are under 100."
)
_OWN_SPLIT = (
    "Each table has its own split: normal records train, others test, at most 20,000 of each. Defaults were chosen on "
    "the first half of the tables, told by a digest of their names; nothing was chosen on the second. Better and worse "
    "are counted from a difference of .005."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return 1 if a case failed or the data are missing."""
    return exit_code(lambda: _run(read_options(__doc__, SEEDS, arguments)))


def _run(options: Options) -> int:
    failures = _run_sets(options) if options.sets else 0
    if options.oddbench is not None:
        own = replace(options, data=options.oddbench, sets=tables(options.oddbench, options.tables), seeds=(0,))
        failures += _run_tables(own)
    return int(failures > 0)


def _run_sets(options: Options) -> int:
    """Measure the sets that are split at random, and return how many cases failed."""
    rows, failed = rows_of([Case(each.name, seed) for each in options.sets for seed in options.seeds], options)
    if rows:
        _write(list(rows.values()), options, [*failed])
    return len(failed)


def _run_tables(options: Options) -> int:
    """Measure the tables of OddBench, and return how many cases failed."""
    rows, failed = rows_of([Case(each.name, 0) for each in options.sets], options)
    if rows:
        _write_tables(list(rows.values()), options, [*failed])
    return len(failed)


def _write(rows: list[Row], options: Options, failed: list[Case]) -> None:
    sets = by_set(rows)
    run, others = this_run(sets), among_published(sets, published_figures(options.data))
    seeds = ", ".join(map(str, options.seeds))
    notes = [f"{len(sets)} sets, seeds {seeds}. {_PROTOCOL}", str(lead_over(sets)), conditions_in_words(rows)]
    if failed:
        notes.insert(0, incomplete(failed))
    earlier = beside_earlier(sets, earlier_figures(NAME))
    figures = {
        "seeds": options.seeds,
        "failed": failed,
        "this_run": run,
        "among_published": others,
        "beside_earlier": earlier,
        "by_set": sets,
    }
    stem = result_stem(NAME, options.wanted)
    write_results(stem, "python -m benchmarks.quality", figures, rows, options)
    page = options.output / f"{stem}.md"
    page.write_text(report("Quality on public sets", notes, sets, run, others, earlier), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")


def _write_tables(rows: list[Row], options: Options, failed: list[Case]) -> None:
    sets, earlier = by_set(rows), earlier_figures(GROUP)
    groups = {"all": sets} | {half: [each for each in sets if half_of(each.name) == half] for half in HALVES}
    standings = {name: beside_earlier(group, earlier) for name, group in groups.items() if group}
    notes = [f"{len(sets)} tables. {_OWN_SPLIT}", conditions_in_words(rows)]
    if failed:
        notes.insert(0, incomplete(failed))
    leads = {name: lead_over(groups[name]) for name in standings}
    figures = {"failed": failed, "standings": standings, "leads": leads, "by_set": sets}
    write_results(GROUP, "python -m benchmarks.quality", figures, rows, options)
    page = options.output / f"{GROUP}.md"
    page.write_text(group_report("Quality on tables of OddBench", notes, sets, standings, leads), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")

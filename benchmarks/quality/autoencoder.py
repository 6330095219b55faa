"""Measure plain autoencoders of the model's size on labelled public sets, to see what the rest of the model buys.

Sets, halves and figures are those of `python -m benchmarks.quality`; the autoencoders are described in
`benchmarks.quality.plain_autoencoder`. Writes autoencoder.json, with conditions and all rows, and the same as a table
in autoencoder.md; autoencoder-small.json and so on for part of the sets.

    python -m benchmarks.quality.autoencoder --sets small
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from benchmarks.quality.figures import Ranking, ranking
from benchmarks.quality.measure import Case
from benchmarks.quality.options import Options, read_options
from benchmarks.quality.parallel import in_processes
from benchmarks.quality.plain_autoencoder import VARIANTS, autoencoder_scores
from benchmarks.quality.protocol import load_set, random_half
from benchmarks.quality.report import table
from benchmarks.quality.results import conditions_in_words, incomplete, result_stem, write_results
from benchmarks.quality.run import commit_measured, exit_code
from vaegis.training.config import TrainConfig

NAME = "autoencoder"
SEEDS = (0,)
_METRICS = {"auroc": "AUROC", "ap": "AP", "recall": "recall at 1%, by hindsight"}


class AutoencoderRow(BaseModel):
    """How each autoencoder ranks the test half of a case.

    Attributes:
        commit: On which the code stood.
        case: Set and seed.
        variants: Figures by name of the autoencoder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str
    case: Case
    variants: dict[str, Ranking]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return 1 if a case failed or the data are missing."""
    return exit_code(lambda: _run(read_options(__doc__, SEEDS, arguments)))


def _run(options: Options) -> int:
    cases = [Case(each.name, seed) for each in options.sets for seed in options.seeds]
    work = partial(rankings, data=options.data, config=options.config)
    commit, found = commit_measured(), {}
    begin = time.perf_counter()
    for number, (case, result) in enumerate(in_processes(work, cases, options.processes), start=1):
        minutes = (time.perf_counter() - begin) / 60
        print(f"{number}/{len(cases)} {minutes:5.1f} min  {_line(case, result)}", flush=True)
        if not isinstance(result, Exception):
            found[case] = AutoencoderRow(commit=commit, case=case, variants=result)
    rows = [found[case] for case in cases if case in found]
    failed = [case for case in cases if case not in found]
    if rows:
        _write(rows, options, failed)
    return int(bool(failed))


def rankings(case: Case, data: Path, config: TrainConfig) -> dict[str, Ranking]:
    """Return the figures of each autoencoder on one set.

    Raises:
        MissingDataError: There is no such set.
    """
    halves = random_half(*load_set(data, case.set_name), case.seed)
    return {
        variant.name: ranking(
            halves.labels, autoencoder_scores(halves.training, halves.test, variant, config, case.seed)
        )
        for variant in VARIANTS
    }


def _line(case: Case, result: dict[str, Ranking] | Exception) -> str:
    name = f"{case.set_name} seed {case.seed}"
    if isinstance(result, Exception):
        return f"{name}: failed: {type(result).__name__}: {result}"
    return f"{name}: " + ", ".join(f"{variant} {each.auroc:.3f}/{each.ap:.3f}" for variant, each in result.items())


def means(rows: Sequence[AutoencoderRow]) -> dict[str, dict[str, float]]:
    """Return the mean of each figure by autoencoder and metric, over sets, of their means over seeds."""
    names = dict.fromkeys(row.case.set_name for row in rows)
    by_set = [[row for row in rows if row.case.set_name == name] for name in names]
    return {
        variant.name: {
            metric: fmean(fmean(getattr(row.variants[variant.name], metric) for row in of_set) for of_set in by_set)
            for metric in _METRICS
        }
        for variant in VARIANTS
    }


def _write(rows: list[AutoencoderRow], options: Options, failed: list[Case]) -> None:
    stem = result_stem(NAME, options.wanted)
    figures = {"seeds": options.seeds, "failed": failed, "means": means(rows)}
    write_results(stem, f"python -m benchmarks.quality.{NAME}", figures, rows, options)
    page = options.output / f"{stem}.md"
    page.write_text(_page(rows, options, failed), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")


def _page(rows: list[AutoencoderRow], options: Options, failed: list[Case]) -> str:
    names = [variant.name for variant in VARIANTS]
    sets = dict.fromkeys(row.case.set_name for row in rows)
    over_seeds = {name: means([row for row in rows if row.case.set_name == name]) for name in sets}
    seeds = ", ".join(map(str, options.seeds))
    parts = [
        "# Plain autoencoders of the model's size",
        *([incomplete(failed)] if failed else []),
        f"{len(sets)} sets, seeds {seeds}; the halves of quality.md, where the model and neighbours stand.",
        conditions_in_words(rows),
        "## Means over sets",
        table(
            ["autoencoder", *_METRICS.values()],
            ([name, *map(_share, each.values())] for name, each in means(rows).items()),
        ),
        "## AUROC / AP by set",
        table(
            ["set", *names],
            (
                [name, *(f"{_share(of_set[each]['auroc'])} / {_share(of_set[each]['ap'])}" for each in names)]
                for name, of_set in over_seeds.items()
            ),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _share(value: float) -> str:
    return f"{value:.4f}".removeprefix("0")


if __name__ == "__main__":
    sys.exit(main())

"""Measure plain autoencoders of the model's size on labelled public sets, to see what the rest of the model buys.

Sets, halves and figures are those of `python -m benchmarks.quality`, and so are the tables of OddBench, where a folder
of them is given; the autoencoders are described in `benchmarks.quality.plain_autoencoder`. Writes autoencoder.json,
with conditions and all rows, and the same as a table in autoencoder.md; autoencoder-small.json and so on for part of
the sets.

    python -m benchmarks.quality.autoencoder --sets small
    python -m benchmarks.quality.autoencoder --oddbench FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from benchmarks.quality.figures import Ranking, ranking
from benchmarks.quality.measure import Case, halves_of
from benchmarks.quality.oddbench import HALVES, half_of, tables
from benchmarks.quality.options import Options, read_options
from benchmarks.quality.parallel import in_processes
from benchmarks.quality.plain_autoencoder import VARIANTS, autoencoder_scores
from benchmarks.quality.report import table
from benchmarks.quality.results import conditions_in_words, incomplete, result_stem, write_results
from benchmarks.quality.run import commit_measured, exit_code

NAME = "autoencoder"
SEEDS = (0,)
SETS = "sets of ADBench"
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
    if options.oddbench is not None:
        cases += [Case(each.name, 0) for each in tables(options.oddbench, options.tables)]
    work = partial(rankings, options=options)
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


def rankings(case: Case, options: Options) -> dict[str, Ranking]:
    """Return the figures of each autoencoder on one set, or one table of OddBench.

    Raises:
        MissingDataError: There is no such set.
    """
    halves = halves_of(case, options.data if _is_set(case, options) else options.oddbench or options.data)
    return {
        variant.name: ranking(
            halves.labels, autoencoder_scores(halves.training, halves.test, variant, options.config, case.seed)
        )
        for variant in VARIANTS
    }


def _is_set(case: Case, options: Options) -> bool:
    return case.set_name in {each.name for each in options.sets}


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
    groups = _groups(rows, options)
    figures = {
        "seeds": options.seeds,
        "failed": failed,
        "means": {group: means(of_group) for group, of_group in groups.items()},
    }
    write_results(stem, f"python -m benchmarks.quality.{NAME}", figures, rows, options)
    page = options.output / f"{stem}.md"
    page.write_text(_page(rows, groups, options, failed), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")


def _groups(rows: list[AutoencoderRow], options: Options) -> dict[str, list[AutoencoderRow]]:
    """Return the rows by group: the sets, then the tables of OddBench by half; only groups that have rows."""
    groups: dict[str, list[AutoencoderRow]] = {group: [] for group in (SETS, *HALVES)}
    for row in rows:
        groups[SETS if _is_set(row.case, options) else half_of(row.case.set_name)].append(row)
    return {group: of_group for group, of_group in groups.items() if of_group}


def _page(
    rows: list[AutoencoderRow], groups: dict[str, list[AutoencoderRow]], options: Options, failed: list[Case]
) -> str:
    names = [variant.name for variant in VARIANTS]
    sets = dict.fromkeys(row.case.set_name for row in rows)
    over_seeds = {name: means([row for row in rows if row.case.set_name == name]) for name in sets}
    seeds = ", ".join(map(str, options.seeds))
    parts = [
        "# Plain autoencoders of the model's size",
        *([incomplete(failed)] if failed else []),
        (
            f"{', '.join(f'{group}: {len(of_group)}' for group, of_group in groups.items())}. Seeds of the sets: "
            f"{seeds}. The halves of quality.md and the tables of oddbench.md, where the model and neighbours stand."
        ),
        conditions_in_words(rows),
        "## Means over sets",
        table(
            ["group", "autoencoder", *_METRICS.values()],
            (
                [group, name, *map(_share, each.values())]
                for group, of_group in groups.items()
                for name, each in means(of_group).items()
            ),
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

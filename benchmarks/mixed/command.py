"""Measure how many injected faults the default model finds in real records with categories, nulls and timestamps.

Beside it stand an isolation forest and nearest neighbours on one-hot and imputed columns of the same records. The
model is trained by `training.train.train`, and the file it writes scores the test as the service does. Writes
mixed.json, with conditions and all rows, and the same as tables in mixed.md.

    python -m benchmarks.mixed --seeds 0
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path

from pydantic_core import to_jsonable_python

from benchmarks.conditions import RESULTS, command_line, measured_on
from benchmarks.mixed.experiment import MODEL, Experiment, Row, Sizes, measured
from benchmarks.mixed.figures import BUT_NULL, added
from benchmarks.mixed.report import report
from benchmarks.mixed.sets import DATA, SETS, MissingDataError, load_set
from benchmarks.quality.parallel import in_processes
from benchmarks.quality.sources import library_versions
from vaegis.training.config import TrainConfig, load_config
from vaegis.training.errors import TrainingError

NAME = "mixed"
SEEDS = (0, 1, 2)
REMOVED = (0.0, 0.1, 0.3)
SIZES = Sizes(training=20_000, normal=10_000, faults=500)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return 1 if a run failed or the data are missing."""
    parsed = _parser().parse_args(arguments)
    chosen = [mixed_set for mixed_set in SETS if mixed_set.name in parsed.sets]
    try:
        config = load_config(parsed.config)
        for mixed_set in chosen:
            load_set(parsed.data, mixed_set.name)
    except (MissingDataError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    experiments = [Experiment(*each) for each in product(chosen, parsed.removed, parsed.seeds)]
    work = partial(
        measured, data=parsed.data, sizes=Sizes(parsed.training, parsed.normal, parsed.faults), config=config
    )
    rows: dict[Experiment, Row] = {}
    begin = time.perf_counter()
    for number, (experiment, result) in enumerate(in_processes(work, experiments, parsed.jobs), start=1):
        minutes = (time.perf_counter() - begin) / 60
        print(f"{number}/{len(experiments)} {minutes:5.1f} min  {_line(experiment, result)}", flush=True)
        if not isinstance(result, Exception):
            rows[experiment] = result
    if rows:
        in_order = [rows[experiment] for experiment in experiments if experiment in rows]
        _write(in_order, len(experiments), config, parsed.output, parsed.jobs)
    return int(len(rows) < len(experiments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [mixed_set.name for mixed_set in SETS]
    parser.add_argument("--sets", nargs="+", choices=names, default=names, help="which (all)")
    parser.add_argument(
        "--removed", type=float, nargs="+", default=REMOVED, help="shares of values removed (0 0.1 0.3)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of everything drawn (0 1 2)")
    parser.add_argument("--training", type=int, default=SIZES.training, help="most training records (%(default)s)")
    parser.add_argument("--normal", type=int, default=SIZES.normal, help="normal test records (%(default)s)")
    parser.add_argument("--faults", type=int, default=SIZES.faults, help="test records of each fault (%(default)s)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets (../shared/data/mixed)")
    parser.add_argument("--config", type=Path, help="training settings, a train.toml; none: those of vaegis-train")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (benchmarks/results)")
    return parser


def _line(experiment: Experiment, result: Row | Exception) -> str:
    name = f"{experiment.mixed_set.name}, {experiment.removed:.0%} removed, seed {experiment.seed}"
    if isinstance(result, Exception):
        return f"{name}: failed: {type(result).__name__}: {result}"
    found = {detector: each[BUT_NULL] for detector, each in result.detectors.items()}
    figures = ", ".join(f"{detector} {each.auroc:.3f}/{each.recall:.3f}" for detector, each in found.items())
    return f"{name}: AUROC/recall {figures}; {MODEL} fitted in {result.fit_seconds:.0f} s"


def _write(rows: list[Row], wanted: int, config: TrainConfig, output: Path, jobs: int) -> None:
    """Write the rows, how many of the faults were found by column, and the conditions; the same as a page."""
    conditions = measured_on()
    libraries = library_versions()
    plain = {name: [row for row in rows if row.set_name == name and not row.removed] for name in _names(rows)}
    document = {
        "command": command_line("python -m benchmarks.mixed"),
        "failed_runs": wanted - len(rows),
        "found_by_column_nothing_removed": {
            name: added([row.by_column for row in of_set]) for name, of_set in plain.items()
        },
        "settings": config.model_dump(mode="json"),
        "libraries": libraries,
        "measured_on": {**conditions, "processes": jobs},
        "rows": [to_jsonable_python(row, exclude={"by_column"}) for row in rows],
    }
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{NAME}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    commit = f"{conditions['commit']}{' with uncommitted changes' if conditions['uncommitted_changes'] else ''}"
    versions = ", ".join(f"{name} {number}" for name, number in libraries.items())
    in_words = (
        f"Commit {commit}; {conditions['date']}; {conditions['cpu']}, {conditions['cores']} cores; "
        f"Python {conditions['python']}, {versions}."
    )
    page = output / f"{NAME}.md"
    page.write_text(report(rows, in_words), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {page.with_suffix('.json')}")


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row.set_name for row in rows))

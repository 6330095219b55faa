"""What the benchmark commands of this package can be told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.conditions import RESULTS, ROOT
from benchmarks.quality.protocol import ALL, DATA, NONE, SMALL, SMALL_BELOW_RECORDS, SetSize, chosen_sets
from vaegis.training.config import TrainConfig, load_config

ROWS = ROOT / "build" / "quality-rows.jsonl"
"""Where rows are kept between runs: ignored by git, as the result files hold them too."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a command was told.

    Attributes:
        wanted: The sets, as on the command line.
        sets: The sets, in the order of the inventory.
        seeds: Of the halves.
        data: Folder of the sets.
        config: Training settings.
        processes: Cases measured at the same time.
        rows: File of the rows measured so far.
        output: Folder of the result files.
        oddbench: Folder of OddBench tables, a second group of sets; None: that group is left out.
        tables: Most OddBench tables of each half; None: all.
    """

    wanted: str
    sets: tuple[SetSize, ...]
    seeds: tuple[int, ...]
    data: Path
    config: TrainConfig
    processes: int
    rows: Path
    output: Path
    oddbench: Path | None = None
    tables: int | None = None


def read_options(description: str | None, seeds: Sequence[int], arguments: Sequence[str] | None) -> Options:
    """Parse a command line.

    Args:
        description: What the command does.
        seeds: Seeds unless told otherwise.
        arguments: The command line; None: that of the process.

    Raises:
        MissingDataError: There are no sets, or none of a name.
        ConfigError: The settings are wrong.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--sets",
        default=ALL,
        help=f"{ALL}, {NONE}, {SMALL} (under {SMALL_BELOW_RECORDS} records), or names with commas (%(default)s)",
    )
    parser.add_argument(
        "--seeds", type=_numbers, default=tuple(seeds), help=f"of the halves ({','.join(map(str, seeds))})"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets (../shared/data/benchmark)")
    parser.add_argument("--config", type=Path, help="training settings, a train.toml; none: those of vaegis-train")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each (%(default)s)")
    parser.add_argument("--rows", type=Path, default=ROWS, help="rows measured so far (build/quality-rows.jsonl)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (benchmarks/results)")
    parser.add_argument("--oddbench", type=Path, help="folder of OddBench tables; none: that group is left out")
    parser.add_argument("--tables", type=int, help="most OddBench tables of each half (all)")
    parsed = parser.parse_args(arguments)
    return Options(
        wanted=parsed.sets,
        sets=chosen_sets(parsed.data, parsed.sets),
        seeds=parsed.seeds,
        data=parsed.data,
        config=load_config(parsed.config),
        processes=parsed.jobs,
        rows=parsed.rows,
        output=parsed.output,
        oddbench=parsed.oddbench,
        tables=parsed.tables,
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))

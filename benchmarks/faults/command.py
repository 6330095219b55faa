"""Measure which faults the default model finds in real tables that come in packages on PyPI.

All records of a table count as normal. Copies of records that training did not see get one fault each. Beside the model
stand a rule learned from the same records, nearest neighbours and an isolation forest. Writes faults.json and
faults.md, by kind and by table.

    python -m benchmarks.faults --tables iris wine
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from pydantic_core import to_jsonable_python

from benchmarks.conditions import RESULTS, command_line, measured_on
from benchmarks.faults.experiment import MODEL, Found, Row, measured
from benchmarks.faults.kinds import KINDS
from benchmarks.faults.tables import TABLES
from benchmarks.mixed.experiment import Sizes
from benchmarks.quality.parallel import in_processes
from benchmarks.quality.report import table
from benchmarks.quality.sources import library_versions
from vaegis.training.config import load_config
from vaegis.training.errors import TrainingError
from vaegis.training.evaluation.baselines import NEIGHBOURS

NAME = "faults"
SIZES = Sizes(training=20_000, normal=5_000, faults=200)
_INTRODUCTION = (
    "All records of these tables count as normal; copies of records that training did not see have one fault each."
    " Reported: flagged, or a value breaks a check of its column, or is refused because it is not of the column's kind."
    " Flagged: by the model's own p-values at an alpha of 1%, or the least that a small table can promise. Culprit"
    " first: of the flagged with a fault in one column, the share whose explanation has that column first; in brackets"
    " the share in which it contributes most. Rule: outside the range, the known texts or the nulls of the training"
    " records, in any column. Outside: by that rule, in a column with the fault; the faults of the others leave an"
    " ordinary value, such as an elevation of 30 feet times 100, which can be found only by other columns. Truth values"
    " are read without regard to case, and by their first letter: vaegis takes 'no' and 'N' for 'No'. kNN and"
    " IsolationForest: on one-hot and imputed columns, above the score that 1% of the normal test"
    " records exceed. Break a check: normal test records; by the model: what its file says of them."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the results, and return 1 if a table failed or the settings are wrong."""
    parsed = _parser().parse_args(arguments)
    try:
        config = load_config(parsed.config)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sizes = Sizes(parsed.training, parsed.normal, parsed.faults)
    work = partial(measured, sizes=sizes, config=config, seed=parsed.seed)
    rows: dict[str, Row] = {}
    begin = time.perf_counter()
    for number, (name, result) in enumerate(in_processes(work, parsed.tables, parsed.jobs), start=1):
        line = f"{result}" if isinstance(result, Exception) else f"false alarms {result.false_alarms:.2%}"
        minutes = (time.perf_counter() - begin) / 60
        print(f"{number}/{len(parsed.tables)} {minutes:5.1f} min  {name}: {line}", flush=True)
        if not isinstance(result, Exception):
            rows[name] = result
    if rows:
        failed = [name for name in parsed.tables if name not in rows]
        _write([rows[name] for name in parsed.tables if name in rows], failed, parsed.output)
    return int(len(rows) < len(parsed.tables))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [each.name for each in TABLES]
    parser.add_argument("--tables", nargs="+", choices=names, default=names, help="which (all)")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (%(default)s)")
    parser.add_argument("--training", type=int, default=SIZES.training, help="most training records (%(default)s)")
    parser.add_argument("--normal", type=int, default=SIZES.normal, help="most normal test records (%(default)s)")
    parser.add_argument("--faults", type=int, default=SIZES.faults, help="records of each fault (%(default)s)")
    parser.add_argument("--config", type=Path, help="training settings, a train.toml; none: those of vaegis-train")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (benchmarks/results)")
    return parser


def _write(rows: list[Row], failed: list[str], output: Path) -> None:
    document = {
        "command": command_line("python -m benchmarks.faults"),
        "failed": failed,
        "libraries": library_versions(),
        "measured_on": measured_on(),
        "rows": rows,
    }
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{NAME}.json"
    path.write_text(json.dumps(to_jsonable_python(document), indent=2) + "\n", encoding="utf-8")
    page = path.with_suffix(".md")
    page.write_text(report(rows, failed), encoding="utf-8")
    print(f"\n{page.read_text(encoding='utf-8')}\nwritten to {page} and {path}")


def report(rows: Sequence[Row], failed: Sequence[str]) -> str:
    """Return the page: means over tables by kind, then by table and kind."""
    conditions = measured_on()
    parts = ["# Faults found in real tables", _INTRODUCTION]
    if failed:
        parts.append(f"**Not complete: {', '.join(failed)} could not be measured.**")
    parts.append(f"{len(rows)} tables. Commit {conditions['commit']}; {conditions['date']}; {conditions['cpu']}.")
    parts += ["## By kind, means over tables", table(_HEADER, _kinds(rows))]
    parts += ["## Tables", table(_TABLE_HEADER, _tables(rows))]
    parts += ["## AUROC of the score alone, by kind, means over tables", table(_AUROC_HEADER, _aurocs(rows))]
    names = ["kind", *(row.table for row in rows)]
    parts += ["## Reported, by kind and table", table(names, _by_table(rows, lambda found: found.reported))]
    parts += ["## Outside, by kind and table", table(names, _by_table(rows, lambda found: found.outside))]
    parts += ["## Flagged, by kind and table", table(names, _by_table(rows, lambda found: found.flagged))]
    return "\n\n".join(parts) + "\n"


_BASELINES = (f"kNN, mean of {NEIGHBOURS}", "IsolationForest")
_HEADER = ["kind", "tables", "reported", "flagged", "culprit first", "outside", "rule", *_BASELINES]
_AUROC_HEADER = ["kind", MODEL, *_BASELINES, "lead over the better of the two, table by table"]
_TABLE_HEADER = [
    "table",
    "training records",
    "columns",
    "scored",
    "alpha",
    "false alarms",
    "band",
    "break a check",
    "by the model",
    "false alarms of the rule",
    "fit, s",
]


def _kinds(rows: Sequence[Row]) -> Iterable[list[str]]:
    for kind in KINDS:
        found = [row.kinds[kind] for row in rows if kind in row.kinds]
        if found:
            yield [
                kind,
                str(len(found)),
                _mean(found, lambda each: each.reported),
                _mean(found, lambda each: each.flagged),
                _culprit(found),
                _mean(found, lambda each: each.outside),
                _mean(found, lambda each: each.rule),
                *(f"{fmean(each.baselines[name] for each in found):.3f}" for name in _BASELINES),
            ]


def _aurocs(rows: Sequence[Row]) -> Iterable[list[str]]:
    for kind in KINDS:
        found = [row.kinds[kind].auroc for row in rows if kind in row.kinds]
        if found:
            means = [fmean(each[name] for each in found) for name in (MODEL, *_BASELINES)]
            lead = fmean(each[MODEL] - max(each[name] for name in _BASELINES) for each in found)
            yield [kind, *(f"{mean:.3f}" for mean in means), f"{lead:+.3f}"]


def _tables(rows: Sequence[Row]) -> Iterable[list[str]]:
    for row in rows:
        low, high = row.false_alarm_band
        yield [
            row.table,
            f"{row.training_records:,}",
            str(row.columns),
            str(row.scored_columns),
            f"{row.alpha:.2%}",
            f"{row.false_alarms:.2%}",
            f"{low:.2%} to {high:.2%}",
            f"{row.violating:.2%}",
            f"{row.stored_violating:.2%}",
            f"{row.rule_false_alarms:.2%}",
            f"{row.fit_seconds:.0f}",
        ]


def _by_table(rows: Sequence[Row], of: Callable[[Found], float]) -> Iterable[list[str]]:
    for kind in KINDS:
        yield [kind, *(f"{of(row.kinds[kind]):.2f}" if kind in row.kinds else "" for row in rows)]


def _culprit(found: Sequence[Found]) -> str:
    first = [each.culprit_first for each in found if each.culprit_first is not None]
    largest = [each.largest_first for each in found if each.largest_first is not None]
    return f"{fmean(first):.3f} ({fmean(largest):.3f})" if first else ""


def _mean(found: Sequence[Found], of: Callable[[Found], float]) -> str:
    return f"{fmean(of(each) for each in found):.3f}"

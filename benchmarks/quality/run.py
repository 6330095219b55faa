"""Measuring cases: those already measured with this code are read, the others measured and kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.conditions import measured_on
from benchmarks.quality.measure import MODEL, Case, Measured, measured
from benchmarks.quality.options import Options
from benchmarks.quality.parallel import in_processes
from benchmarks.quality.protocol import MissingDataError, SetSize
from benchmarks.quality.rows import Row, RowFile
from benchmarks.quality.sources import row_key
from vaegis.training.errors import TrainingError


def exit_code(command: Callable[[], int]) -> int:
    """Run a command and return its exit code: 1, and a line that says why, where data or settings are at fault.

    130 after Ctrl-C.
    """
    try:
        return command()
    except (MissingDataError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the rows measured so far are kept, and the same command goes on", file=sys.stderr)
        return 130


def rows_of(cases: Sequence[Case], options: Options) -> tuple[dict[Case, Row], dict[Case, Exception]]:
    """Return a row for each case, and the errors of those that failed.

    Each row is written to ``options.rows`` as soon as it is measured. Cases of many records and columns go first.
    """
    kept = RowFile(options.rows, row_key(options.config, options.data))
    commit = commit_measured()
    rows = {case: row for case, row in kept.read().items() if case in set(cases)}
    failed: dict[Case, Exception] = {}
    left = _longest_first([case for case in dict.fromkeys(cases) if case not in rows], options.sets)
    if rows:
        print(f"{len(rows)} rows were measured before with the same code and settings: {options.rows}", flush=True)
    begin = time.perf_counter()
    work = partial(measured, data=options.data, config=options.config)
    for number, (case, result) in enumerate(in_processes(work, left, options.processes), start=1):
        if isinstance(result, Exception):
            failed[case] = result
        else:
            rows[case] = Row(key=kept.key, commit=commit, case=case, measured=result)
            kept.append(rows[case])
        minutes = (time.perf_counter() - begin) / 60
        print(f"{number}/{len(left)} {minutes:5.1f} min  {_line(case, result)}", flush=True)
    for case, error in failed.items():
        print(f"failed: {case}: {type(error).__name__}: {error}", file=sys.stderr)
    return {case: rows[case] for case in cases if case in rows}, failed


def commit_measured() -> str:
    """Return the commit on which the code stands, and whether it differs from it."""
    conditions = measured_on()
    return f"{conditions['commit']}{' with uncommitted changes' if conditions['uncommitted_changes'] else ''}"


def _longest_first(cases: list[Case], sets: tuple[SetSize, ...]) -> list[Case]:
    """Sort by the number of values between which neighbours are looked for, which grows as the seconds do."""
    costs = {each.name: each.training_records * each.test_records * each.columns for each in sets}
    return sorted(cases, key=lambda case: costs[case.set_name], reverse=True)


def _line(case: Case, result: Measured | Exception) -> str:
    name = f"{case.set_name} seed {case.seed}" + (f" left {case.left}" if case.left else "")
    if isinstance(result, Exception):
        return f"{name}: failed"
    shown = (f"{detector} {each.auroc:.3f}/{each.ap:.3f}" for detector, each in result.detectors.items())
    return f"{name}: {', '.join(shown)}; {MODEL} fitted in {result.fit_seconds:.0f} s"

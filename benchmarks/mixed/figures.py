"""What detectors find of the faults, by kind and by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.mixed.faults import NULL, Faulty
from benchmarks.quality.figures import FALSE_ALARMS, Ranking, ranking, recall_at_false_alarms

ALL = "all"
"""Every kind of fault that the test has."""
BUT_NULL = "all but null"
"""Every kind that the test has whatever share of values is removed."""

Scores: TypeAlias = NDArray[np.float64]
"""Of the normal records, then of all faulty ones; higher is more anomalous."""
Members: TypeAlias = NDArray[np.bool_]
"""Which faulty records a figure is of, shape (n,)."""
Counts: TypeAlias = dict[str, dict[str, dict[str, int]]]
"""By kind and column: ``records`` that have such a fault there, and how many of them each detector finds."""


def groups(faults: Sequence[Faulty]) -> dict[str, Members]:
    """Return the faulty records by what a figure is of: `ALL`, `BUT_NULL` and each kind."""
    kinds = _kinds(faults)
    of_kinds = {faulty.kind: kinds == faulty.kind for faulty in faults}
    return {ALL: np.ones(kinds.size, dtype=np.bool_), BUT_NULL: kinds != NULL, **of_kinds}


def found(scores: Scores, normal: int, members: Members) -> Ranking:
    """Return how one detector ranks some of the faulty records among the ``normal`` normal ones."""
    return ranking(*_compared(scores, normal, members))


def found_by_column(faults: Sequence[Faulty], scores: Mapping[str, Scores], normal: int) -> Counts:
    """Return how many faults each detector finds at 1% false alarms; a swap counts for both of its columns.

    Args:
        faults: In the order of the scores.
        scores: By detector.
        normal: How many records are normal.
    """
    kinds = _kinds(faults)
    columns = [columns for faulty in faults for columns in faulty.columns]
    counts: Counts = {}
    for name in dict.fromkeys(name for each in columns for name in each):
        has_name = np.array([name in each for each in columns])
        for kind in dict.fromkeys(kinds[has_name].tolist()):
            members = has_name & (kinds == kind)
            count = {"records": int(members.sum())}
            for detector, values in scores.items():
                recall = recall_at_false_alarms(*_compared(values, normal, members), FALSE_ALARMS)
                count[detector] = round(recall * count["records"])
            counts.setdefault(kind, {})[name] = count
    return counts


def added(counts: Sequence[Counts]) -> Counts:
    """Return the counts of several runs as one."""
    total: Counts = {}
    for each in counts:
        for kind, by_column in each.items():
            for column, count in by_column.items():
                sums = total.setdefault(kind, {}).setdefault(column, dict.fromkeys(count, 0))
                for name, number in count.items():
                    sums[name] += number
    return total


def _kinds(faults: Sequence[Faulty]) -> NDArray[np.str_]:
    return np.concatenate([np.repeat(faulty.kind, len(faulty.columns)) for faulty in faults])


def _compared(scores: Scores, normal: int, members: Members) -> tuple[NDArray[np.bool_], Scores]:
    """Return labels and scores of the normal records and some of the faulty ones."""
    chosen = scores[normal:][members]
    return np.arange(normal + chosen.size) >= normal, np.concatenate([scores[:normal], chosen])

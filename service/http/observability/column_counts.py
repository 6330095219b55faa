"""Counts by column: what is missing, unseen in training, or out of its range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.kinds import kind_of


@dataclass(frozen=True, slots=True)
class UnusualCounts:
    """Number of unusual values by column, each of shape (D,), in schema order; 0 where a kind of column has none."""

    missing: NDArray[np.int64]
    unseen: NDArray[np.int64]
    out_of_range: NDArray[np.int64]


class ColumnCounter:
    """Counts by column, for one schema."""

    def __init__(self, schema: Schema) -> None:
        """Prepare ranges and known categories of ``schema`` as arrays and sets, so that counting is cheap."""
        self._width = len(schema.columns)
        self._number_positions = np.array(schema.number_positions, dtype=np.intp)
        self._string_positions = np.array(schema.string_positions, dtype=np.intp)
        numbers = [schema.columns[i] for i in schema.number_positions]
        ranges = [kind_of(column).observed_range(column) for column in numbers]
        self._minimum, self._maximum = np.array(ranges).reshape(-1, 2).T
        strings = [schema.columns[i] for i in schema.string_positions]
        self._known = [kind_of(column).known_categories(column) for column in strings]

    def count(self, columns: Columns) -> UnusualCounts | None:
        """Return the counts over a batch; None if nothing in it is unusual."""
        numbers, observed = columns.numbers, columns.strings_observed
        inside = (numbers >= self._minimum) & (numbers <= self._maximum)  # no null is
        unseen = self._unseen(columns)
        if np.count_nonzero(inside) == inside.size and np.count_nonzero(observed) == observed.size and not any(unseen):
            return None
        is_null = np.isnan(numbers)
        counts = np.zeros((3, self._width), dtype=np.int64)
        counts[0, self._number_positions] = is_null.sum(axis=0)
        counts[0, self._string_positions] = (~observed).sum(axis=0)
        counts[1, self._string_positions] = unseen
        counts[2, self._number_positions] = (~(inside | is_null)).sum(axis=0)
        return UnusualCounts(*counts)

    def _unseen(self, columns: Columns) -> list[int]:
        """Return how many unknown categories each column of strings holds."""
        found = []
        for at, known in enumerate(self._known):
            values = columns.strings[:, at].tolist()
            if known is None or known.issuperset(values):
                found.append(0)
            else:
                pairs = zip(values, columns.strings_observed[:, at].tolist(), strict=True)
                found.append(sum(is_there and value not in known for value, is_there in pairs))
        return found


class ColumnCounters:
    """A counter with the labels `model` and `column`, for all columns of a model at once."""

    def __init__(self, counter: Counter, model: str, columns: Sequence[str | None]) -> None:
        """Bind the columns of ``counter``; None for those that it leaves out."""
        self._counters = [None if column is None else counter.labels(model, column) for column in columns]

    def inc(self, counts: NDArray[np.int64]) -> None:
        """Add ``counts``, shape (D,), which are 0 for the columns left out."""
        for position in counts.nonzero()[0].tolist():
            counter = self._counters[position]
            if counter is not None:
                counter.inc(float(counts[position]))

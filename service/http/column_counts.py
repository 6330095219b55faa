"""Counts of what is unusual in each column of a batch, whatever the model makes of the records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.kinds import kind_of


@dataclass(frozen=True, slots=True)
class ColumnCounts:
    """Records by column in which the value is so, each of shape (D,), in schema order.

    Attributes:
        missing: Null, or absent.
        unseen: A category that training did not know; 0 for columns that are not categorical.
        out_of_range: A number outside what training saw; 0 for instants and categories.
    """

    missing: NDArray[np.int64]
    unseen: NDArray[np.int64]
    out_of_range: NDArray[np.int64]


class ColumnCounter:
    """Counts by column, for one schema."""

    def __init__(self, schema: Schema) -> None:
        """Keep what the counts need of ``schema`` in the form that makes them cheap."""
        self._width = len(schema.columns)
        self._number_positions = np.array(schema.number_positions, dtype=np.intp)
        self._string_positions = np.array(schema.string_positions, dtype=np.intp)
        numbers = [schema.columns[i] for i in schema.number_positions]
        self._minimum, self._maximum = (
            np.array([kind_of(column).observed_range(column) for column in numbers]).reshape(-1, 2).T
        )
        strings = [schema.columns[i] for i in schema.string_positions]
        self._known = [kind_of(column).known_categories(column) or frozenset() for column in strings]

    def count(self, columns: Columns) -> ColumnCounts | None:
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
        return ColumnCounts(*counts)

    def _unseen(self, columns: Columns) -> list[int]:
        """Return how many unknown categories each column of strings holds."""
        found = []
        for at, known in enumerate(self._known):
            values = columns.strings[:, at].tolist()
            if known.issuperset(values):
                found.append(0)
            else:
                pairs = zip(values, columns.strings_observed[:, at].tolist(), strict=True)
                found.append(sum(is_there and value not in known for value, is_there in pairs))
        return found

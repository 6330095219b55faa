"""Counts of what is unusual in each column of a batch, whatever the model makes of the records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.columns import Columns
from service.contract import BooleanColumn, CategoricalColumn, Column, NumericColumn, Schema


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
        # Comparisons with NaN are false, so that no instant is out of range.
        self._minimum, self._maximum = np.array([_range(column) for column in numbers]).reshape(-1, 2).T
        strings = [schema.columns[i] for i in schema.string_positions]
        self._known = [frozenset(c.categories) for c in strings if isinstance(c, CategoricalColumn)]

    def count(self, columns: Columns) -> ColumnCounts:
        """Return the counts over a batch."""
        missing, unseen, out_of_range = np.zeros((3, self._width), dtype=np.int64)
        numbers = columns.numbers
        missing[self._number_positions] = np.isnan(numbers).sum(axis=0)
        missing[self._string_positions] = (~columns.strings_observed).sum(axis=0)
        out_of_range[self._number_positions] = ((numbers < self._minimum) | (numbers > self._maximum)).sum(axis=0)
        for at, (position, known) in enumerate(zip(self._string_positions, self._known, strict=True)):
            observed = columns.strings[columns.strings_observed[:, at], at]
            unseen[position] = sum(value not in known for value in observed)
        return ColumnCounts(missing, unseen, out_of_range)


def _range(column: Column) -> tuple[float, float]:
    if isinstance(column, NumericColumn):
        return column.minimum, column.maximum
    return (0.0, 1.0) if isinstance(column, BooleanColumn) else (np.nan, np.nan)

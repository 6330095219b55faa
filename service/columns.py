"""A batch of records in the layout of the graph's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import NO_CATEGORY, CategoricalColumn, Column, Schema, StringColumn


# Frozen by msgspec, as are verdicts and scores: each request makes several, in a tenth of the time of dataclasses.
class Columns(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Records by column, in the order of `contract.Schema`.

    Attributes:
        numbers: Shape (n, number columns), float64: quantities, truth values as 0 and 1, instants in seconds
            since 1970-01-01T00:00:00Z. NaN is a null; nothing else in it is non-finite.
        strings: Shape (n, categorical columns), of `str`; `contract.NO_CATEGORY` where the value is null.
        strings_observed: Shape (n, categorical columns); False where the value is null.
    """

    numbers: NDArray[np.float64]
    strings: NDArray[np.object_]
    strings_observed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, index: slice | NDArray[Any]) -> Columns:
        """Return the records at ``index``."""
        return Columns(self.numbers[index], self.strings[index], self.strings_observed[index])

    def first(self, numbers: int, strings: int) -> Columns:
        """Return the first columns of both inputs: the scored ones, where others are read to be checked alone."""
        if (self.numbers.shape[1], self.strings.shape[1]) == (numbers, strings):
            return self
        return Columns(self.numbers[:, :numbers], self.strings[:, :strings], self.strings_observed[:, :strings])


Categories: TypeAlias = tuple[NDArray[np.object_] | Sequence[str], NDArray[np.bool_] | Sequence[bool] | bool]
"""A column's categories, `contract.NO_CATEGORY` where null, and which are not null; True if none is null."""


def build_columns(
    schema: Schema,
    records: int,
    numbers_of: Callable[[int, Column], NDArray[np.float64] | None],
    categories_of: Callable[[int, Column], Categories | None],
) -> Columns:
    """Return records by column, asking for the values of each column in the order of the graph's inputs.

    Args:
        schema: The columns to fill.
        records: Number of records.
        numbers_of: Takes a column's position in the schema and the column, and returns its values as the graph takes
            them, NaN where null; None where the column is null throughout.
        categories_of: Likewise returns the values of a column of text.
    """
    numbers = np.empty((records, len(schema.number_positions)))
    for at, position in enumerate(schema.number_positions):
        values = numbers_of(position, schema.columns[position])
        numbers[:, at] = np.nan if values is None else values
    same = same_categories(schema)
    strings = np.empty((records, len(schema.string_positions)), dtype=object)
    observed = np.empty(strings.shape, dtype=np.bool_)
    for at, position in enumerate(schema.string_positions):
        categories = categories_of(position, schema.columns[position])
        strings[:, at], observed[:, at] = (NO_CATEGORY, False) if categories is None else categories
        if at in same:
            strings[:, at] = [same[at].get(text, text) for text in strings[:, at].tolist()]
    return Columns(numbers, strings, observed & ((strings != NO_CATEGORY) | blanks_known(schema)))


def blanks_known(schema: Schema) -> NDArray[np.bool_]:
    """Tell in which columns of the graph's input `strings` an empty text is a known category; in others it is a null.

    CSV cannot tell the two apart, so no other format does.
    """
    columns = [schema.columns[position] for position in schema.string_positions]
    return np.array(
        [isinstance(column, StringColumn) and NO_CATEGORY in column.categories for column in columns], dtype=np.bool_
    )


def same_categories(schema: Schema) -> dict[int, Mapping[str, str]]:
    """Return the other ways to write known categories that are whole numbers: 101.0 is 101, and the other way round.

    Returns:
        By position in the graph's input `strings`, the known category for each other way. Columns without one are left
        out.
    """
    columns = [schema.columns[position] for position in schema.string_positions]
    return {
        at: column.same_numbers
        for at, column in enumerate(columns)
        if isinstance(column, CategoricalColumn) and column.same_numbers
    }


def stacked(parts: Sequence[Columns]) -> Columns:
    """Return the records of all parts, at least one, in order."""
    if len(parts) == 1:
        return parts[0]
    return Columns(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.strings for part in parts]),
        np.concatenate([part.strings_observed for part in parts]),
    )

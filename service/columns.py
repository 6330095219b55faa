"""A batch of records in the layout of the graph's inputs."""

from __future__ import annotations

import struct
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
    strings = np.empty((records, len(schema.string_positions)), dtype=object)
    observed = np.empty(strings.shape, dtype=np.bool_)
    for at, position in enumerate(schema.string_positions):
        categories = categories_of(position, schema.columns[position])
        strings[:, at], observed[:, at] = (NO_CATEGORY, False) if categories is None else categories
    unify_categories(schema.categorical, strings, observed)
    return Columns(numbers, strings, observed)


def unify_categories(
    columns: Sequence[StringColumn], strings: NDArray[np.object_], observed: NDArray[np.bool_]
) -> None:
    """Write each known category in one way, and let an empty text be a null where it is no category; in place.

    Args:
        columns: Those of the graph's input `strings`.
        strings: Their values, as in `Columns`.
        observed: Which of them are not null.
    """
    for at, column in enumerate(columns):
        if same := same_numbers(column):
            strings[:, at] = [same.get(text, text) for text in strings[:, at].tolist()]
        if not column.knows_blank:
            observed[:, at] &= strings[:, at] != NO_CATEGORY


def same_numbers(column: StringColumn) -> Mapping[str, str]:
    """Return other ways to write the categories of a column that are whole numbers, each with its category."""
    return column.same_numbers if isinstance(column, CategoricalColumn) else {}


def float64_array(values: list[Any]) -> NDArray[np.float64]:
    """Return numbers as float64; NaN for None."""
    try:
        return np.frombuffer(struct.pack(f"{len(values)}d", *values))  # the fastest way for a list of floats
    except struct.error:
        return np.array(values, dtype=np.float64)


def stacked(parts: Sequence[Columns]) -> Columns:
    """Return the records of all parts, at least one, in order."""
    if len(parts) == 1:
        return parts[0]
    return Columns(
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.strings for part in parts]),
        np.concatenate([part.strings_observed for part in parts]),
    )

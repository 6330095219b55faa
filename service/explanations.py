"""An account of the columns that made a record's score: what each added, held and was expected to hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from service.columns import Columns
from service.contract import (
    HOURS_PER_DAY,
    BooleanColumn,
    CategoricalColumn,
    Column,
    NumericColumn,
    Schema,
    TimestampColumn,
    Value,
)
from service.grid import decimals, is_integral
from service.reasons import Reason, column_reason
from service.records.values import iso_instant
from service.scorer import Scores

NOTABLE_SHARE = 0.1
"""A column is given a reason when it makes up this share of the positive contributions of all columns; the largest is
in any case. The latent term is, when it makes up this share of all positive terms."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_SIGNIFICANT_DIGITS = 6


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What one column adds to a record's score.

    Attributes:
        column: Name of the column.
        contribution: Its part of the score; negative where the value is likelier than usual.
        observed: The record's value.
        expected: What the model expected, given the record as a whole.
        reason: Why the value is unusual; None where the column is not among those that made the record an anomaly.
    """

    column: str
    contribution: float
    observed: Value
    expected: Value
    reason: Reason | None


Account: TypeAlias = tuple[tuple[Reason, ...], tuple[Contribution, ...]]
"""Why a record is an anomaly, the weightiest reason first; and what its columns contribute, the largest first."""


class _ByIdentity:
    """A schema as a key of a cache: comparing two of them by their content would cost more than is kept."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.schema is other.schema


@dataclass(frozen=True, slots=True)
class _Teller:
    """How a column's values are written.

    Attributes:
        column: The column.
        name: Its name.
        is_text: Whether its values are text, which is shown as it is.
        shown: Takes a value.
        expected: Takes what the model expected.
    """

    column: Column
    name: str
    is_text: bool
    shown: Callable[[Any], Value]
    expected: Callable[[float], Value]


def accounts(
    schema: Schema,
    columns: Columns,
    scores: Scores,
    rows: NDArray[np.intp],
    is_anomaly: NDArray[np.bool_],
    *,
    whole: bool,
) -> Iterator[Account]:
    """Yield the account of each record at ``rows``.

    Args:
        schema: The model's columns.
        columns: Records.
        scores: Their statistics.
        rows: Positions of k of the records.
        is_anomaly: Which of the k are anomalies, shape (k,); only these have reasons.
        whole: Whether every column's contribution is told, or only those with a reason.
    """
    tellers = _tellers(_ByIdentity(schema))
    positions = schema.number_positions, schema.string_positions
    # Lists, for few records are told, and for one of them each step of numpy costs more than a column does here.
    for row, is_one in zip(rows.tolist(), is_anomaly.tolist(), strict=True):
        *terms, latent = scores.contributions[row].tolist()
        of_columns = sum(term for term in terms if term > 0)
        notable = min(NOTABLE_SHARE * of_columns, max(terms)) if is_one else math.inf
        values, expected = _record(positions, columns, row), scores.expected[row].tolist()
        contributions = tuple(_contributions(tellers, values, terms, expected, notable, whole=whole))
        found = [item.reason for item in contributions if item.reason is not None]
        if is_one and latent > 0 and latent >= NOTABLE_SHARE * (of_columns + latent):
            found.insert(
                sum(item.contribution > latent for item in contributions if item.reason), Reason.FAR_FROM_KNOWN
            )
        yield tuple(dict.fromkeys(found)), contributions


def on_grid(column: NumericColumn) -> Callable[[float], float | int]:
    """Return the function that finds the nearest value that a column could hold; six digits where it has no grid."""
    step = column.step
    if step == 0:
        return lambda value: float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    # A quotient of whole numbers is the decimal that it should be, which a multiple of the step may miss by a bit.
    unit = 10 ** decimals(step)
    units = round(step * unit)
    if is_integral(column):
        return lambda value: round(value / step) * units // unit
    return lambda value: round(value / step) * units / unit


def _contributions(
    tellers: Sequence[_Teller],
    values: Sequence[float | str | None],
    terms: Sequence[float],
    expected: Sequence[float],
    notable: float,
    *,
    whole: bool,
) -> Iterator[Contribution]:
    """Yield one record's contributions, largest first: of all columns, or only of those with a reason."""
    for i in sorted(range(len(terms)), key=terms.__getitem__, reverse=True):  # equal ones stay in order
        term = terms[i]
        has_reason = 0 < term >= notable
        if not (whole or has_reason):
            return
        teller, value = tellers[i], values[i]
        yield Contribution(
            teller.name,
            term,
            value if value is None or teller.is_text else teller.shown(value),
            teller.expected(expected[i]),
            column_reason(teller.column, value) if has_reason else None,
        )


def _record(positions: tuple[Sequence[int], Sequence[int]], columns: Columns, row: int) -> list[float | str | None]:
    """Return the values of one record in schema order, nulls as None."""
    of_numbers, of_strings = positions
    values: list[float | str | None] = [None] * (len(of_numbers) + len(of_strings))
    for position, number in zip(of_numbers, columns.numbers[row].tolist(), strict=True):
        if number == number:  # noqa: PLR0124 - NaN, which stands for a null, differs from itself
            values[position] = number
    for at, position in enumerate(of_strings):
        if columns.strings_observed[row, at]:
            values[position] = columns.strings[row, at]
    return values


@lru_cache(maxsize=8)
def _tellers(key: _ByIdentity) -> tuple[_Teller, ...]:
    return tuple(map(_teller, key.schema.columns))


def _teller(column: Column) -> _Teller:
    is_text = isinstance(column, CategoricalColumn)
    return _Teller(column, column.name, is_text, _shown(column), _expected(column))


def _shown(column: Column) -> Callable[[Any], Value]:
    """Return the function that gives a value as its column writes it."""
    if isinstance(column, BooleanColumn):
        return _truth
    if isinstance(column, TimestampColumn):
        return _instant
    return _whole if isinstance(column, NumericColumn) and is_integral(column) else _as_it_is


def _expected(column: Column) -> Callable[[float], Value]:
    """Return the function that gives what the model expected as its column writes it."""
    if isinstance(column, CategoricalColumn):
        return lambda code: column.categories[int(code)]
    if isinstance(column, BooleanColumn):
        return lambda share: share >= 0.5  # noqa: PLR2004 - the likelier of the two
    return _hour if isinstance(column, TimestampColumn) else on_grid(column)


def _as_it_is(value: float) -> Value:
    return value


def _whole(value: float) -> Value:
    return int(value) if value.is_integer() else value


def _truth(value: float) -> Value:
    return bool(value) if value in (0, 1) else value


def _hour(expected: float) -> Value:
    """Return weekday and hour."""
    weekday, hour = divmod(int(expected), HOURS_PER_DAY)
    return f"{WEEKDAYS[weekday]} {hour:02}:00 UTC"


def _instant(seconds: float) -> Value:
    """Return an instant in ISO 8601, or the number itself outside the years 1 to 9999."""
    try:
        return iso_instant(seconds)
    except OverflowError:
        return seconds

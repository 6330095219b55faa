"""An account of the columns that made a record's score: what each added, held and was expected to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

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
        shown: Takes a value that is neither null nor text.
        expected: Takes what the model expected.
    """

    column: Column
    shown: Callable[[float], Value]
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
    terms, latent = scores.contributions[rows, :-1], scores.contributions[rows, -1]
    of_columns = np.where(terms > 0, terms, 0.0).sum(axis=1)
    notable = np.where(is_anomaly, np.minimum(NOTABLE_SHARE * of_columns, terms.max(axis=1)), np.inf)
    is_far = is_anomaly & (latent > 0) & (latent >= NOTABLE_SHARE * (of_columns + latent))
    order = np.argsort(-terms, axis=1, kind="stable")
    records = _records(schema, columns.rows(rows))
    statistics = zip(order.tolist(), terms.tolist(), scores.expected[rows].tolist(), notable.tolist(), strict=True)
    least_far = np.where(is_far, latent, np.inf).tolist()
    for values, of_record, far in zip(records, statistics, least_far, strict=True):
        contributions = tuple(_contributions(tellers, values, *of_record, whole=whole))
        found = [item.reason for item in contributions if item.reason is not None]
        if far < np.inf:
            found.insert(sum(item.contribution > far for item in contributions if item.reason), Reason.FAR_FROM_KNOWN)
        yield tuple(dict.fromkeys(found)), contributions


def on_grid(column: NumericColumn, value: float) -> float | int:
    """Return the value nearest to ``value`` that the column could hold; six significant digits where it has no grid."""
    return _grid(column)(value)


def _contributions(
    tellers: Sequence[_Teller],
    values: Sequence[float | str | None],
    order: Sequence[int],
    terms: Sequence[float],
    expected: Sequence[float],
    notable: float,
    *,
    whole: bool,
) -> Iterator[Contribution]:
    """Yield one record's contributions, largest first: of all columns, or only of those with a reason."""
    for i in order:
        term, has_reason = terms[i], 0 < terms[i] >= notable
        if not (whole or has_reason):
            return
        teller, value = tellers[i], values[i]
        yield Contribution(
            teller.column.name,
            term,
            value if value is None or isinstance(value, str) else teller.shown(value),
            teller.expected(expected[i]),
            column_reason(teller.column, value) if has_reason else None,
        )


def _records(schema: Schema, columns: Columns) -> Iterator[list[float | str | None]]:
    """Yield the values of each record in schema order, nulls as None."""
    width, number_positions, string_positions = len(schema.columns), schema.number_positions, schema.string_positions
    rows = zip(columns.numbers.tolist(), columns.strings.tolist(), columns.strings_observed.tolist(), strict=True)
    for numbers, strings, observed in rows:
        values: list[float | str | None] = [None] * width
        for position, number in zip(number_positions, numbers, strict=True):
            values[position] = None if number != number else number  # noqa: PLR0124 - NaN, which differs from itself
        for position, text, is_there in zip(string_positions, strings, observed, strict=True):
            values[position] = text if is_there else None
        yield values


@lru_cache(maxsize=8)
def _tellers(key: _ByIdentity) -> tuple[_Teller, ...]:
    return tuple(map(_teller, key.schema.columns))


def _teller(column: Column) -> _Teller:
    if isinstance(column, CategoricalColumn):
        return _Teller(column, _as_it_is, lambda code: column.categories[int(code)])
    if isinstance(column, BooleanColumn):
        return _Teller(column, _truth, lambda share: share >= 0.5)  # noqa: PLR2004 - the likelier of the two
    if isinstance(column, TimestampColumn):
        return _Teller(column, _instant, _hour)
    return _Teller(column, _whole if is_integral(column) else _as_it_is, _grid(column))


def _grid(column: NumericColumn) -> Callable[[float], float | int]:
    """Return the function that finds the nearest value that a column could hold."""
    step, places = column.step, decimals(column.step) if column.step else 0
    if step == 0:
        return lambda value: float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    if is_integral(column):
        return lambda value: int(round(round(value / step) * step, places))
    return lambda value: round(round(value / step) * step, places)


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

"""Explain a record's score: what each column added, what it held, and what was expected there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat, takewhile
from math import isnan
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import (
    HOURS_PER_DAY,
    BooleanColumn,
    CategoricalColumn,
    Column,
    NumericColumn,
    Schema,
    TimestampColumn,
    Value,
)
from vaegis.service.grid import decimals, is_integral
from vaegis.service.reasons import Reason, column_reason
from vaegis.service.records.values import iso_instant
from vaegis.service.scorer import Scores

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


Explanation: TypeAlias = tuple[tuple[Reason, ...], tuple[Contribution, ...]]
"""The reasons of a record and the contributions of its columns, the largest first."""


class _ByIdentity:
    """A schema as a cache key. Comparing two schemas by content would cost more than the cache saves."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.schema is other.schema


@dataclass(frozen=True, slots=True)
class _Formatters:
    """Functions that format the values of a schema, with one entry for each of the D columns.

    Attributes:
        columns: The columns.
        names: Their names.
        shown: Format a value; None if it needs no formatting.
        expected: Format what the model expected.
        inputs: Position of each column among the inputs of the graph, numbers first.
    """

    columns: tuple[Column, ...]
    names: tuple[str, ...]
    shown: tuple[Callable[[Any], Value] | None, ...]
    expected: tuple[Callable[[float], Value], ...]
    inputs: tuple[int, ...]


def explain_records(
    schema: Schema,
    columns: Columns,
    scores: Scores,
    rows: NDArray[np.intp],
    is_anomaly: NDArray[np.bool_],
    *,
    whole: bool,
) -> Iterator[Explanation]:
    """Yield the explanation of each record at ``rows``.

    Args:
        schema: The model's columns.
        columns: Records.
        scores: Their statistics.
        rows: Positions of k of the records.
        is_anomaly: Which of the k are anomalies, shape (k,); only these have reasons.
        whole: Whether to return every column's contribution, or only those with a reason.
    """
    formatters = _formatters(_ByIdentity(schema))
    # Lists: few records are explained, and for one record a numpy step costs more than a column does here.
    for row, is_one in zip(rows.tolist(), is_anomaly.tolist(), strict=True):
        *terms, latent = scores.contributions[row].tolist()
        order = sorted(range(len(terms)), key=terms.__getitem__, reverse=True)  # equal ones stay in order
        of_columns = sum(term for term in terms if term > 0)
        notable = _notable(terms, order, of_columns) if is_one else []
        values = _record(formatters.inputs, columns, row)
        found = [column_reason(formatters.columns[at], values[at]) for at in notable]
        contributions = _contributions(
            formatters, order if whole else notable, terms, values, scores.expected[row].tolist(), found
        )
        if is_one and latent > 0 and latent >= NOTABLE_SHARE * (of_columns + latent):
            found.insert(sum(terms[at] > latent for at in notable), Reason.FAR_FROM_KNOWN)
        yield tuple(dict.fromkeys(found)), contributions


def on_grid(column: NumericColumn) -> Callable[[float], float | int]:
    """Return a function that finds the nearest possible value of a column; six digits if it has no grid."""
    step = column.step
    if step == 0:
        return lambda value: float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    # A quotient of whole numbers is the decimal that it should be, which a multiple of the step may miss by a bit.
    unit = 10 ** decimals(step)
    units = round(step * unit)
    if is_integral(column):
        return lambda value: round(value / step) * units // unit
    return lambda value: round(value / step) * units / unit


def _notable(terms: Sequence[float], order: Sequence[int], of_columns: float) -> list[int]:
    """Return the columns that get a reason, the largest contribution first."""
    least = min(NOTABLE_SHARE * of_columns, terms[order[0]])
    return list(takewhile(lambda at: 0 < terms[at] >= least, order))


def _contributions(
    formatters: _Formatters,
    order: Sequence[int],
    terms: Sequence[float],
    values: Sequence[float | str | None],
    expected: Sequence[float],
    reasons: Sequence[Reason],
) -> tuple[Contribution, ...]:
    """Return one record's contributions by the columns in ``order``; the first columns have ``reasons``."""
    names, shown, tell = formatters.names, formatters.shown, formatters.expected
    found = chain(reasons, repeat(None))
    return tuple(
        [
            Contribution(
                names[at],
                terms[at],
                value if (value := values[at]) is None or (show := shown[at]) is None else show(value),
                tell[at](expected[at]),
                reason,
            )
            for at, reason in zip(order, found, strict=False)
        ]
    )


def _record(inputs: Sequence[int], columns: Columns, row: int) -> list[float | str | None]:
    """Return the values of one record in schema order, nulls as None."""
    values: list[float | str | None] = [None if isnan(number) else number for number in columns.numbers[row].tolist()]
    if columns.strings.shape[1]:
        pairs = zip(columns.strings[row].tolist(), columns.strings_observed[row].tolist(), strict=True)
        values += [text if is_there else None for text, is_there in pairs]
    return [values[at] for at in inputs]


@lru_cache(maxsize=8)
def _formatters(key: _ByIdentity) -> _Formatters:
    columns = tuple(key.schema.columns)
    order = (*key.schema.number_positions, *key.schema.string_positions)
    return _Formatters(
        columns,
        tuple(column.name for column in columns),
        tuple(map(_shown, columns)),
        tuple(map(_expected, columns)),
        tuple(map(order.index, range(len(columns)))),
    )


def _shown(column: Column) -> Callable[[Any], Value] | None:
    """Return a function that formats a value of a column, or None if the value needs no formatting."""
    if isinstance(column, BooleanColumn):
        return _truth
    if isinstance(column, TimestampColumn):
        return _instant
    return _whole if isinstance(column, NumericColumn) and is_integral(column) else None


def _expected(column: Column) -> Callable[[float], Value]:
    """Return the function that gives what the model expected as its column writes it."""
    if isinstance(column, CategoricalColumn):
        return lambda code: column.categories[int(code)]
    if isinstance(column, BooleanColumn):
        return lambda share: share >= 0.5  # noqa: PLR2004 - the likelier of the two
    return _hour if isinstance(column, TimestampColumn) else on_grid(column)


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

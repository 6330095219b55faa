"""Verdicts: scores turned into p-values, flags and an account of the columns that did it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

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
from service.pvalues import p_values
from service.reasons import Reason, column_reason
from service.records.values import iso_instant
from service.scorer import Scores

NOTABLE_SHARE = 0.1
"""A column is given a reason when it makes up this share of the positive contributions of all columns; the largest is
in any case. The latent term is, when it makes up this share of all positive terms."""

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_SIGNIFICANT_DIGITS = 6


class Explain(StrEnum):
    """Which records of an answer come with contributions."""

    NONE = "none"
    ANOMALIES = "anomalies"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Contribution:
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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one record gets. `latent_contribution` and the contributions of all columns sum to `score`."""

    score: float
    p_value: float
    is_anomaly: bool
    elbo: float
    reconstruction_error: float
    kl: float
    latent_contribution: float
    contributions: tuple[Contribution, ...] | None
    reasons: tuple[Reason, ...]


def judge(
    schema: Schema,
    folds: Sequence[NDArray[np.float64]],
    columns: Columns,
    scores: Scores,
    *,
    alpha: float,
    explain: Explain,
) -> list[Verdict]:
    """Return the verdict on each record, in order.

    Args:
        schema: The model's columns.
        folds: Calibration scores of each fold, ascending.
        columns: The records, m of them.
        scores: Their statistics.
        alpha: A record is an anomaly when its p-value is at most this; `pvalues.threshold` says whether it is allowed.
        explain: Which verdicts carry contributions.
    """
    p = p_values(folds, scores.fold_scores)
    return [
        _verdict(schema, columns, scores, row, p_value=float(p[row]), is_anomaly=bool(p[row] <= alpha), explain=explain)
        for row in range(len(columns))
    ]


def _verdict(
    schema: Schema, columns: Columns, scores: Scores, row: int, *, p_value: float, is_anomaly: bool, explain: Explain
) -> Verdict:
    terms, latent = scores.contributions[row, :-1], float(scores.contributions[row, -1])
    of_columns = float(terms[terms > 0].sum())
    notable = min(NOTABLE_SHARE * of_columns, float(terms.max())) if is_anomaly else np.inf
    explained = explain is Explain.ALL or (explain is Explain.ANOMALIES and is_anomaly)
    contributions: tuple[Contribution, ...] = ()
    if explained or is_anomaly:
        values = _record(schema, columns, row)
        contributions = tuple(
            _contribution(schema.columns[i], values[i], float(terms[i]), float(scores.expected[row, i]), notable)
            for i in np.argsort(-terms, kind="stable")
        )
    reasons = [c.reason for c in contributions if c.reason is not None]
    if is_anomaly and latent > 0 and latent >= NOTABLE_SHARE * (of_columns + latent):
        reasons.insert(sum(c.contribution > latent for c in contributions if c.reason), Reason.FAR_FROM_KNOWN)
    reconstruction_error, kl = float(scores.reconstruction_error[row]), float(scores.kl[row])
    return Verdict(
        score=float(scores.score[row]),
        p_value=p_value,
        is_anomaly=is_anomaly,
        elbo=-(reconstruction_error + kl),
        reconstruction_error=reconstruction_error,
        kl=kl,
        latent_contribution=latent,
        contributions=contributions if explained else None,
        reasons=tuple(dict.fromkeys(reasons)),
    )


def _record(schema: Schema, columns: Columns, row: int) -> list[float | str | None]:
    """Return the values of one record in schema order, nulls as None."""
    values: list[float | str | None] = [None] * len(schema.columns)
    for at, position in enumerate(schema.number_positions):
        number = float(columns.numbers[row, at])
        values[position] = None if np.isnan(number) else number
    for at, position in enumerate(schema.string_positions):
        values[position] = columns.strings[row, at] if columns.strings_observed[row, at] else None
    return values


def _contribution(
    column: Column, observed: float | str | None, contribution: float, expected: float, notable: float
) -> Contribution:
    return Contribution(
        column=column.name,
        contribution=contribution,
        observed=_shown(column, observed),
        expected=_expected(column, expected),
        reason=column_reason(column, observed) if 0 < contribution >= notable else None,
    )


def _shown(column: Column, value: float | str | None) -> Value:
    """Return a value as its column writes it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(column, BooleanColumn):
        return bool(value) if value in (0, 1) else value
    if isinstance(column, TimestampColumn):
        return _instant(value)
    return int(value) if column.kind == "numeric" and is_integral(column) and value.is_integer() else value


def _expected(column: Column, expected: float) -> Value:
    """Return what the model expected, as its column writes it; a timestamp as weekday and hour."""
    if isinstance(column, CategoricalColumn):
        return column.categories[int(expected)]
    if isinstance(column, BooleanColumn):
        return expected >= 0.5  # noqa: PLR2004 - the likelier of the two
    if isinstance(column, TimestampColumn):
        weekday, hour = divmod(int(expected), HOURS_PER_DAY)
        return f"{WEEKDAYS[weekday]} {hour:02}:00 UTC"
    return on_grid(column, expected)


def on_grid(column: NumericColumn, value: float) -> float | int:
    """Return the value nearest to ``value`` that the column could hold; six significant digits where it has no grid."""
    if column.step == 0:
        return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    nearest = round(round(value / column.step) * column.step, decimals(column.step))
    return int(nearest) if is_integral(column) else nearest


def _instant(seconds: float) -> Value:
    """Return an instant in ISO 8601, or the number itself outside the years 1 to 9999."""
    try:
        return iso_instant(seconds)
    except OverflowError:
        return seconds

"""The columns as small charts: what training saw, and beside it what the generator makes of the column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.column_report import check_description, column_description
from vaegis.service.contract import (
    BooleanColumn,
    Column,
    NumericColumn,
    Schema,
    StringColumn,
    TimestampColumn,
)
from vaegis.service.draws import possible
from vaegis.service.generation import Decoded, Drawn
from vaegis.service.records.kinds import kind_of
from vaegis.service.report.scores import bars_of

WIDTH: Final = 280.0
HEIGHT: Final = 70.0
_BINS: Final = 28
_MOST_SHARES: Final = 6
_TICK_WIDTH: Final = 60.0
_LEAST_MARGIN: Final = 1e-12  # as a share of the largest value
_LARGEST: Final = 8e307
_MARGIN: Final = 0.08
_LONGEST_NAME: Final = 40


@dataclass(frozen=True, slots=True)
class QuantileChart:
    """A number: a histogram of generated values above bands of the training quantiles.

    Attributes:
        bars: x, y, width and height of each bar of the histogram.
        bands: x and width of the middle 99%, 90% and 50% of the training values.
        median: x of the median.
        ticks: x and value at the ends of the middle 99% and at the median.
        limits: x of those limits of checks that lie within the chart.
    """

    bars: tuple[tuple[float, float, float, float], ...]
    bands: tuple[tuple[float, float], ...]
    median: float
    ticks: tuple[tuple[float, float], ...]
    limits: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ShareChart:
    """A list of values: their shares in training and in generated records.

    Attributes:
        rows: Value, share in training, share in generated records.
        others: Number of other values, and their shares.
    """

    rows: tuple[tuple[str, float, float], ...]
    others: tuple[int, float, float] | None


@dataclass(frozen=True, slots=True)
class ClockChart:
    """An instant: how generated ones spread over the hours of the day and the days of the week."""

    hours: tuple[tuple[float, float, float, float], ...]
    weekdays: tuple[tuple[float, float, float, float], ...]
    busiest_hour: int
    busiest_weekday: int


@dataclass(frozen=True, slots=True)
class ColumnCard:
    """One column.

    Attributes:
        column: Its document.
        seen: What training saw, in words.
        not_seen: Which faults the score does not see.
        checks: Each check with its limit.
        generated_missing: Share of nulls in generated records.
        chart: Its drawing.
    """

    column: Column
    seen: str
    not_seen: str
    checks: tuple[str, ...]
    generated_missing: float
    chart: QuantileChart | ShareChart | ClockChart


@dataclass(frozen=True, slots=True)
class WatchedRow:
    """A column that is checked and not scored.

    Attributes:
        name: Its name.
        description: Why it is not scored, and what training saw.
        checks: Its checks with their limits.
        warnings: What training said of it beyond that.
    """

    name: str
    description: str
    checks: tuple[str, ...]
    warnings: tuple[str, ...]


def column_cards(schema: Schema, decoded: Decoded, drawn: Drawn) -> list[ColumnCard]:
    """Return one card for each scored column, in schema order.

    Args:
        schema: The columns.
        decoded: What exemplars decode to.
        drawn: Generated records.
    """
    cards = []
    for at, column in enumerate(schema.columns):
        kind = kind_of(column)
        missing = possible(decoded.missing[:, at], column.missing_share).mean()
        cards.append(
            ColumnCard(
                column,
                kind.statistics(column),
                kind.not_seen(column),
                tuple(check_description(column, check) for check in column.checks),
                float(missing),
                _chart(column, at, decoded, drawn),
            )
        )
    return cards


def watched_rows(schema: Schema) -> list[WatchedRow]:
    """Return one row for each column that is checked alone."""
    return [
        WatchedRow(
            column.name,
            column_description(column),
            tuple(check_description(column, check) for check in column.checks),
            column.warnings,
        )
        for column in schema.watched
    ]


def _chart(column: Column, at: int, decoded: Decoded, drawn: Drawn) -> QuantileChart | ShareChart | ClockChart:
    if isinstance(column, NumericColumn):
        return _quantile_chart(column, drawn.values[at][~drawn.missing[:, at]])
    if isinstance(column, TimestampColumn):
        hours, weekdays = (part.mean(axis=0) for part in decoded.categories[at][:2])
        return ClockChart(
            bars_of(hours, WIDTH * 0.7, HEIGHT),
            bars_of(weekdays, WIDTH * 0.26, HEIGHT),
            int(hours.argmax()),
            int(weekdays.argmax()),
        )
    if isinstance(column, BooleanColumn):
        true = float(possible(decoded.location[:, at], column.true_share).mean())
        return _share_chart(("true", "false"), (column.true_share, 1 - column.true_share), (true, 1 - true))
    generated = decoded.categories[at][0].mean(axis=0)[: len(column.categories)]
    return _share_chart(_names(column), column.shares, generated.tolist())


def _quantile_chart(column: NumericColumn, generated: NDArray[np.float64]) -> QuantileChart:
    first, *_, last = column.quantiles
    largest = max(abs(first), abs(last))
    # Wide enough that the bins of the histogram differ, and not so wide that the width overflows.
    margin = max(_MARGIN * (last - first), _LEAST_MARGIN * largest) or 1.0
    low, high = max(first - margin, -_LARGEST), min(last + margin, _LARGEST)

    def x(value: float) -> float:
        return round(WIDTH * ((min(max(value, low), high) - low) / (high - low)), 1)

    q = column.quantiles
    counts, _ = np.histogram(generated, _BINS, (low, high))
    pairs = [(q[0], q[6]), (q[1], q[5]), (q[2], q[4])]
    median = [q[3]] if min(x(q[3]) - x(q[0]), x(q[6]) - x(q[3])) > _TICK_WIDTH else []  # where its label has room
    limits = [check.limit for check in column.checks if check.limit is not None and check.code.value.endswith("_range")]
    return QuantileChart(
        bars_of(counts, WIDTH, HEIGHT),
        tuple((x(start), round(max(1.0, x(end) - x(start)), 1)) for start, end in pairs),
        x(q[3]),
        tuple((x(value), value) for value in dict.fromkeys((q[0], *median, q[6]))),
        tuple(x(limit) for limit in limits if low <= limit <= high),
    )


def _share_chart(names: Sequence[str], training: Sequence[float], generated: Sequence[float]) -> ShareChart:
    rows = sorted(zip(names, training, generated, strict=True), key=lambda row: -row[1])
    shown, others = rows[:_MOST_SHARES], rows[_MOST_SHARES:]
    rest = (len(others), sum(row[1] for row in others), sum(row[2] for row in others)) if others else None
    return ShareChart(tuple(shown), rest)


def _names(column: StringColumn) -> list[str]:
    return [short_name(category) or "(empty)" for category in column.categories]


def short_name(text: str) -> str:
    """Return a text, cut where it is long."""
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"

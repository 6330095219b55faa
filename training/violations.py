"""Find the checks of each column: what is certainly wrong by what training saw, with room for what it did not see.

About 2 in n + 1 new normal records exceed the range of a column's training records, so a range needs a margin. The
margin of numbers follows from the tail. Let u be the (k + 1)-th largest value. The k larger ones are taken to be
exponential with their mean excess s over u, so a new value exceeds u + s log(k / (n p)) with probability p. Many tails
are heavy, so the same is done on logarithms, and the wider limit counts. A tail without excess, such as that of months
or ratings, gets no margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import (
    BooleanColumn,
    CategoricalColumn,
    Check,
    Column,
    NumericColumn,
    Schema,
    TextColumn,
    TimestampColumn,
    ViolationCode,
)
from vaegis.service.violations import ViolationChecks
from vaegis.training.data.splits import Splits
from vaegis.training.data.text_form import FEWEST_SHARING, MOST_PATTERNS, text_column

MOST_VIOLATING = 1e-3
"""Share of normal records that all checks of a table together may report, as far as the records tell."""

_FEWEST_RECORDS = 30
"""Values below which a column says too little about what is never there."""
_FEWEST_FOR_A_GRID = 100
_TAIL = (10, 20)  # values in a tail, of up to 1,000 records and of more
_SMALL = 1000
_GROSS = 30.0  # mean excesses; values farther out in the history do not stretch the limit
_NEW_VALUES = 2e-3  # chance of a new category (Good & Turing: its share of values seen once) up to which one is wrong
_LEAST_MARGIN_S, _MOST_MARGIN_S = 366 * 86_400.0, 5 * 366 * 86_400.0
_SIGNIFICANT_DIGITS = 4
_FEWEST_ABOVE = 3
_CLEAR_FALL = 2.0  # standard deviations of the difference of two counts
_WIDENED = 2  # times that a limit's distance doubles before its check is dropped


@dataclass(frozen=True, slots=True)
class DroppedCheck:
    """A check that too many normal records break."""

    column: str
    code: ViolationCode
    share: float


def with_checks(schema: Schema, columns: Columns, splits: Splits) -> tuple[Schema, tuple[DroppedCheck, ...]]:
    """Return the schema with the checks of its columns, and the checks that were dropped.

    Limits come from the fitted records. How often normal records break them is measured on records that had no part in
    them: each member's limits on its calibration records.

    Args:
        schema: The columns.
        columns: All records.
        splits: Which of them are fitted, and which calibrate.
    """
    width: dict[tuple[str, ViolationCode], float] = {}
    dropped: list[DroppedCheck] = []
    while True:
        broken, records = _broken(schema, columns, splits, width)
        by_check = _counted(broken)
        violating = len({(member, row) for member, row, _ in broken})
        worst = max(by_check, key=lambda key: by_check[key], default=None)
        if worst is None or violating <= max(1.0, MOST_VIOLATING * records):
            break
        factor = width.get(worst, 1.0)
        is_range = worst[1] in (ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE)
        if is_range and 0 < factor < 2.0**_WIDENED:
            width[worst] = 2.0 * factor
        else:
            width[worst] = 0.0
            dropped.append(DroppedCheck(*worst, by_check[worst] / records))
    found = _checks(schema, columns.rows(splits.fitted_records), width)
    shares = {column.name: 0.0 for column in schema.columns}
    for name, _ in by_check:
        shares[name] = len({(member, row) for member, row, key in broken if key[0] == name}) / records
    checked = tuple(
        column.model_copy(update={"checks": checks, "violating_share": shares[column.name]})
        for column, checks in zip(schema.columns, found, strict=True)
    )
    return schema.model_copy(update={"columns": checked, "violating_share": violating / records}), tuple(dropped)


_Broken = tuple[int, int, tuple[str, ViolationCode]]


def _broken(
    schema: Schema, columns: Columns, splits: Splits, width: dict[tuple[str, ViolationCode], float]
) -> tuple[list[_Broken], int]:
    """Return member, row and check of each violation among the calibration records, and how many records there are."""
    broken: list[_Broken] = []
    for member, (fitted, held_out) in enumerate(zip(splits.fit, splits.calibration, strict=True)):
        checks = _checks(schema, columns.rows(fitted), width)
        checked = schema.model_copy(
            update={
                "columns": tuple(
                    _as_seen(column, found, columns.rows(fitted), schema)
                    for column, found in zip(schema.columns, checks, strict=True)
                )
            }
        )
        for row, violations in enumerate(ViolationChecks(checked).violations(columns.rows(held_out))):
            broken += [(member, row, (violation.column, violation.code)) for violation in violations]
    return broken, splits.calibration_records


def _as_seen(column: Column, checks: tuple[Check, ...], fitted: Columns, schema: Schema) -> Column:
    """Return a column with its checks, and with what the fitted records hold of its categories or usual forms."""
    changed: dict[str, object] = {"checks": checks}
    if isinstance(column, TextColumn):
        at = schema.categorical.index(column)
        texts = fitted.strings[fitted.strings_observed[:, at], at].tolist()
        if texts:
            grows = column.usual_lengths[1] is None and len(texts) >= FEWEST_SHARING
            column = text_column(column.name, texts, column.missing_share, grows=grows, most_patterns=MOST_PATTERNS)
    if isinstance(column, CategoricalColumn):
        at = schema.categorical.index(column)
        seen = set(fitted.strings[fitted.strings_observed[:, at], at].tolist())
        changed["categories"] = tuple(category for category in column.categories if category in seen)
    return column.model_copy(update=changed)


def _counted(broken: Iterable[_Broken]) -> dict[tuple[str, ViolationCode], int]:
    count: dict[tuple[str, ViolationCode], int] = {}
    for _, _, key in broken:
        count[key] = count.get(key, 0) + 1
    return count


def _checks(
    schema: Schema, columns: Columns, width: dict[tuple[str, ViolationCode], float]
) -> Sequence[tuple[Check, ...]]:
    """Return the checks of each column by some records.

    Args:
        schema: The columns.
        columns: The records.
        width: Factor of the margins of some checks; 0 leaves a check out.
    """
    chance = MOST_VIOLATING / 4.0 / max(1, len(schema.columns))  # of each of a column's limits
    by_position: dict[int, tuple[Check, ...]] = {}
    for at, position in enumerate(schema.number_positions):
        column, numbers = schema.columns[position], columns.numbers[:, at]
        values = np.sort(numbers[~np.isnan(numbers)])
        by_position[position] = _kept(_of_numbers(column, values, len(numbers), chance, width), column, width)
    for at, position in enumerate(schema.string_positions):
        column, observed = schema.columns[position], columns.strings_observed[:, at]
        values_seen = columns.strings[observed, at].tolist()
        by_position[position] = _kept(_of_strings(column, values_seen, len(observed)), column, width)
    return [by_position[at] for at in range(len(schema.columns))]


def _kept(checks: Iterable[Check], column: Column, width: dict[tuple[str, ViolationCode], float]) -> tuple[Check, ...]:
    return tuple(check for check in checks if width.get((column.name, check.code), 1.0) > 0)


def _of_numbers(
    column: Column,
    values: NDArray[np.float64],
    records: int,
    chance: float,
    width: dict[tuple[str, ViolationCode], float],
) -> Iterable[Check]:
    """Yield the checks of a column of numbers, given its values, ascending."""
    if values.size < _FEWEST_RECORDS:
        return
    low_code, high_code = ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE
    wider_low, wider_high = (width.get((column.name, code), 1.0) for code in (low_code, high_code))
    if isinstance(column, TimestampColumn):
        margin = min(max(float(np.ptp(values)), _LEAST_MARGIN_S), _MOST_MARGIN_S)
        yield Check(code=low_code, limit=float(values[0]) - wider_low * margin)
        yield Check(code=high_code, limit=float(values[-1]) + wider_high * margin)
    elif isinstance(column, BooleanColumn):
        yield Check(code=low_code, limit=float(values[0]))
        yield Check(code=high_code, limit=float(values[-1]))
        yield Check(code=ViolationCode.OFF_GRID, limit=1.0)
    elif isinstance(column, NumericColumn):
        yield Check(code=low_code, limit=-_rounded_up(-_lower_limit(values, chance, wider_low)))
        yield Check(code=high_code, limit=_rounded_up(_upper_limit(values, chance, wider_high)))
        if column.step and values.size >= _FEWEST_FOR_A_GRID:
            yield Check(code=ViolationCode.OFF_GRID, limit=column.step)
    if values.size == records:
        yield Check(code=ViolationCode.UNEXPECTED_MISSING)


def _of_strings(column: Column, values: list[str], records: int) -> Iterable[Check]:
    """Yield the checks of a column of texts."""
    if len(values) < _FEWEST_RECORDS:
        return
    if isinstance(column, CategoricalColumn):
        known = set(column.categories)
        count: dict[str, int] = {}
        for value in values:
            count[value] = count.get(value, 0) + 1
        seen_once = sum(number == 1 for number in count.values())
        if known.issuperset(count) and (seen_once <= 1 or seen_once <= _NEW_VALUES * len(values)):
            yield Check(code=ViolationCode.UNSEEN_CATEGORY)
    elif isinstance(column, TextColumn):
        yield Check(code=ViolationCode.UNUSUAL_FORM)
        yield Check(code=ViolationCode.UNUSUAL_LENGTH)
    if len(values) == records:
        yield Check(code=ViolationCode.UNEXPECTED_MISSING)


def _upper_limit(values: NDArray[np.float64], chance: float, wider: float) -> float:
    """Return the number that a new normal value exceeds with about the probability ``chance``.

    Args:
        values: Ascending, at least `_FEWEST_RECORDS`.
        chance: A probability.
        wider: Factor of the margin.
    """
    limit = _tail_limit(values, chance, wider)
    # A heavy tail is one on the logarithms: of the numbers, or of their distances from the median if some are negative.
    zero = 0.0 if values[0] >= 0 else float(np.median(values))
    above = values[values > zero]
    if values[-1 - _tail_size(values.size)] > zero:
        with np.errstate(over="ignore"):
            farthest = float(np.exp(_tail_limit(np.log(above - zero), chance, wider, of=values.size)))
        limit = max(limit, zero + farthest)
    return min(limit, float(np.finfo(np.float64).max))


def _lower_limit(values: NDArray[np.float64], chance: float, wider: float) -> float:
    """Return the number that a new normal value falls below with about the probability ``chance``.

    A column without negative numbers has none below zero. One of positive numbers has a limit above zero.
    """
    if values[0] > 0:
        return float(np.exp(-_tail_limit(-np.log(values)[::-1], chance, wider)))
    return 0.0 if values[0] == 0 else -_upper_limit(-values[::-1], chance, wider)


def _rounded_up(limit: float) -> float:
    """Return the next number of four significant digits, which people can read.

    >>> _rounded_up(95.8868), _rounded_up(-0.123456), _rounded_up(12.0)
    (95.89, -0.1234, 12.0)
    """
    if limit == 0 or not math.isfinite(limit):
        return limit
    unit = Decimal(1).scaleb(Decimal(limit).adjusted() - _SIGNIFICANT_DIGITS + 1)
    rounded = float((Decimal(limit) / unit).to_integral_value(ROUND_CEILING) * unit)
    return rounded if math.isfinite(rounded) else limit


def _tail_limit(values: NDArray[np.float64], chance: float, wider: float, of: int | None = None) -> float:
    """Return the limit of values, ascending, by an exponential tail; the last of them unless they are far out."""
    n = of or values.size
    k = min(_tail_size(n), values.size - 1)
    start = float(values[-1 - k])
    excess = values[-k:] - start
    gross = _GROSS * _usual_excess(values, excess)
    mean = float(np.minimum(excess, gross).mean()) or _fall(values[values <= start + gross])
    last = start + float(excess[excess <= gross].max(initial=0.0))
    margin = wider * mean * max(1.0, math.log(k / (n * chance)))
    # Only where normal records broke the limit: a tail may have no excess by chance.
    margin += (wider - 1.0) * (last - float(np.median(values))) / 2.0
    return max(last, start + margin)


def _usual_excess(values: NDArray[np.float64], excess: NDArray[np.float64]) -> float:
    """Return the median of the excesses above 0; where they are too few, the gap below the tail."""
    above = excess[excess > 0]
    if above.size >= _FEWEST_ABOVE:
        return float(np.median(above))
    distinct = np.unique(values[: values.size - above.size])
    return float(distinct[-1] - distinct[-2]) if distinct.size > 1 else 0.0


def _fall(values: NDArray[np.float64]) -> float:
    """Return the scale of a tail that ends in many equal values; 0 where their number says that it is bounded there.

    Counts of something become rarer with each step. Months and ratings do not.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size == 1:
        return 0.0
    below, last = counts[-2:].tolist()
    if below - last < _CLEAR_FALL * math.sqrt(below + last):
        return 0.0
    return float(distinct[-1] - distinct[-2]) / max(1.0, math.log(below / last))


def _tail_size(records: int) -> int:
    return min(_TAIL[records > _SMALL], max(1, records // 10))

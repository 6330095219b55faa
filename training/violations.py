"""Find the checks of each column: limits beyond which a value is certainly wrong by what training saw.

About 2 in n + 1 new normal records exceed the range of a column's training records, so a range needs a margin. The
margin of numbers follows from the tail. Let u be the (k + 1)-th largest value. The k larger ones are taken to be
exponential with their mean excess s over u, so a new value exceeds u + s log(k / (n p)) with probability p. Many tails
are heavy, so the same is done on logarithms, and the wider limit counts. A tail without excess, such as that of months
or ratings, gets no margin.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TypeAlias

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
from vaegis.service.records.misspellings import Misspellings
from vaegis.service.violations import ViolationChecks
from vaegis.training.data.schema import coarsest_step
from vaegis.training.data.splits import Splits
from vaegis.training.data.text_form import FEWEST_SHARING, MOST_PATTERNS, text_column

MOST_VIOLATING = 1e-3
"""Share of normal records that all checks of a table together may report, as far as the records tell."""

_FEWEST_RECORDS = 30
"""Fewest values of a column from which checks are made."""
_FEWEST_FOR_A_GRID = 100
_TAIL = (10, 20)  # values in a tail, of up to 1,000 records and of more
_SMALL = 1000
_GROSS = 30.0  # mean excesses; values farther out in the history do not stretch the limit
_NEW_VALUES = 2e-3  # chance of a new category, in any of the lists where one is wrong
_LEAST_MARGIN_S, _MOST_MARGIN_S = 366 * 86_400.0, 5 * 366 * 86_400.0
_RANGE = (ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE)
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
        schema: The columns; the watched ones of numbers come with the checks of their range, which stay.
        columns: All records, by `Schema.of_records`.
        splits: Which of them are fitted, and which calibrate.
    """
    read = schema.of_records.columns
    chance = MOST_VIOLATING / 4.0 / max(1, len(schema.columns))  # of each of a column's limits
    alone = [_alone(columns, schema.of_records, at) for at in range(len(read))]
    fitted = [values.rows(splits.fitted_records) for values in alone]
    # The range of a watched column says nothing of the values to come.
    widths = [dict.fromkeys(_RANGE, 0.0) if at >= len(schema.columns) else {} for at in range(len(read))]
    for at in _growing_lists(read, fitted):
        widths[at][ViolationCode.UNSEEN_CATEGORY] = 0.0
    broken = [
        _broken(column, values, splits, chance, width)
        for column, values, width in zip(read, alone, widths, strict=True)
    ]
    records = splits.calibration_records
    violating = sum((_rows(of_column, records) for of_column in broken), np.zeros(records, dtype=np.int64))
    dropped: list[DroppedCheck] = []
    while np.count_nonzero(violating) > max(1.0, MOST_VIOLATING * records):
        count, at, code = max((n, at, code) for at, found in enumerate(broken) for code, n in _counted(found).items())
        column, width = read[at], widths[at]
        factor = width.get(code, 1.0)
        if code in _RANGE and factor < 2.0**_WIDENED:
            width[code] = 2.0 * factor
        else:
            width[code] = 0.0
            dropped.append(DroppedCheck(column.name, code, count / records))
        violating -= _rows(broken[at], records)
        broken[at] = _broken(column, alone[at], splits, chance, width)  # the other columns stay as they are
        violating += _rows(broken[at], records)
    checked = tuple(
        _with_form(column.model_copy(update={"checks": _checks(column, values, chance, width)}), values).model_copy(
            update={"violating_share": float(np.count_nonzero(_rows(of_column, records)) / records)}
        )
        for column, values, width, of_column in zip(read, fitted, widths, broken, strict=True)
    )
    share = float(np.count_nonzero(violating) / records)
    scored, watched = checked[: len(schema.columns)], checked[len(schema.columns) :]
    update = {"columns": scored, "watched": watched, "violating_share": share}
    return schema.model_copy(update=update), tuple(dropped)


def _growing_lists(columns: Sequence[Column], fitted: Sequence[Columns]) -> set[int]:
    """Return the positions of the lists of categories to which values are still added.

    The chance of a new value is about the share of values that came once (Good & Turing). For the lists that count as
    complete, those with the fewest such values, it is at most `_NEW_VALUES` in all.
    """
    once, growing = {}, set()
    for at, (column, values) in enumerate(zip(columns, fitted, strict=True)):
        if isinstance(column, CategoricalColumn):
            count = Counter(_texts(values))
            once[at] = sum(number == 1 for number in count.values())
            if not count.keys() <= set(column.categories):
                growing.add(at)
    allowance = max(1.0, _NEW_VALUES * max(map(len, fitted), default=0))
    for at in sorted(once.keys() - growing, key=once.__getitem__):
        allowance -= once[at]
        if allowance < 0:
            growing.add(at)
    return growing


def _alone(columns: Columns, schema: Schema, at: int) -> Columns:
    """Return the values of one column."""
    if at in schema.number_positions:
        position = schema.number_positions.index(at)
        return Columns(columns.numbers[:, [position]], columns.strings[:, :0], columns.strings_observed[:, :0])
    position = schema.string_positions.index(at)
    return Columns(columns.numbers[:, :0], columns.strings[:, [position]], columns.strings_observed[:, [position]])


_Broken: TypeAlias = list[tuple[int, ViolationCode]]
"""Violations in one column: the position of the record among those that calibrate, and the check."""


def _broken(
    column: Column, values: Columns, splits: Splits, chance: float, width: Mapping[ViolationCode, float]
) -> _Broken:
    """Return the violations of the calibration records by the limits of the records that their member is fitted to."""
    broken: _Broken = []
    start = 0
    for fitted, held_out in zip(splits.fit, splits.calibration, strict=True):
        seen = values.rows(fitted)
        checked = _as_seen(column.model_copy(update={"checks": _checks(column, seen, chance, width)}), seen)
        found = ViolationChecks(Schema.model_construct(columns=(checked,))).violations(values.rows(held_out))
        broken += [(start + row, violation.code) for row, of_row in enumerate(found) for violation in of_row]
        start += held_out.size
    return broken


def _rows(broken: _Broken, records: int) -> NDArray[np.int64]:
    """Return 1 for each record with a violation, else 0; shape (records,)."""
    rows = np.zeros(records, dtype=np.int64)
    rows[[row for row, _ in broken]] = 1
    return rows


def _counted(broken: _Broken) -> Counter[ViolationCode]:
    return Counter(code for _, code in broken)


def _as_seen(column: Column, fitted: Columns) -> Column:
    """Return a column, which has its checks, with what the fitted records hold of its categories or usual forms."""
    texts = _texts(fitted)
    if isinstance(column, TextColumn) and texts:
        grows = column.usual_lengths[1] is None and len(texts) >= FEWEST_SHARING
        form = text_column(column.name, texts, column.missing_share, grows=grows, most_patterns=MOST_PATTERNS)
        return form.model_copy(update={"checks": column.checks})
    if isinstance(column, CategoricalColumn):
        seen = set(texts)
        categories = tuple(category for category in column.categories if category in seen)
        return _with_form(column, fitted).model_copy(update={"categories": categories})
    return column


def _with_form(column: Column, fitted: Columns) -> Column:
    """Return a column of categories with their form, if it is checked; others as they are."""
    codes = {check.code for check in column.checks}
    if not isinstance(column, CategoricalColumn) or ViolationCode.UNUSUAL_FORM not in codes:
        return column
    texts = _texts(fitted)
    form = text_column(column.name, texts, column.missing_share, grows=False, most_patterns=MOST_PATTERNS)
    return column.model_copy(update={"form": form})


def _texts(fitted: Columns) -> list[str]:
    texts: list[str] = fitted.strings[fitted.strings_observed].tolist()
    return texts


def _checks(column: Column, values: Columns, chance: float, width: Mapping[ViolationCode, float]) -> tuple[Check, ...]:
    """Return the checks of a column by some records.

    Args:
        column: The column; the checks that it comes with stay.
        values: The records, with this column alone.
        chance: Of a new normal number beyond each of its limits.
        width: Factor of the margins of some checks; 0 leaves a check out.
    """
    if values.numbers.shape[1]:
        numbers = values.numbers[:, 0]
        found = _of_numbers(column, np.sort(numbers[~np.isnan(numbers)]), len(numbers), chance, width)
    else:
        found = _of_strings(column, _texts(values), len(values), width)
    return (*column.checks, *(check for check in found if width.get(check.code, 1.0) > 0))


def _of_numbers(
    column: Column,
    values: NDArray[np.float64],
    records: int,
    chance: float,
    width: Mapping[ViolationCode, float],
) -> Iterable[Check]:
    """Yield the checks of a column of numbers, given its values, ascending."""
    if values.size < _FEWEST_RECORDS:
        return
    low_code, high_code = _RANGE
    wider_low, wider_high = (width.get(code, 1.0) for code in _RANGE)
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
            yield Check(code=ViolationCode.OFF_GRID, limit=coarsest_step(values, column.step))
    if values.size == records:
        yield Check(code=ViolationCode.UNEXPECTED_MISSING)


def _of_strings(
    column: Column, values: list[str], records: int, width: Mapping[ViolationCode, float]
) -> Iterable[Check]:
    """Yield the checks of a column of texts."""
    if len(values) < _FEWEST_RECORDS:
        return
    if isinstance(column, CategoricalColumn):
        yield from _of_list(column, values, width)
    elif isinstance(column, TextColumn):
        yield Check(code=ViolationCode.UNUSUAL_FORM)
        yield Check(code=ViolationCode.UNUSUAL_LENGTH)
    if len(values) == records:
        yield Check(code=ViolationCode.UNEXPECTED_MISSING)


def _of_list(column: CategoricalColumn, values: list[str], width: Mapping[ViolationCode, float]) -> Iterable[Check]:
    """Yield the checks of a column of categories: no new ones may come, or these must look like the known ones."""
    if width.get(ViolationCode.UNSEEN_CATEGORY, 1.0) > 0:
        yield Check(code=ViolationCode.UNSEEN_CATEGORY)
        return
    count = Counter(values)
    once = [value for value, number in count.items() if number == 1]
    known = set(column.categories)
    misspellings = Misspellings(sorted(known - set(once)))
    others = {value: number for value, number in count.items() if number == 1 or value not in known}
    misspelled = sum(number for value, number in others.items() if misspellings.meant(value) is not None)
    if misspelled <= max(1.0, _NEW_VALUES * len(values)):
        yield Check(code=ViolationCode.MISSPELLED_CATEGORY)
    yield Check(code=ViolationCode.UNUSUAL_FORM)
    yield Check(code=ViolationCode.UNUSUAL_LENGTH)


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

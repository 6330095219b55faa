"""Find the checks of each column: limits beyond which a value is certainly wrong by what training saw.

About 2 in n + 1 new normal records exceed the range of a column's training records, so a range needs a margin. The
margin of numbers follows from the tail: the excesses of the k largest values over the next one are taken to have a
generalised Pareto distribution, whose shape says how heavy the tail is. The limit is the number that a new value
exceeds with a given probability, the same for all limits of a table. A tail without excess, such as that of months or
ratings, gets no margin.
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
from vaegis.service.records.misspellings import COMMON_SHARE, Misspellings
from vaegis.service.violations import ViolationChecks, is_off_grid
from vaegis.training.data.schema import coarsest_step, known_values
from vaegis.training.data.splits import Splits
from vaegis.training.data.text_form import FEWEST_SHARING, MOST_PATTERNS, text_column

MOST_VIOLATING = 1e-3
"""Share of normal records that all checks of a table together may report, as far as the records tell."""

_FEWEST_RECORDS = 30
"""Fewest values of a column from which checks are made."""
_FEWEST_FOR_A_GRID = 100
_FEWEST_MISSING = 8.0  # values with one more decimal place that should have come, so that none ever will
_MOST_LISTED, _FEWEST_OF_EACH = 20, 8  # numbers, such as 10, 20 and 50, between which no other is expected
_SMALLEST_TAIL, _LARGEST_TAIL = 10, 40  # values, a tenth of all in between
_SHAPE, _SHAPE_WEIGHT = 0.2, 20.0  # of a Pareto tail, where nothing else is known, and how many values that counts as
_SHAPES = (-0.1, 0.7)
_NEAR_ZERO = 1e-6
_FEWEST_FOR_A_SHAPE = 5
_GROSS = 30.0  # median excesses; values farther out in the history do not stretch the limit
_NUMBERS = MOST_VIOLATING / 2  # chance of a number beyond any of the limits of a table
_NEW_VALUES = MOST_VIOLATING / 2  # chance of a new category, in any of the lists where one is wrong
_RARE = 3
_LEAST_MARGIN_S, _MOST_MARGIN_S = 366 * 86_400.0, 5 * 366 * 86_400.0
_RANGE = (ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE)
_SIGNIFICANT_DIGITS = 4
_FEWEST_ABOVE = 3
_CLEAR_FALL = 2.0  # standard deviations of the difference of two counts
_SIGN = math.inf  # factor of the margin of a number that may be anything but negative
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
    numbers = sum(isinstance(column, NumericColumn) for column in schema.columns)
    chance = _NUMBERS / 2.0 / max(1, numbers)  # of each of the two limits of a column
    alone = [_alone(columns, schema.of_records, at) for at in range(len(read))]
    fitted = [values.rows(splits.fitted_records) for values in alone]
    # The numbers of a watched column say nothing of the values to come.
    unchecked = (*_RANGE, ViolationCode.UNSEEN_CATEGORY)
    widths = [dict.fromkeys(unchecked, 0.0) if at >= len(schema.columns) else {} for at in range(len(read))]
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
        # Of checks that as many break, that of the longest texts: other checks see most of their faults.
        count, _, at, code = max(
            (n, _longest(read[at]), at, code) for at, found in enumerate(broken) for code, n in _counted(found).items()
        )
        column, width = read[at], widths[at]
        factor = width.get(code, 1.0)
        if code in _RANGE and factor < 2.0**_WIDENED:
            width[code] = 2.0 * factor
        elif code is ViolationCode.BELOW_RANGE and factor < _SIGN and _is_never_negative(column, fitted[at]):
            width[code] = _SIGN
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

    The chance of a new value is about the share of values that came once (Good & Turing). A list without any of these
    may owe that to chance, so values that came up to three times count as well: as many records as hold one, by three.
    For the lists that count as complete, those with the fewest, the chance is at most `_NEW_VALUES` in all. Of equal
    lists those of short values come first, because no other check sees a typing error in a code.
    """
    new, growing = {}, set()
    for at, (column, values) in enumerate(zip(columns, fitted, strict=True)):
        if isinstance(column, CategoricalColumn):
            count = Counter(_texts(values))
            new[at] = sum(number for number in count.values() if number <= _RARE) / _RARE
            if not count.keys() <= set(column.categories):
                growing.add(at)
    allowance = max(1.0, _NEW_VALUES * max(map(len, fitted), default=0))
    for at in sorted(new.keys() - growing, key=lambda at: (new[at], _longest(columns[at]))):
        allowance -= new[at]
        if allowance < 0:
            growing.add(at)
    return growing


def _longest(column: Column) -> int:
    """Return the length of the longest known text of a column; 0 where it has none."""
    return max(map(len, column.categories), default=0) if isinstance(column, CategoricalColumn | TextColumn) else 0


def _is_never_negative(column: Column, fitted: Columns) -> bool:
    return isinstance(column, NumericColumn) and bool((fitted.numbers >= 0).any() and not (fitted.numbers < 0).any())


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
    if isinstance(column, NumericColumn):
        numbers = fitted.numbers[:, 0]
        return column.model_copy(update={"values": known_values(numbers[~np.isnan(numbers)])})
    if isinstance(column, CategoricalColumn):
        seen = set(texts)
        kept = [pair for pair in zip(column.categories, column.shares, strict=True) if pair[0] in seen]
        update = {"categories": tuple(value for value, _ in kept), "shares": tuple(share for _, share in kept)}
        return _with_form(column, fitted).model_copy(update=update)
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
        if values[0] == values[-1]:
            yield Check(code=ViolationCode.UNSEEN_CATEGORY, limit=float(values[0]))
        yield Check(code=low_code, limit=0.0)
        yield Check(code=high_code, limit=1.0)
        yield Check(code=ViolationCode.OFF_GRID, limit=1.0)
    elif isinstance(column, NumericColumn):
        lower = _lower_limit(values, chance, wider_low, step=column.step)
        yield Check(code=low_code, limit=-_rounded_up(-lower))
        yield Check(code=high_code, limit=_rounded_up(_upper_limit(values, chance, wider_high)))
        step = _settled_step(values, column.step) if column.step and values.size >= _FEWEST_FOR_A_GRID else 0.0
        if step:
            yield Check(code=ViolationCode.OFF_GRID, limit=step)
        if _are_listed(values, step):
            yield Check(code=ViolationCode.UNSEEN_CATEGORY)
    if values.size == records:
        yield Check(code=ViolationCode.UNEXPECTED_MISSING)


def _are_listed(values: NDArray[np.float64], step: float) -> bool:
    """Return whether few numbers come so often that others between them, on the grid, are hardly to be expected."""
    distinct, counts = np.unique(values, return_counts=True)
    if step and round((distinct[-1] - distinct[0]) / step) < distinct.size:
        return False
    return distinct.size <= _MOST_LISTED and values.size >= _FEWEST_FOR_A_GRID and bool(counts.min() >= _FEWEST_OF_EACH)


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
    common = [value for value, number in count.items() if number >= COMMON_SHARE * len(values)]
    misspellings = Misspellings(sorted(known - set(once)), common)
    others = {value: number for value, number in count.items() if number == 1 or value not in known}
    misspelled = sum(number for value, number in others.items() if misspellings.meant(value) is not None)
    if misspelled <= max(1.0, MOST_VIOLATING * len(values)):
        yield Check(code=ViolationCode.MISSPELLED_CATEGORY)
    yield Check(code=ViolationCode.UNUSUAL_FORM)
    yield Check(code=ViolationCode.UNUSUAL_LENGTH)


def _lower_limit(values: NDArray[np.float64], chance: float, wider: float, *, step: float) -> float:
    """Return the number that a new normal value falls below with about the probability ``chance``.

    A column without negative numbers has none below zero. One of positive numbers has a limit above zero, by their
    logarithms, unless the least multiples of its ``step`` pass and zero is likely to follow.
    """
    if values[0] < 0:
        return -_upper_limit(-values[::-1], chance, wider)
    if values[0] == 0 or wider == _SIGN:
        return 0.0
    limit = float(np.exp(-_upper_limit(-np.log(values)[::-1], chance, wider)))
    return 0.0 if limit <= step and _upper_limit(-values[::-1], chance, wider) >= 0 else limit


def _settled_step(values: NDArray[np.float64], step: float) -> float:
    """Return the step on whose multiples new values will lie as well.

    Amounts that people round, mostly to 1,000 and sometimes to 100, may be rounded to 10 next. So a coarse step counts
    only if at least as many values need it as need one ten times as coarse. Decimal places may go on as they began: if
    few values have the last one, the next may be missing by chance, and is allowed where it would come too often. Whole
    numbers stay whole.
    """
    coarsest = coarsest_step(values, step)
    if coarsest > step:
        finest, coarser = _needing(values, coarsest)
        if finest >= coarser:
            return coarsest
    finest, coarser = _needing(values, step)
    expected = finest * min(1.0, finest / max(1, coarser))
    may_go_on = step < 1.0 and _NUMBERS * values.size < expected < _FEWEST_MISSING
    return step / 10.0 if may_go_on else step


def _needing(values: NDArray[np.float64], step: float) -> tuple[int, int]:
    """Return how many values need a step, and how many one ten times as coarse."""
    finest, all_below = (int(np.count_nonzero(is_off_grid(values, step * times))) for times in (10.0, 100.0))
    return finest, all_below - finest


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


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of numbers that hardly fit into float64
def _upper_limit(values: NDArray[np.float64], chance: float, wider: float) -> float:
    """Return the number that a new normal value exceeds with about the probability ``chance``.

    Args:
        values: Ascending, at least `_FEWEST_RECORDS`.
        chance: A probability.
        wider: Factor of the margin.
    """
    k = min(_LARGEST_TAIL, max(_SMALLEST_TAIL, values.size // 10))
    start = float(values[-1 - k])
    excess = values[-k:] - start
    gross = _GROSS * _usual_excess(values, excess)
    if np.count_nonzero(excess > gross) > max(1.0, _NUMBERS * values.size):
        gross = math.inf  # so many are no errors
    excess = excess[(excess > 0) & (excess <= gross)]
    if excess.size:
        last, beyond = start + float(excess[-1]), excess.size
        shape, scale = _pareto_tail(excess)
    else:
        inside = values[values <= start + gross]
        start = last = float(inside[-1])
        shape, scale, beyond = 0.0, _fall(inside), int((inside == last).sum())
    ratio = max(math.e, beyond / (values.size * chance))
    margin = wider * scale * (math.expm1(shape * math.log(ratio)) / shape if shape else math.log(ratio))
    # Only where normal records broke the limit: a tail may have no excess by chance.
    margin += (wider - 1.0) * (last - float(np.median(values))) / 2.0
    limit = max(last, start + margin)
    return limit if math.isfinite(limit) else float(np.finfo(np.float64).max)


def _pareto_tail(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Return the shape and the scale of the generalised Pareto distribution of positive numbers, ascending.

    The empirical Bayes estimate of Zhang & Stephens (2009, Technometrics 51). The shape is drawn towards `_SHAPE`, as
    if that had been seen in `_SHAPE_WEIGHT` more numbers: a few of them say little about it.
    """
    n = excess.size
    if n < _FEWEST_FOR_A_SHAPE or excess[0] == excess[-1]:
        return _SHAPE, float(excess.mean())
    quartile = excess[max(0, int(n / 4 + 0.5) - 1)]
    points = 20 + int(math.sqrt(n))
    theta = 1 / excess[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    theta[theta == 0] = _NEAR_ZERO / excess[-1]  # an exponential tail, where the shape is 0
    shapes = np.log1p(-theta[:, None] * excess).mean(1)
    likelihoods = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(likelihoods - likelihoods.max())
    mean = float(theta @ weights / weights.sum())
    shape = float(np.log1p(-mean * excess).mean())
    drawn = (n * shape + _SHAPE_WEIGHT * _SHAPE) / (n + _SHAPE_WEIGHT)
    return min(max(drawn, _SHAPES[0]), _SHAPES[1]), -shape / mean


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

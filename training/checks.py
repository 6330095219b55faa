"""Find the checks of each column: what is certainly wrong by what training saw.

About 2 in n + 1 new normal records exceed the range of a column's training records, so a range needs a margin. All
limits of a table are exceeded with the same probability; `number_limits` says how they are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from vaegis.service.violations import ViolationChecks
from vaegis.training.data.schema import known_values
from vaegis.training.data.splits import Splits
from vaegis.training.data.text_form import FEWEST_SHARING, MOST_PATTERNS, text_column
from vaegis.training.number_limits import (
    ANY_BUT_NEGATIVE,
    CHANCE_BEYOND,
    lower_limit,
    rounded_up,
    settled_step,
    upper_limit,
)

MOST_VIOLATING = 1e-3
"""Share of normal records that all checks of a table together may report, as far as the records tell."""

_FEWEST_RECORDS = 30
"""Fewest values of a column from which checks are made."""
_FEWEST_FOR_A_GRID = 100
_MOST_LISTED, _FEWEST_OF_EACH = 20, 8  # numbers, such as 10, 20 and 50, between which no other is expected
_NEW_VALUES = MOST_VIOLATING - CHANCE_BEYOND  # chance of a new category, in any of the lists where one is wrong
_RARE = 3
_LEAST_MARGIN_S, _MOST_MARGIN_S = 366 * 86_400.0, 5 * 366 * 86_400.0
_RANGE = (ViolationCode.BELOW_RANGE, ViolationCode.ABOVE_RANGE)
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
    chance = CHANCE_BEYOND / 2.0 / max(1, numbers)  # of each of the two limits of a column
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
        elif code is ViolationCode.BELOW_RANGE and factor < ANY_BUT_NEGATIVE and _is_never_negative(column, fitted[at]):
            width[code] = ANY_BUT_NEGATIVE
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
        lower = lower_limit(values, chance, wider_low, step=column.step)
        yield Check(code=low_code, limit=-rounded_up(-lower))
        yield Check(code=high_code, limit=rounded_up(upper_limit(values, chance, wider_high)))
        step = settled_step(values, column.step) if column.step and values.size >= _FEWEST_FOR_A_GRID else 0.0
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

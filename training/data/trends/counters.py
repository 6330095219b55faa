"""Recognise columns of numbers that number or date the records: indices, counters, identifiers and calendar periods."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.column_names import is_index_name
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.name_words import names_identifiers, words_of
from vaegis.training.data.sampling import Sample
from vaegis.training.data.trends.record_order import FEWEST_ORDERED, Order, are_whole, finite, follows

_NEARLY_ALL: Final = 0.99
_MOST_RANGE_PER_RECORD: Final = 1.1
"""Distinct whole numbers are row numbers if their range is less than this many times the number of records."""
_WEEK_WORDS: Final = frozenset(("week", "woche", "kalenderwoche", "semaine"))
CALENDAR_WORDS: Final = _WEEK_WORDS | {
    *("year", "yr", "month", "quarter", "jahr", "monat", "quartal", "annee", "mois", "mes"),
}
_PERIOD_WORDS: Final = frozenset(("period", "yyyymm", "yearmonth", "ym", "billing"))
YEARS: Final = (1900.0, 2100.0)
_MONTHS: Final = (1900_01, 2099_12)
_FEWEST_MONTHS: Final = 8
"""Fewest distinct numbers as in 202403 that are taken for months without a word in the name; chance has 12 in 100."""
_MOST_WEEKS: Final = 53
_MOST_MONTHS: Final = 12
_INDEX_NAME: Final = re.compile(
    r"(?:Unnamed: 0(?:\.\d+)*|__index_level_\d+__|_?index|level_\d+|row_?(?:names?|num(?:ber)?|no)?)?", re.IGNORECASE
)
_COUNTING: Final = 0.9
"""Least share of values that follow the one before in an index that begins again now and then."""


def without_index(plan: ColumnPlan, sample: Sample) -> ColumnPlan:
    """Return the plan of a column, neither scored nor checked if it is the index of a data frame.

    Records of one frame are numbered from 0 or 1 on. Frames that were put together begin again, and what was chosen
    from a frame has gaps or another order.
    """
    if "numeric" not in (plan.kind, plan.watched) or not _INDEX_NAME.fullmatch(plan.name):
        return plan
    values = sample.numbers(plan.name, "numeric", plan.reading)
    numbers = finite(values)
    if not numbers.size or not are_whole(numbers) or numbers.min() < 0:
        return plan
    are_different = np.unique(numbers).size >= _NEARLY_ALL * numbers.size
    count_on = values.size > 1 and float((np.diff(values) == 1).mean()) >= _COUNTING
    if not (is_index_name(plan.name) or are_different or count_on):
        return plan
    return replace(plan, kind=None, watched=None, reason="the index of a data frame, by its name and values")


def why_not_scored(name: str, values: NDArray[np.float64], orders: tuple[Order, ...], records: int) -> str | None:
    """Return why a column of numbers cannot be learned as a quantity; None if it can.

    Args:
        name: The column.
        values: Its numbers in the sample, shape (n,), NaN where null.
        orders: Orders of the sample's records, which a counter or a date may follow.
        records: Number of all records read.
    """
    numbers = finite(values)
    distinct, words = np.unique(numbers), words_of(name)
    followed = next((order for order in reversed(orders) if follows(values, order)), None)
    if are_whole(numbers):
        if distinct.size >= _NEARLY_ALL * numbers.size:
            reason = _why_no_quantity(words, followed, width=float(np.ptp(numbers)), records=records)
        elif followed is not None and distinct.size >= FEWEST_ORDERED and names_identifiers(words):
            reason = f"an identifier: its name says so, and it follows {followed.shown}"
        else:
            reason = _why_calendar(words, followed, distinct)
        if reason is not None:
            return reason
    # Without a time, a file may be sorted by a quantity.
    if followed is not None and followed.name is not None:
        return f"it only goes one way with {followed.shown}"
    return None


def _why_no_quantity(words: tuple[str, ...], followed: Order | None, *, width: float, records: int) -> str | None:
    """Return why whole numbers that all differ identify the records; None if they may be quantities."""
    if followed is not None:
        return f"a counter: whole numbers that all differ and follow {followed.shown}"
    if names_identifiers(words):
        return "an identifier: its name says so, and all values differ"
    if width < _MOST_RANGE_PER_RECORD * records:
        return "a row number: whole numbers that all differ, without gaps"
    return None


def _why_calendar(words: tuple[str, ...], followed: Order | None, distinct: NDArray[np.float64]) -> str | None:
    """Return why whole numbers are a part of the date that does not come back; None if they are not."""
    # KW is German for a week of the calendar; beside other words it is rather kilowatts.
    is_week = bool(_WEEK_WORDS.intersection(words)) or words == ("kw",)
    is_named = is_week or bool(CALENDAR_WORDS.intersection(words))
    if distinct[0] >= _MONTHS[0] and distinct[-1] <= _MONTHS[1]:
        parts = distinct % 100
        are_parts = bool(((parts >= 1) & (parts <= (_MOST_WEEKS if is_week else _MOST_MONTHS))).all())
        is_named = is_named or bool(_PERIOD_WORDS.intersection(words))
        if are_parts and (is_named or distinct.size >= _FEWEST_MONTHS):
            return f"{'weeks' if is_week else 'months'} as in {distinct[0]:.0f}: the next one would be out of range"
    are_years = distinct[0] >= YEARS[0] and distinct[-1] <= YEARS[1]
    if not is_named or (not are_years and distinct[-1] > _MOST_WEEKS):
        return None
    if distinct.size == 1:
        return f"a part of the date with one value, {distinct[0]:.0f}: the next would be flagged"
    if are_years and followed is not None:
        return f"a year that follows {followed.shown}"
    return None

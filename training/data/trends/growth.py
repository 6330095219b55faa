"""Recognise columns that only grow, and measure how far the newest values of the others lie outside what was seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.column_names import is_index_name
from vaegis.training.config import TIME_KIND, TrainConfig
from vaegis.training.data.kind_messages import quoted, setting_line
from vaegis.training.data.kinds import ColumnPlan, check_any_scored
from vaegis.training.data.name_words import names_identifiers, words_of
from vaegis.training.data.profiling.profile import DataProfile
from vaegis.training.data.profiling.written_dates import DAY
from vaegis.training.data.sampling import Sample
from vaegis.training.data.trends.new_values import with_new_values
from vaegis.training.data.trends.number_times import may_be_nanoseconds, with_times
from vaegis.training.data.trends.record_order import (
    FEWEST_ORDERED,
    LEAST_NEW,
    LEAST_NEW_IN_FILES,
    NEWEST,
    Order,
    are_whole,
    finite,
    follows,
    rank_correlation,
)
from vaegis.training.errors import ConfigError

_NEARLY_ALL: Final = 0.99
_FEWEST_OUTSIDE: Final = 7
"""Fewest such records. By chance, one column in 10,000 has as many: 8 ways between the two ends, .2^7 each."""
_MOST_RANGE_PER_RECORD: Final = 1.1
"""Distinct whole numbers are row numbers if their range is less than this many times the number of records."""
_WEEK_WORDS: Final = frozenset(("week", "woche", "kalenderwoche", "semaine"))
_CALENDAR_WORDS: Final = _WEEK_WORDS | {
    *("year", "yr", "month", "quarter", "jahr", "monat", "quartal", "annee", "mois", "mes"),
}
_PERIOD_WORDS: Final = frozenset(("period", "yyyymm", "yearmonth", "ym", "billing"))

_DAY_S: Final = 86_400.0
_WEEK_S: Final = 7 * _DAY_S
_YEARS: Final = (1900.0, 2100.0)
_LARGEST_EXACT: Final = 2.0**53
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
_CALENDAR: Final = {"month": (1.0, 12.0), "quarter": (1.0, 4.0), "week": (0.0, 53.0)}
_CODE_SPACING: Final = 1000.0
"""Mean distance from which numbers are rather codes than the records of a counter."""
_FEWEST_DIGITS: Final = 8
"""Fewest digits of such codes: shorter numbers may count on to one more."""
_MOST_YEARS: Final = 5
"""Years that a growing column may go on after the history; checks of times allow no more than that either."""
_YEAR_S: Final = 366 * _DAY_S


def settle_growing(
    plans: tuple[ColumnPlan, ...], profile: DataProfile, sample: Sample, config: TrainConfig
) -> tuple[ColumnPlan, ...]:
    """Return the plans, in which columns that only grow are timestamps, text, or not scored, or have a warning.

    Numbers since 1970 and dates as in 20240318 become timestamps. Identifiers, counters and years are not scored,
    because every value of the next period would be out of range. Any other numeric column gets a warning if its newest
    fifth leaves the range of the rest. Lists of texts to which values are added are watched by their form. Kinds that
    are set in the settings stay.

    Args:
        plans: The plans by the profile alone.
        profile: What all records hold.
        sample: The records, in their order.
        config: The settings.

    Raises:
        DataError: A value is not of its column's kind, or no column can be scored.
        ConfigError: A time zone is set for a column that is no timestamp.
    """
    timed = tuple(
        with_times(
            plan if _is_set(plan, config) else _without_index(plan, sample),
            column,
            sample,
            is_set=_is_set(plan, config),
        )
        for plan, column in zip(plans, profile.columns, strict=True)
    )
    orders = _orders(timed, sample, config)
    settled = tuple(_settled(plan, sample, orders, profile.records, is_set=_is_set(plan, config)) for plan in timed)
    settled = tuple(plan if _is_set(plan, config) else with_new_values(plan, sample, orders[-1]) for plan in settled)
    check_any_scored(settled)
    for plan in settled:
        if plan.kind != TIME_KIND and plan.name in config.columns and config.columns[plan.name].timezone is not None:
            raise ConfigError(f"columns.{quoted(plan.name)}.timezone: expected a timestamp, got {plan.kind or 'none'}")
    return settled


def time_column_hint(plans: Sequence[ColumnPlan], config: TrainConfig) -> str | None:
    """Return the advice to calibrate on the newest records, if a column's newest values leave the range of the rest."""
    times = [plan.name for plan in plans if plan.kind == TIME_KIND]
    if config.data.time_column is not None or not times or not any(plan.leaves_range for plan in plans):
        return None
    return f"To calibrate on the newest records, which shows such changes earlier: --time-column {times[0]}"


def _is_set(plan: ColumnPlan, config: TrainConfig) -> bool:
    return plan.name in config.columns and config.columns[plan.name].kind is not None


def _orders(plans: Sequence[ColumnPlan], sample: Sample, config: TrainConfig) -> tuple[Order, ...]:
    """Return the order of the files, and that of a time column where there is one: the set one, or the most orderly."""
    in_files = Order(None, np.arange(len(sample)))
    by_name = {plan.name: plan for plan in plans}
    names = [plan.name for plan in plans if plan.kind == TIME_KIND]
    if config.data.time_column is not None:
        names = [config.data.time_column]
    orders = []
    for name in names:
        times = sample.numbers(name, TIME_KIND, by_name[name].reading, by_name[name].number_form)
        dated = np.flatnonzero(~np.isnan(times))
        if dated.size >= max(FEWEST_ORDERED, _NEARLY_ALL * times.size / 2):
            order = Order(name, dated[np.argsort(times[dated], kind="stable")], float(np.ptp(times[dated])))
            orders.append((abs(rank_correlation(times)), order))
    if not orders:
        return (in_files,)
    return in_files, max(orders, key=lambda pair: pair[0])[1]


def _settled(plan: ColumnPlan, sample: Sample, orders: tuple[Order, ...], records: int, *, is_set: bool) -> ColumnPlan:
    """Return the plan of a column, not scored if its numbers only count or grow, or with a warning."""
    if plan.kind == TIME_KIND:
        seconds = finite(sample.numbers(plan.name, TIME_KIND, plan.reading, plan.number_form))
        time_format = None if plan.reading is None else plan.reading.format
        are_times_of_day = time_format is not None and DAY not in time_format  # which have no span
        warning = None if are_times_of_day else _short_span(plan.name, seconds)
        return plan if warning is None else replace(plan, warnings=(*plan.warnings, warning))
    if "numeric" not in (plan.kind, plan.watched):
        return plan
    values = sample.numbers(plan.name, "numeric", plan.reading)
    if plan.watched == "numeric":
        return replace(plan, limits=_limits(plan.name, values, orders))
    if finite(values).size < FEWEST_ORDERED:
        return plan
    reason = None if is_set else _why_not_scored(plan.name, values, orders, records)
    if reason is not None:
        as_times = f"If these are nanoseconds since 1970, set {setting_line(plan.name, TIME_KIND)}"
        notes = (as_times,) if may_be_nanoseconds(values) else ()
        limits = _limits(plan.name, values, orders)
        return replace(plan, kind=None, reason=reason, warnings=notes, watched="numeric", limits=limits)
    outside, rounded = _outside(plan.name, values, orders), _rounded(plan.name, values)
    warnings = tuple(warning for warning in (outside, rounded) if warning is not None)
    return replace(plan, warnings=plan.warnings + warnings, leaves_range=outside is not None)


def _without_index(plan: ColumnPlan, sample: Sample) -> ColumnPlan:
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


def _why_not_scored(name: str, values: NDArray[np.float64], orders: tuple[Order, ...], records: int) -> str | None:
    """Return why a column of numbers cannot be learned as a quantity; None if it can."""
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
    is_named = is_week or bool(_CALENDAR_WORDS.intersection(words))
    if distinct[0] >= _MONTHS[0] and distinct[-1] <= _MONTHS[1]:
        parts = distinct % 100
        are_parts = bool(((parts >= 1) & (parts <= (_MOST_WEEKS if is_week else _MOST_MONTHS))).all())
        is_named = is_named or bool(_PERIOD_WORDS.intersection(words))
        if are_parts and (is_named or distinct.size >= _FEWEST_MONTHS):
            return f"{'weeks' if is_week else 'months'} as in {distinct[0]:.0f}: the next one would be out of range"
    are_years = distinct[0] >= _YEARS[0] and distinct[-1] <= _YEARS[1]
    if not is_named or (not are_years and distinct[-1] > _MOST_WEEKS):
        return None
    if distinct.size == 1:
        return f"a part of the date with one value, {distinct[0]:.0f}: the next would be flagged"
    if are_years and followed is not None:
        return f"a year that follows {followed.shown}"
    return None


def _limits(name: str, values: NDArray[np.float64], orders: tuple[Order, ...]) -> tuple[float | None, float | None]:
    """Return the least and the greatest number that a column which grows may reach; None where any may come.

    Parts of the date have the calendar's range, and years get a margin. Codes such as EAN keep their number of digits.
    What follows a time may go on for `_MOST_YEARS` as fast as it has; without a time, no number is too large. None is
    negative where none was.
    """
    numbers = finite(values)
    if not numbers.size:
        return None, None
    least, greatest = float(numbers.min()), float(numbers.max())
    low: float | None = 0.0 if least >= 0 else None
    if are_whole(numbers):
        for word in sorted(_CALENDAR.keys() & set(words_of(name))):
            first, last = _CALENDAR[word]
            if first <= least and greatest <= last:
                return first, last
        if _CALENDAR_WORDS.intersection(words_of(name)) and _YEARS[0] <= least and greatest <= _YEARS[1]:
            return least - _MOST_YEARS, greatest + _MOST_YEARS
    if not any(follows(values, order) for order in orders) and (digits := _fixed_digits(numbers)):
        return 10.0 ** (digits - 1), 10.0**digits - 1.0
    timed = next((order for order in reversed(orders) if order.span_s and follows(values, order)), None)
    if timed is None:
        return low, None
    margin = (greatest - least) * _MOST_YEARS * _YEAR_S / timed.span_s
    return least - margin if low is None else max(low, least - margin), greatest + margin


def _fixed_digits(numbers: NDArray[np.float64]) -> int | None:
    """Return how many digits all codes have; None where they differ, are few, or may count on to one more.

    Codes that were not given out one after the other lie far apart. Numbers of a counter, and of a sample of them, do
    not: its next ones may be longer.

    >>> _fixed_digits(np.array([4006381333931.0, 9780306406157.0])), _fixed_digits(np.array([98_000.0, 99_950.0]))
    (13, None)
    """
    digits = {len(f"{number:.0f}") for number in (numbers.min(), numbers.max())}
    far_apart = np.ptp(numbers) >= _CODE_SPACING * numbers.size
    is_long = numbers.min() >= 10.0 ** (_FEWEST_DIGITS - 1)
    return digits.pop() if len(digits) == 1 and far_apart and is_long and are_whole(numbers) else None


def _short_span(name: str, seconds: NDArray[np.float64]) -> str | None:
    """Return a warning if the records do not span a week, so that some weekdays or hours cannot have been seen."""
    if seconds.size < FEWEST_ORDERED or (span := float(np.ptp(seconds))) >= _WEEK_S:
        return None
    spanned = f"the records span {span / _DAY_S:.1f} days, so some"
    if span < _DAY_S:
        return (
            f"{spanned} hours of the day were never seen. Normal records of these are likely to be flagged: train on "
            f"at least a week, or leave the column out: {setting_line(name, 'ignore')}"
        )
    return (
        f"{spanned} weekdays were never seen. They are scored as the last whole day of the history: train on at least "
        f"a week, or leave the column out: {setting_line(name, 'ignore')}"
    )


def _rounded(name: str, values: NDArray[np.float64]) -> str | None:
    """Return a warning if whole numbers are too large to be told from their neighbours."""
    numbers = finite(values)
    if not are_whole(numbers) or np.abs(numbers).max() <= _LARGEST_EXACT:
        return None
    return (
        "whole numbers beyond 2^53 are rounded, and are rather identifiers than quantities. If so, write them as text, "
        f"or leave them out: {setting_line(name, 'ignore')}"
    )


def _outside(name: str, values: NDArray[np.float64], orders: tuple[Order, ...]) -> str | None:
    """Return a warning if the newest fifth of a column lies outside the range of the rest."""
    order = orders[-1]
    ordered = finite(values[order.positions])
    newest = int(ordered.size * NEWEST)
    if ordered.size < FEWEST_ORDERED:
        return None
    # Without times, a file may also begin with its newest records.
    ends = [(ordered[:-newest], ordered[-newest:])]
    if order.name is None:
        ends.append((ordered[newest:], ordered[:newest]))
    outside = max(np.count_nonzero((new < rest.min()) | (new > rest.max())) for rest, new in ends)
    share = outside / newest
    if outside < _FEWEST_OUTSIDE or share < (LEAST_NEW_IN_FILES if order.name is None else LEAST_NEW):
        return None
    which = "oldest or newest" if order.name is None else "newest"
    if follows(values, order):
        return (
            f"its values follow {order.shown}: unless the file is sorted by it, most normal records of the next period "
            "lie outside the range and may be flagged. Write the change since the record before instead, or leave it "
            f"out: {setting_line(name, 'ignore')}"
        )
    return (
        f"{share:.0%} of the {which} fifth, by {order.shown}, lie outside the range of the rest. About as many normal "
        "records of the next period may be flagged. Train on a longer history, or leave it out: "
        f"{setting_line(name, 'ignore')}"
    )

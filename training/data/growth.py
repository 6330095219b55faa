"""Recognise columns of numbers that only grow, and measure how far the newest values of the others lie outside."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import Reading
from vaegis.service.records.column_names import is_index_name
from vaegis.service.records.reading import instant_in_format
from vaegis.service.records.values import instants_of_numbers, instants_of_yyyymmdd, iso_instant
from vaegis.training.config import TIME_KIND, TrainConfig
from vaegis.training.data.kind_messages import quoted
from vaegis.training.data.kinds import ColumnPlan, check_any_scored
from vaegis.training.data.profile import ColumnProfile, DataProfile
from vaegis.training.data.sampling import Sample
from vaegis.training.errors import ConfigError

_FEWEST: Final = 50
"""Fewest values whose order says anything."""
_FOLLOWS: Final = 0.99
"""Least rank correlation with an order, either way, of values that follow it."""
_NEARLY_ALL: Final = 0.99
_FEWEST_LEVELS: Final = 3
"""Fewest distinct values that never step back for a reason other than chance."""
_FEWEST_DATES: Final = 5
_NEWEST: Final = 0.2
_LEAST_OUTSIDE: Final = 0.03
"""Share of the newest fifth outside the range of the rest that gives a warning: three times the usual alpha."""
_FEWEST_OUTSIDE: Final = 7
"""Fewest such records. By chance, one column in 10,000 has as many: 8 ways between the two ends, .2^7 each."""
_LEAST_OUTSIDE_IN_FILES: Final = 0.1
"""The same by the order of the files, in which records of one place or customer often stand side by side."""
_MOST_RANGE_PER_RECORD: Final = 1.1
"""Distinct whole numbers are row numbers if their range is less than this many times the number of records."""

ID_WORDS: Final = frozenset(
    ("id", "ids", "key", "pk", "seq", "sequence", "serial", "rowid", "row", "index", "idx", "uid")
)
_NUMBER_WORDS: Final = frozenset(
    (
        *("no", "nr", "num", "number", "phone", "telephone", "tel", "mobile", "fax", "card", "account", "iban"),
        *("ean", "gtin", "upc", "isbn", "barcode", "sku", "imei", "ssn", "vin"),
    )
)
"""Last words of names of identifiers that may be written with digits alone."""
_TIME_WORDS: Final = frozenset(
    ("time", "timestamp", "ts", "date", "datetime", "dt", "day", "when", "at", "on", "epoch", "expiry", "seen", "login")
) | {
    *("created", "updated", "modified", "deleted", "occurred", "received", "sent", "published", "registered"),
    *("started", "ended", "opened", "closed", "completed", "start", "end", "expires", "since", "until"),
    *("datum", "zeit", "zeitstempel", "zeitpunkt", "fecha", "heure", "horodatage"),
}
_QUANTITY_WORDS: Final = frozenset(
    ("byte", "bytes", "octets", "packets", "size", "count", "total", "sum", "amount", "volume", "value", "units")
)
"""Words of names that are no times, as in ``bytes_received``."""
_WEEK_WORDS: Final = frozenset(("week", "woche", "kalenderwoche", "semaine"))
_CALENDAR_WORDS: Final = _WEEK_WORDS | {
    *("year", "yr", "month", "quarter", "jahr", "monat", "quartal", "annee", "mois", "mes"),
}
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_DAY_S: Final = 86_400.0
_WEEK_S: Final = 7 * _DAY_S
# Numbers from 2000 to 2040 are taken for times if their order confirms it, and from 1990 to 2100 if their name does.
_BY_ORDER: Final = (946_684_800.0, 2_208_988_800.0)
_BY_NAME: Final = (631_152_000.0, 4_102_444_800.0)
_YEARS: Final = (1900.0, 2100.0)
_LARGEST_EXACT: Final = 2.0**53
_MONTHS: Final = (1900_01, 2099_12)
_FEWEST_MONTHS: Final = 8
"""Fewest distinct numbers as in 202403 that are taken for months without a word in the name; chance has 12 in 100."""
_PERIOD_WORDS: Final = frozenset(("period", "yyyymm", "yearmonth", "ym", "billing"))
_NO_TIMES: Final = (-1.0, 0.0, 99_999_999.0)
"""What programs write where there is no time, and SAP and mainframes where there is no date."""
_MINUTES: Final = "%Y%m%d%H%M"
_CALENDAR_MINUTES: Final = (1990_01_01_00_00, 2100_01_01_00_00)
_CALENDAR_DIGITS: Final = (1900_01_01_00_00_00, 2100_01_01_00_00_00)
_EXCEL_EPOCH: Final = 25_569
_EXCEL_DAYS: Final = (32_874, 73_050)
_MOST_WEEKS: Final = 53
_MOST_MONTHS: Final = 12
_INDEX_NAME: Final = re.compile(
    r"(?:Unnamed: 0(?:\.\d+)*|__index_level_\d+__|_?index|level_\d+|row_?(?:names?|num(?:ber)?|no)?)?", re.IGNORECASE
)
_COUNTING: Final = 0.9
"""Least share of values that follow the one before in an index that begins again now and then."""
_CALENDAR: Final = {"month": (1.0, 12.0), "quarter": (1.0, 4.0), "week": (0.0, 53.0)}
_MOST_YEARS: Final = 5
"""Years that a growing column may go on after the history; checks of times allow no more than that either."""
_YEAR_S: Final = 366 * _DAY_S
_MOST_SPAN_S: Final = 10 * _YEAR_S
"""Longest span of numbers that may be times by their size alone."""


@dataclass(frozen=True, slots=True)
class _Order:
    """An order of the records; ``name`` is the column whose time it is, or None for the files' own order.

    ``span_s`` is the time between the first and the last of them, 0 where it is not known.
    """

    name: str | None
    positions: NDArray[np.int64]
    span_s: float = 0.0

    @property
    def shown(self) -> str:
        return "the order of the records" if self.name is None else f"the time in {self.name}"


def settle_growing(
    plans: tuple[ColumnPlan, ...], profile: DataProfile, sample: Sample, config: TrainConfig
) -> tuple[ColumnPlan, ...]:
    """Return the plans, in which columns of numbers that only grow are timestamps, are not scored, or have a warning.

    Numbers since 1970 and dates as in 20240318 become timestamps. Identifiers, counters and years are not scored,
    because every value of the next period would be out of range. Any other numeric column gets a warning if its newest
    fifth leaves the range of the rest. Kinds that are set in the settings stay.

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
        _with_times(plan if _is_set(plan, config) else _without_index(plan, sample), column, sample, config)
        for plan, column in zip(plans, profile.columns, strict=True)
    )
    orders = _orders(timed, sample, config)
    settled = tuple(_settled(plan, sample, orders, profile.records, is_set=_is_set(plan, config)) for plan in timed)
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


def _with_times(plan: ColumnPlan, column: ColumnProfile, sample: Sample, config: TrainConfig) -> ColumnPlan:
    """Return the plan of a column whose numbers are times as one of a timestamp."""
    is_set = _is_set(plan, config)
    has_commas = not is_set and plan.reading is not None and plan.reading.unit == ""
    if not (column.holds_numbers or has_commas) or plan.kind != (TIME_KIND if is_set else "numeric"):
        return plan
    values = sample.numbers(plan.name, "numeric", plan.reading)
    if is_set:
        return replace(plan, number_form="yyyymmdd") if _are_calendar_dates(_finite(values)) else plan
    return plan if ID_WORDS.intersection(words_of(plan.name)) else _with_inferred_times(plan, values)


def _with_inferred_times(plan: ColumnPlan, values: NDArray[np.float64]) -> ColumnPlan:
    timed = _as_times(plan, values)
    if timed is not None:
        return timed
    are_none = np.isin(values, _NO_TIMES)
    if are_none.any() and (timed := _as_times(plan, np.where(are_none, np.nan, values))) is not None:
        nulls = tuple(f"{number:.0f}" for number in np.unique(values[are_none]))
        reading = timed.reading or Reading()
        reading = reading.model_copy(update={"null_values": (*reading.null_values, *nulls)})
        share = are_none.sum() / _finite(values).size
        warning = f"{' and '.join(nulls)}, in {share:.1%}, are read as no {'date' if _is_date(timed) else 'time'}"
        return replace(timed, reading=reading, warnings=(*plan.warnings, warning))
    suspicion = _why_may_be_times(plan.name, values)
    return plan if suspicion is None else replace(plan, warnings=(*plan.warnings, suspicion))


def _as_times(plan: ColumnPlan, values: NDArray[np.float64]) -> ColumnPlan | None:
    """Return the plan of a timestamp; None if the numbers are none, as far as their values, order and name tell."""
    numbers = _finite(values)
    if _are_calendar_dates(numbers):
        return replace(plan, kind=TIME_KIND, number_form="yyyymmdd", reason="dates as in 20240318")
    if _are_calendar_minutes(numbers):
        reading = (plan.reading or Reading()).model_copy(update={"format": _MINUTES})
        return replace(plan, kind=TIME_KIND, reading=reading, reason="times as in 202403181012")
    reason = _why_epoch(plan.name, values)
    return None if reason is None else replace(plan, kind=TIME_KIND, reason=reason)


def _is_date(plan: ColumnPlan) -> bool:
    return plan.number_form == "yyyymmdd"


def _why_may_be_times(name: str, values: NDArray[np.float64]) -> str | None:
    """Return a warning if numbers may be times that are learned as quantities."""
    numbers = _finite(values)
    if _TIME_WORDS.intersection(words_of(name)) and _are_days_of_excel(numbers):
        first = iso_instant((float(numbers.min()) - _EXCEL_EPOCH) * _DAY_S)[:10]
        return (
            f"looks like dates as Excel counts days, from {first} on: write them as dates, because these are learned "
            "as quantities"
        )
    unit = _epoch_unit(numbers) if numbers.size >= _FEWEST and _are_whole(numbers) else None
    if unit in (None, "nanoseconds") or (_NUMBER_WORDS | _QUANTITY_WORDS).intersection(words_of(name)):
        return None
    seconds = instants_of_numbers(numbers)
    if _share_within(seconds, _BY_ORDER) < 1.0 or not _DAY_S <= float(np.ptp(seconds)) <= _MOST_SPAN_S:
        return None
    first = iso_instant(float(seconds.min()))[:10]
    return (
        f"looks like {unit} since 1970, from {first} on, but is learned as a quantity. "
        f"If these are times: {_setting_line(name, TIME_KIND)}"
    )


def _are_calendar_minutes(numbers: NDArray[np.float64]) -> bool:
    """Return whether all numbers write a time as in 202403181012, and enough of them differ."""
    distinct, (low, high) = np.unique(numbers), _CALENDAR_MINUTES
    if distinct.size < _FEWEST_DATES or not _are_whole(distinct) or distinct[0] < low or distinct[-1] >= high:
        return False
    return all(instant_in_format(f"{number:.0f}", _MINUTES) is not None for number in distinct)


def _are_days_of_excel(numbers: NDArray[np.float64]) -> bool:
    """Return whether numbers may be days as Excel counts them, of 1990 to 2100."""
    return numbers.size >= _FEWEST and bool(((numbers > _EXCEL_DAYS[0]) & (numbers < _EXCEL_DAYS[1])).all())


def _is_set(plan: ColumnPlan, config: TrainConfig) -> bool:
    return plan.name in config.columns and config.columns[plan.name].kind is not None


def _why_epoch(name: str, values: NDArray[np.float64]) -> str | None:
    """Return why numbers are times since 1970; None if they may be something else."""
    numbers = _finite(values)
    if numbers.size < _FEWEST:
        return None
    words, seconds = words_of(name), instants_of_numbers(numbers)
    is_named = bool(_TIME_WORDS.intersection(words)) and not _QUANTITY_WORDS.intersection(words)
    unit = _epoch_unit(numbers)
    if unit is None:
        are_times = is_named and _share_within(seconds, _BY_NAME) == 1.0
        return "times since 1970 in several units, by its name and values" if are_times else None
    if numbers.min() >= _CALENDAR_DIGITS[0] and numbers.max() < _CALENDAR_DIGITS[1]:
        return "times as in 20240318101200" if np.isfinite(seconds).all() else None
    if is_named and _share_within(seconds, _BY_NAME) >= _NEARLY_ALL:
        return f"{unit} since 1970, by its name and values"
    are_recent = _share_within(seconds, _BY_ORDER) == 1.0 and np.ptp(seconds) >= _DAY_S
    # Identifiers of 19 digits, which encode another time, would be read as nanoseconds.
    if are_recent and unit != "nanoseconds" and _follows(values, _Order(None, np.arange(values.size))):
        return f"{unit} since 1970, by their size and order"
    return None


def _orders(plans: Sequence[ColumnPlan], sample: Sample, config: TrainConfig) -> tuple[_Order, ...]:
    """Return the order of the files, and that of a time column where there is one: the set one, or the most orderly."""
    in_files = _Order(None, np.arange(len(sample)))
    by_name = {plan.name: plan for plan in plans}
    names = [plan.name for plan in plans if plan.kind == TIME_KIND]
    if config.data.time_column is not None:
        names = [config.data.time_column]
    orders = []
    for name in names:
        times = sample.numbers(name, TIME_KIND, by_name[name].reading, by_name[name].number_form)
        dated = np.flatnonzero(~np.isnan(times))
        if dated.size >= max(_FEWEST, _NEARLY_ALL * times.size / 2):
            order = _Order(name, dated[np.argsort(times[dated], kind="stable")], float(np.ptp(times[dated])))
            orders.append((abs(_rank_correlation(times)), order))
    if not orders:
        return (in_files,)
    return in_files, max(orders, key=lambda pair: pair[0])[1]


def _settled(plan: ColumnPlan, sample: Sample, orders: tuple[_Order, ...], records: int, *, is_set: bool) -> ColumnPlan:
    """Return the plan of a column, not scored if its numbers only count or grow, or with a warning."""
    if plan.kind == TIME_KIND:
        warning = _short_span(plan.name, _finite(sample.numbers(plan.name, TIME_KIND, plan.reading, plan.number_form)))
        if plan.reading is not None and plan.reading.format is not None and "%d" not in plan.reading.format:
            warning = None  # Times of day have no span.
        return plan if warning is None else replace(plan, warnings=(*plan.warnings, warning))
    if "numeric" not in (plan.kind, plan.watched):
        return plan
    values = sample.numbers(plan.name, "numeric", plan.reading)
    if plan.watched == "numeric":
        return replace(plan, limits=_limits(plan.name, values, orders))
    if _finite(values).size < _FEWEST:
        return plan
    reason = None if is_set else _why_not_scored(plan.name, values, orders, records)
    if reason is not None:
        keep = f"To score it all the same: {_setting_line(plan.name, 'numeric')}"
        limits = _limits(plan.name, values, orders)
        return replace(plan, kind=None, reason=reason, warnings=(keep,), watched="numeric", limits=limits)
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
    numbers = _finite(values)
    if not numbers.size or not _are_whole(numbers) or numbers.min() < 0:
        return plan
    are_different = np.unique(numbers).size >= _NEARLY_ALL * numbers.size
    count_on = values.size > 1 and float((np.diff(values) == 1).mean()) >= _COUNTING
    if not (is_index_name(plan.name) or are_different or count_on):
        return plan
    return replace(plan, kind=None, watched=None, reason="the index of a data frame, by its name and values")


def _why_not_scored(name: str, values: NDArray[np.float64], orders: tuple[_Order, ...], records: int) -> str | None:
    """Return why a column of numbers cannot be learned as a quantity; None if it can."""
    numbers = _finite(values)
    distinct, words = np.unique(numbers), words_of(name)
    followed = next((order for order in reversed(orders) if _follows(values, order)), None)
    if _are_whole(numbers):
        if distinct.size >= _NEARLY_ALL * numbers.size:
            reason = _why_no_quantity(words, followed, width=float(np.ptp(numbers)), records=records)
        elif followed is not None and distinct.size >= _FEWEST and _names_identifiers(words):
            reason = f"an identifier: its name says so, and it follows {followed.shown}"
        else:
            reason = _why_calendar(words, followed, distinct)
        if reason is not None:
            return reason
    # Without a time, a file may be sorted by a quantity.
    if followed is not None and followed.name is not None:
        return f"it only goes one way with {followed.shown}"
    return None


def _why_no_quantity(words: tuple[str, ...], followed: _Order | None, *, width: float, records: int) -> str | None:
    """Return why whole numbers that all differ identify the records; None if they may be quantities."""
    if followed is not None:
        return f"a counter: whole numbers that all differ and follow {followed.shown}"
    if _names_identifiers(words):
        return "an identifier: its name says so, and all values differ"
    if width < _MOST_RANGE_PER_RECORD * records:
        return "a row number: whole numbers that all differ, without gaps"
    return None


def _names_identifiers(words: tuple[str, ...]) -> bool:
    return bool(ID_WORDS.intersection(words) or _NUMBER_WORDS.intersection(words[-1:]))


def _why_calendar(words: tuple[str, ...], followed: _Order | None, distinct: NDArray[np.float64]) -> str | None:
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


def _limits(name: str, values: NDArray[np.float64], orders: tuple[_Order, ...]) -> tuple[float | None, float | None]:
    """Return the least and the greatest number that a column which grows may reach; None where any may come.

    Parts of the date have the calendar's range, and years get a margin. What follows a time may go on for
    `_MOST_YEARS` as fast as it has; without a time, no number is too large. None is negative where none was.
    """
    numbers = _finite(values)
    if not numbers.size:
        return None, None
    least, greatest = float(numbers.min()), float(numbers.max())
    low: float | None = 0.0 if least >= 0 else None
    if _are_whole(numbers):
        for word in sorted(_CALENDAR.keys() & set(words_of(name))):
            first, last = _CALENDAR[word]
            if first <= least and greatest <= last:
                return first, last
        if _CALENDAR_WORDS.intersection(words_of(name)) and _YEARS[0] <= least and greatest <= _YEARS[1]:
            return least - _MOST_YEARS, greatest + _MOST_YEARS
    timed = next((order for order in reversed(orders) if order.span_s and _follows(values, order)), None)
    if timed is None:
        return low, None
    margin = (greatest - least) * _MOST_YEARS * _YEAR_S / timed.span_s
    return least - margin if low is None else max(low, least - margin), greatest + margin


def _short_span(name: str, seconds: NDArray[np.float64]) -> str | None:
    """Return a warning if the records do not span a week, so that some weekdays or hours cannot have been seen."""
    if seconds.size < _FEWEST or (span := float(np.ptp(seconds))) >= _WEEK_S:
        return None
    spanned = f"the records span {span / _DAY_S:.1f} days, so some"
    if span < _DAY_S:
        return (
            f"{spanned} hours of the day were never seen. Normal records of these are likely to be flagged: train on "
            f"at least a week, or leave the column out: {_setting_line(name, 'ignore')}"
        )
    return (
        f"{spanned} weekdays were never seen. They are scored as the last whole day of the history: train on at least "
        f"a week, or leave the column out: {_setting_line(name, 'ignore')}"
    )


def _rounded(name: str, values: NDArray[np.float64]) -> str | None:
    """Return a warning if whole numbers are too large to be told from their neighbours."""
    numbers = _finite(values)
    if not _are_whole(numbers) or np.abs(numbers).max() <= _LARGEST_EXACT:
        return None
    return (
        "whole numbers beyond 2^53 are rounded, and are rather identifiers than quantities. If so, write them as text, "
        f"or leave them out: {_setting_line(name, 'ignore')}"
    )


def _outside(name: str, values: NDArray[np.float64], orders: tuple[_Order, ...]) -> str | None:
    """Return a warning if the newest fifth of a column lies outside the range of the rest."""
    order = orders[-1]
    ordered = values[order.positions]
    ordered = ordered[np.isfinite(ordered)]
    newest = int(ordered.size * _NEWEST)
    if ordered.size < _FEWEST:
        return None
    # Without times, a file may also begin with its newest records.
    ends = [(ordered[:-newest], ordered[-newest:])]
    if order.name is None:
        ends.append((ordered[newest:], ordered[:newest]))
    outside = max(np.count_nonzero((new < rest.min()) | (new > rest.max())) for rest, new in ends)
    share = outside / newest
    if outside < _FEWEST_OUTSIDE or share < (_LEAST_OUTSIDE_IN_FILES if order.name is None else _LEAST_OUTSIDE):
        return None
    which = "oldest or newest" if order.name is None else "newest"
    if _follows(values, order):
        return (
            f"its values follow {order.shown}: unless the file is sorted by it, most normal records of the next period "
            "lie outside the range and may be flagged. Write the change since the record before instead, or leave it "
            f"out: {_setting_line(name, 'ignore')}"
        )
    return (
        f"{share:.0%} of the {which} fifth, by {order.shown}, lie outside the range of the rest. About as many normal "
        "records of the next period may be flagged. Train on a longer history, or leave it out: "
        f"{_setting_line(name, 'ignore')}"
    )


def _setting_line(name: str, kind: str) -> str:
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)
    return f'columns.{key}.kind = "{kind}" in train.toml'


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a column's name, in order: ``orderID`` and ``order_id`` have ``order`` and ``id``."""
    return tuple(word.lower() for word in _WORD.findall(name))


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _are_whole(numbers: NDArray[np.float64]) -> bool:
    return bool((numbers == np.floor(numbers)).all())


def _share_within(seconds: NDArray[np.float64], bounds: tuple[float, float]) -> float:
    return float(((seconds >= bounds[0]) & (seconds < bounds[1])).mean())


def _epoch_unit(numbers: NDArray[np.float64]) -> str | None:
    """Return the unit of most numbers as times since 1970; None if several units would be read."""
    digits = np.abs(numbers)
    units = {"seconds": (1e8, 1e11), "milliseconds": (1e11, 1e14), "microseconds": (1e14, 1e17)}
    units["nanoseconds"] = (1e17, 1e19)
    for unit, (low, high) in units.items():
        if ((digits >= low) & (digits < high)).mean() >= _NEARLY_ALL:
            return unit
    return None


def _are_calendar_dates(numbers: NDArray[np.float64]) -> bool:
    """Return whether all numbers write a date as in 20240318; of random ones of eight digits, one in 25 does."""
    distinct = np.unique(numbers)
    return distinct.size >= _FEWEST_DATES and not np.isnan(instants_of_yyyymmdd(distinct)).any()


def _follows(values: NDArray[np.float64], order: _Order) -> bool:
    """Return whether values rise, or fall, with an order: by their rank correlation, or because none steps back."""
    ordered = values[order.positions]
    ordered = ordered[np.isfinite(ordered)]
    if ordered.size < _FEWEST:
        return False
    steps = np.diff(ordered)
    if np.unique(ordered).size < _FEWEST_LEVELS:
        return False
    one_way = bool((steps >= 0).all() or (steps <= 0).all())
    return one_way or abs(_rank_correlation(ordered)) >= _FOLLOWS


def _rank_correlation(values: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of values with their positions; 0 if all are equal."""
    finite = np.isfinite(values)
    _, inverse, counts = np.unique(values[finite], return_inverse=True, return_counts=True)
    if counts.size < 2:  # noqa: PLR2004 - a constant has no correlation
        return 0.0
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float(np.corrcoef(ranks, np.flatnonzero(finite))[0, 1])

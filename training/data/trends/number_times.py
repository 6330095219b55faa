"""Recognise columns of numbers that are times: since 1970, or written with digits alone as in 20240318."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import Reading
from vaegis.service.records.reading import instant_in_format
from vaegis.service.records.values import instants_of_numbers, instants_of_yyyymmdd, iso_instant
from vaegis.training.config import TIME_KIND
from vaegis.training.data.kind_messages import setting_line
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.name_words import ID_WORDS, NUMBER_WORDS, words_of
from vaegis.training.data.profiling.profile import ColumnProfile
from vaegis.training.data.sampling import Sample
from vaegis.training.data.trends.record_order import FEWEST_ORDERED, Order, are_whole, finite, follows

_TIME_WORDS: Final = frozenset(
    ("time", "timestamp", "ts", "date", "datetime", "dt", "day", "when", "at", "on", "epoch", "expiry", "seen", "login")
) | {
    *("created", "updated", "modified", "deleted", "occurred", "received", "sent", "published", "registered"),
    *("started", "ended", "opened", "closed", "completed", "start", "end", "expires", "since", "until"),
    *("datum", "valuta", "zeit", "zeitstempel", "zeitpunkt", "fecha", "heure", "horodatage"),
}
_QUANTITY_WORDS: Final = frozenset(
    ("byte", "bytes", "octets", "packets", "size", "count", "total", "sum", "amount", "volume", "value", "units")
)
"""Words of names that are no times, as in ``bytes_received``."""

_NEARLY_ALL: Final = 0.99
_FEWEST_DATES: Final = 5
_DAY_S: Final = 86_400.0
# Numbers from 2000 to 2040 are taken for times if their order confirms it, and from 1990 to 2100 if their name does.
_BY_ORDER: Final = (946_684_800.0, 2_208_988_800.0)
_BY_NAME: Final = (631_152_000.0, 4_102_444_800.0)
_NO_TIMES: Final = (-1.0, 0.0, 99_999_999.0)
"""What programs write where there is no time, and SAP and mainframes where there is no date."""
_MINUTES: Final = "%Y%m%d%H%M"
_CALENDAR_MINUTES: Final = (1990_01_01_00_00, 2100_01_01_00_00)
_CALENDAR_DIGITS: Final = (1900_01_01_00_00_00, 2100_01_01_00_00_00)
_EXCEL_EPOCH: Final = 25_569
_EXCEL_DAYS: Final = (32_874, 73_050)
_MOST_SPAN_S: Final = 10 * 366 * _DAY_S
"""Longest span of numbers that may be times by their size alone."""


def with_times(plan: ColumnPlan, column: ColumnProfile, sample: Sample, *, is_set: bool) -> ColumnPlan:
    """Return the plan of a column, as one of a timestamp or with a warning if its numbers are times, or may be.

    Args:
        plan: The plan by the profile alone.
        column: The profile.
        sample: The records, in their order.
        is_set: Whether its kind is set in the settings. It then stays, and only the form of its numbers is found.
    """
    has_commas = not is_set and plan.reading is not None and plan.reading.unit == ""
    if not (column.holds_numbers or has_commas) or plan.kind != (TIME_KIND if is_set else "numeric"):
        return plan
    values = sample.numbers(plan.name, "numeric", plan.reading)
    if is_set:
        return replace(plan, number_form="yyyymmdd") if _are_calendar_dates(finite(values)) else plan
    return plan if ID_WORDS.intersection(words_of(plan.name)) else _with_inferred_times(plan, values)


def may_be_nanoseconds(values: NDArray[np.float64]) -> bool:
    """Tell whether numbers may be nanoseconds since 1970; identifiers that encode a time have as many digits."""
    numbers = finite(values)
    if numbers.size < FEWEST_ORDERED or _epoch_unit(numbers) != "nanoseconds":
        return False
    return _share_within(instants_of_numbers(numbers), _BY_ORDER) == 1.0


def _with_inferred_times(plan: ColumnPlan, values: NDArray[np.float64]) -> ColumnPlan:
    timed = _as_times(plan, values)
    if timed is not None:
        return timed
    are_none = np.isin(values, _NO_TIMES)
    if are_none.any() and (timed := _as_times(plan, np.where(are_none, np.nan, values))) is not None:
        nulls = tuple(f"{number:.0f}" for number in np.unique(values[are_none]))
        reading = timed.reading or Reading()
        reading = reading.model_copy(update={"null_values": (*reading.null_values, *nulls)})
        share = are_none.sum() / finite(values).size
        warning = f"{' and '.join(nulls)}, in {share:.1%}, are read as no {'date' if _is_date(timed) else 'time'}"
        return replace(timed, reading=reading, warnings=(*plan.warnings, warning))
    suspicion = _why_may_be_times(plan.name, values)
    return plan if suspicion is None else replace(plan, warnings=(*plan.warnings, suspicion))


def _as_times(plan: ColumnPlan, values: NDArray[np.float64]) -> ColumnPlan | None:
    """Return the plan of a timestamp; None if the numbers are none, as far as their values, order and name tell."""
    numbers = finite(values)
    is_named = bool(_TIME_WORDS.intersection(words_of(plan.name)))
    if _are_calendar_dates(numbers, fewest=1 if is_named else _FEWEST_DATES):
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
    numbers = finite(values)
    if _TIME_WORDS.intersection(words_of(name)) and _are_days_of_excel(numbers):
        first = iso_instant((float(numbers.min()) - _EXCEL_EPOCH) * _DAY_S)[:10]
        return (
            f"looks like dates as Excel counts days, from {first} on: write them as dates, because these are learned "
            "as quantities"
        )
    unit = _epoch_unit(numbers) if numbers.size >= FEWEST_ORDERED and are_whole(numbers) else None
    if unit in (None, "nanoseconds") or (NUMBER_WORDS | _QUANTITY_WORDS).intersection(words_of(name)):
        return None
    seconds = instants_of_numbers(numbers)
    if _share_within(seconds, _BY_ORDER) < 1.0 or not _DAY_S <= float(np.ptp(seconds)) <= _MOST_SPAN_S:
        return None
    first = iso_instant(float(seconds.min()))[:10]
    return (
        f"looks like {unit} since 1970, from {first} on, but is learned as a quantity. "
        f"If these are times: {setting_line(name, TIME_KIND)}"
    )


def _are_calendar_minutes(numbers: NDArray[np.float64]) -> bool:
    """Return whether all numbers write a time as in 202403181012, and enough of them differ."""
    distinct, (low, high) = np.unique(numbers), _CALENDAR_MINUTES
    if distinct.size < _FEWEST_DATES or not are_whole(distinct) or distinct[0] < low or distinct[-1] >= high:
        return False
    return all(instant_in_format(f"{number:.0f}", _MINUTES) is not None for number in distinct)


def _are_days_of_excel(numbers: NDArray[np.float64]) -> bool:
    """Return whether numbers may be days as Excel counts them, of 1990 to 2100."""
    return numbers.size >= FEWEST_ORDERED and bool(((numbers > _EXCEL_DAYS[0]) & (numbers < _EXCEL_DAYS[1])).all())


def _why_epoch(name: str, values: NDArray[np.float64]) -> str | None:
    """Return why numbers are times since 1970; None if they may be something else."""
    numbers = finite(values)
    if numbers.size < FEWEST_ORDERED:
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
    if are_recent and unit != "nanoseconds" and follows(values, Order(None, np.arange(values.size))):
        return f"{unit} since 1970, by their size and order"
    return None


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


def _are_calendar_dates(numbers: NDArray[np.float64], *, fewest: int = _FEWEST_DATES) -> bool:
    """Return whether all numbers write a date as in 20240318; of random ones of eight digits, one in 25 does."""
    distinct = np.unique(numbers)
    return distinct.size >= fewest and not np.isnan(instants_of_yyyymmdd(distinct)).any()

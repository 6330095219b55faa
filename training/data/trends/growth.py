"""Recognise columns that only grow, and measure how far the newest values of the others lie outside what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.column_names import quoted
from vaegis.training.config import TIME_KIND, TrainConfig
from vaegis.training.data.kind_messages import setting_line
from vaegis.training.data.kinds import ColumnPlan, check_any_scored
from vaegis.training.data.profiling.profile import DataProfile
from vaegis.training.data.profiling.written_dates import DAY
from vaegis.training.data.sampling import Sample
from vaegis.training.data.trends.counters import why_not_scored, without_index
from vaegis.training.data.trends.growth_limits import growth_limits
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

_HOUR_S: Final = 3_600.0
_DAY_S: Final = 24 * _HOUR_S
_WEEK_S: Final = 7 * _DAY_S
_LARGEST_EXACT: Final = 2.0**53


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
            plan if _is_set(plan, config) else without_index(plan, sample),
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
        return replace(plan, limits=growth_limits(plan.name, values, orders))
    if finite(values).size < FEWEST_ORDERED:
        return plan
    reason = None if is_set else why_not_scored(plan.name, values, orders, records)
    if reason is not None:
        as_times = f"If these are nanoseconds since 1970, set {setting_line(plan.name, TIME_KIND)}"
        notes = (as_times,) if may_be_nanoseconds(values) else ()
        limits = growth_limits(plan.name, values, orders)
        return replace(plan, kind=None, reason=reason, warnings=notes, watched="numeric", limits=limits)
    outside, rounded = _outside(plan.name, values, orders), _rounded(plan.name, values)
    warnings = tuple(warning for warning in (outside, rounded) if warning is not None)
    return replace(plan, warnings=plan.warnings + warnings, leaves_range=outside is not None)


def _short_span(name: str, seconds: NDArray[np.float64]) -> str | None:
    """Return a warning if the records do not span a week, so that some weekdays or hours cannot have been seen."""
    if seconds.size < FEWEST_ORDERED or (span := float(np.ptp(seconds))) >= _WEEK_S:
        return None
    if span < _DAY_S:
        return (
            f"the records span {span / _HOUR_S:.1f} hours, so the time of day is not scored: train on at least a week"
        )
    return (
        f"the records span {span / _DAY_S:.1f} days, so some weekdays were never seen. They are scored as the last day "
        f"of the history: train on at least a week, or leave the column out: {setting_line(name, 'ignore')}"
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

"""The likelihood of an instant: categorical fields, its hour of the day and its day of the week, in local time.

A histogram over 24 hours takes any shape, office hours and night batches alike, where a single von Mises
distribution takes one peak. Records are told to the encoder in cyclic form, so that 23:59 lies beside 00:00.

The month is a field too where the history spans more than two years, because in less the season cannot be told from
what changed with the years. So is the day of the month where the history spans more than one year.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vaegis.service.contract import DAYS_PER_WEEK, EPOCH_WEEKDAY, HOURS_PER_DAY

FIELDS = (HOURS_PER_DAY, DAYS_PER_WEEK)
"""Sizes of the fields of one timestamp column: hour, then weekday from Monday."""

ENCODED_WIDTH = 4
"""Features of one timestamp column: sine and cosine of the time of day and of the time of the week."""

DAY_S, WEEK_S = 86_400.0, 604_800.0
_HOUR_S = 3600.0
_SINCE_MONDAY = EPOCH_WEEKDAY * DAY_S  # at the start of 1970
_DAYS_TO_1970 = 719_468.0  # from 0000-03-01
_DAYS_OF_ERA = 146_097.0  # 400 years
_MARCH_TO_JANUARY = 10.0  # months
_FURTHEST_INSTANT = 1e12  # seconds; float64 still tells milliseconds there


def fields(seconds: Float[Tensor, "n t"]) -> Int[Tensor, "n t 2"]:
    """Return hour and weekday of instants in float64 seconds since 1970."""
    of_day, of_week = _split(seconds)
    # Rounding far from 1970 can reach the next whole: the last hour and weekday bound it.
    hour = torch.floor(of_day / _HOUR_S).to(torch.int64).clamp(0, HOURS_PER_DAY - 1)
    weekday = torch.floor(of_week / DAY_S).to(torch.int64).clamp(0, DAYS_PER_WEEK - 1)
    return torch.stack([hour, weekday], dim=-1)


def encoded(seconds: Float[Tensor, "n t"]) -> Float[Tensor, "n t4"]:
    """Return the cyclic features of instants, float32: sines of day and week, then cosines."""
    of_day, of_week = _split(seconds)
    turns = torch.cat([of_day / DAY_S, of_week / WEEK_S], dim=-1).float()
    return torch.cat([torch.sin(2.0 * math.pi * turns), torch.cos(2.0 * math.pi * turns)], dim=-1)


def calendar(seconds: Float[Tensor, "n t"]) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
    """Return month and day of the month of instants, both from 0, float64.

    The days of the Gregorian calendar are counted from a first of March, at which a leap day is the last of its year
    (Hinnant, "chrono-compatible low-level date algorithms").
    """
    days = torch.floor(seconds.clamp(-_FURTHEST_INSTANT, _FURTHEST_INSTANT) / DAY_S) + _DAYS_TO_1970
    of_era = days - torch.floor(days / _DAYS_OF_ERA) * _DAYS_OF_ERA
    leaps = torch.floor(of_era / 1460.0) - torch.floor(of_era / 36_524.0) + torch.floor(of_era / 146_096.0)
    year = torch.floor((of_era - leaps) / 365.0)
    of_year = of_era - (365.0 * year + torch.floor(year / 4.0) - torch.floor(year / 100.0))
    since_march = torch.floor((5.0 * of_year + 2.0) / 153.0)
    day = of_year - torch.floor((153.0 * since_march + 2.0) / 5.0)
    return torch.where(since_march < _MARCH_TO_JANUARY, since_march + 2.0, since_march - 10.0), day


def cyclic(part: Float[Tensor, "n t"], size: int) -> Float[Tensor, "n t2"]:
    """Return the sine and the cosine of a part of the date, float32: sines of all columns, then cosines."""
    turns = (part / size).float()
    return torch.cat([torch.sin(2.0 * math.pi * turns), torch.cos(2.0 * math.pi * turns)], dim=-1)


def _split(seconds: Float[Tensor, "n t"]) -> tuple[Float[Tensor, "n t"], Float[Tensor, "n t"]]:
    """Return the seconds since midnight and since Monday's midnight."""
    instant = seconds.clamp(-_FURTHEST_INSTANT, _FURTHEST_INSTANT)
    shifted = instant + _SINCE_MONDAY
    return instant - torch.floor(instant / DAY_S) * DAY_S, shifted - torch.floor(shifted / WEEK_S) * WEEK_S

"""Find the numbers between which a column that grows may go on."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.training.data.name_words import words_of
from vaegis.training.data.trends.counters import CALENDAR_WORDS, YEARS
from vaegis.training.data.trends.record_order import Order, are_whole, finite, follows

_CALENDAR: Final = {"month": (1.0, 12.0), "quarter": (1.0, 4.0), "week": (0.0, 53.0)}
_CODE_SPACING: Final = 1000.0
"""Mean distance from which numbers are rather codes than the records of a counter."""
_FEWEST_DIGITS: Final = 8
"""Fewest digits of such codes: shorter numbers may count on to one more."""
_MOST_YEARS: Final = 5
"""Years that a growing column may go on after the history; checks of times allow no more than that either."""
_YEAR_S: Final = 366 * 86_400.0


def growth_limits(
    name: str, values: NDArray[np.float64], orders: tuple[Order, ...]
) -> tuple[float | None, float | None]:
    """Return the least and the greatest number that a column which grows may reach; None where any may come.

    Parts of the date have the calendar's range, and years get a margin. Codes such as EAN keep their number of digits.
    What follows a time may go on for `_MOST_YEARS` as fast as it has; without a time, no number is too large. None is
    negative where none was.

    Args:
        name: The column.
        values: Its numbers in the sample, shape (n,), NaN where null.
        orders: Orders of the sample's records, those with a time last.
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
        if CALENDAR_WORDS.intersection(words_of(name)) and YEARS[0] <= least and greatest <= YEARS[1]:
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

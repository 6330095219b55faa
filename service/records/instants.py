"""Parse many ISO 8601 timestamps at once with numpy, if all of them follow one pattern."""

from __future__ import annotations

import re
from calendar import isleap
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.values import in_calendar

_PATTERN: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(\.\d{1,6})?)?)(Z|[+-]\d\d:\d\d)?|\d{4}-\d\d-\d\d", re.ASCII
)
_DATE_LENGTH: Final = len("1970-01-01")
_FIRST_MONTH_DIGIT: Final = 4
_MOMENT_DIGITS: Final = 14  # without a fraction
_LATEST: Final = np.array([23, 59, 59], dtype=np.uint8)
"""The greatest hour, minute and second."""
_FEBRUARY: Final = 2
_DAYS: Final = np.zeros(100, dtype=np.uint8)
"""The days of each month in a leap year; 0 for two digits that are no month."""
_DAYS[1:13] = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEAR_WEIGHTS: Final = np.array([1000, 100, 10, 1])
_ZONE_WEIGHTS: Final = np.array([600, 60, 10, 1])  # minutes
_MICROSECONDS: Final = 1_000_000
_EXACT: Final = 2**53


def instants_of_iso(texts: Sequence[str]) -> NDArray[np.float64] | None:
    """Return instants in seconds since 1970, to the last bit those of `values.instant`; None where it has to decide.

    The text has a date, and may have a time, a fraction of up to six digits and a zone; what stands where must be the
    same in all of it.

    Args:
        texts: n texts, at least one.

    Returns:
        Shape (n,), or None where the texts differ in their pattern or one is no instant.
    """
    found = _PATTERN.fullmatch(texts[0])
    length = len(texts[0])
    if found is None or set(map(len, texts)) != {length}:
        return None
    try:
        letters = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8).reshape(-1, length)
    except UnicodeEncodeError:
        return None
    is_digit = np.array([letter.isdecimal() for letter in texts[0]])
    digits = letters[:, is_digit] - np.uint8(ord("0"))  # what stands before "0" wraps around to more than 9
    if digits.max() > 9 or not (letters[:, ~is_digit] == letters[0, ~is_digit]).all():  # noqa: PLR2004 - a digit
        return None
    moment, fraction, zone = found[1] or found[0], found[2], found[3]
    minutes = _zone_minutes(digits[:, -4:], zone)
    if minutes is None or not _are_moments(digits[:, : min(sum(map(str.isdecimal, moment)), _MOMENT_DIGITS)]):
        return None
    microseconds = _microseconds(letters[:, : len(moment)])
    microseconds -= minutes * (60 * _MICROSECONDS)
    if fraction and np.abs(microseconds).max() >= _EXACT:
        return None  # The division below would round twice.
    # Without a fraction the quotient is a whole number, which float64 holds.
    instants = microseconds / _MICROSECONDS if fraction else (microseconds // _MICROSECONDS).astype(np.float64)
    return instants if in_calendar(instants).all() else None


def _zone_minutes(digits: NDArray[np.uint8], zone: str | None) -> NDArray[np.int64] | int | None:
    """Return how far zones are ahead of UTC, given their four digits; None where one is no time of a clock."""
    if zone is None or zone == "Z":
        return 0
    places = digits.astype(np.int64)
    if (places[:, 0] * 10 + places[:, 1] >= 24).any() or (places[:, 2] >= 6).any():  # noqa: PLR2004 - a clock
        return None
    ahead: NDArray[np.int64] = places @ (-_ZONE_WEIGHTS if zone.startswith("-") else _ZONE_WEIGHTS)
    return ahead


def _are_moments(digits: NDArray[np.uint8]) -> bool:
    """Tell whether the calendar and the clock have all moments, given their digits down to the second, shape (n, k)."""
    pairs = digits[:, _FIRST_MONTH_DIGIT::2] * 10 + digits[:, _FIRST_MONTH_DIGIT + 1 :: 2]  # (n, 2 to 5)
    month, day = pairs[:, 0], pairs[:, 1]
    # A day of 0 wraps around to more than any month has.
    if (day - np.uint8(1) >= _DAYS[month]).any() or (pairs[:, 2:] > _LATEST[: pairs.shape[1] - 2]).any():
        return False
    leap_days = ((day == _DAYS[_FEBRUARY]) & (month == _FEBRUARY)).nonzero()[0]
    return not leap_days.size or all(map(isleap, (digits[leap_days, :_FIRST_MONTH_DIGIT] @ _YEAR_WEIGHTS).tolist()))


def _microseconds(letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return moments without a zone in microseconds since 1970.

    The calendar must have all of them: of more than 500, numpy ends the process at the first that it cannot read
    (https://github.com/astropy/astropy/issues/18254).
    """
    width = letters.shape[1]
    moments = letters.copy()
    if width > _DATE_LENGTH:
        moments[:, _DATE_LENGTH] = ord("T")
    return moments.view(f"S{width}").ravel().astype("datetime64[us]").astype(np.int64)

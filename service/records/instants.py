"""Parse many ISO 8601 timestamps at once, if all of them follow one pattern."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.values import in_calendar

_PATTERN: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(?:Z|[+-](\d\d):(\d\d))?)?", re.ASCII
)
_DAYS_BEFORE: Final = np.array([0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])
_DAYS_IN: Final = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_DAYS_TO_1970: Final = 719_162
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
    digits = letters[:, is_digit].astype(np.int64) - ord("0")
    if digits.min() < 0 or digits.max() > 9 or not (letters[:, ~is_digit] == letters[0, ~is_digit]).all():  # noqa: PLR2004 - the greatest digit
        return None
    return _instants(_parts(digits, found), found)


def _parts(digits: NDArray[np.int64], found: re.Match[str]) -> list[NDArray[np.int64]]:
    """Return year, month, day, hour, minute, second, fraction and the zone's hour and minute, each of shape (n,)."""
    parts = []
    at = 0
    for text in found.groups():
        width = len(text or "")
        weights = 10 ** np.arange(width - 1, -1, -1)
        parts.append(digits[:, at : at + width] @ weights)
        at += width
    return parts


def _instants(parts: list[NDArray[np.int64]], found: re.Match[str]) -> NDArray[np.float64] | None:
    year, month, day, hour, minute, second, fraction, zone_hour, zone_minute = parts
    in_year = (year >= 1) & (month >= 1) & (month <= 12)  # noqa: PLR2004 - months
    if not in_year.all():
        return None
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    longest = _DAYS_IN[month - 1] + (leap & (month == 2))  # noqa: PLR2004 - February
    in_day = (hour < 24) & (minute < 60) & (second < 60) & (zone_hour < 24) & (zone_minute < 60)  # noqa: PLR2004 - a clock
    if not ((day >= 1) & (day <= longest) & in_day).all():
        return None
    past = year - 1
    days = past * 365 + past // 4 - past // 100 + past // 400 - _DAYS_TO_1970
    days += _DAYS_BEFORE[month - 1] + (leap & (month > 2)) + day - 1  # noqa: PLR2004 - February
    zone = (zone_hour * 60 + zone_minute) * (-1 if found[0][-6:-5] == "-" else 1)
    seconds = ((days * 24 + hour) * 60 + minute - zone) * 60 + second
    width = len(found[7] or "")
    microseconds = seconds * _MICROSECONDS + fraction * 10 ** (6 - width)
    if width and np.abs(microseconds).max() >= _EXACT:
        return None  # The division below would round twice.
    instants = microseconds / _MICROSECONDS if width else seconds.astype(np.float64)
    return instants if in_calendar(instants).all() else None

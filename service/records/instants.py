"""Parse many ISO 8601 timestamps at once with numpy, if all of them follow one pattern."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.values import in_calendar

_PATTERN: Final = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(\.\d{1,6})?)?)(Z|[+-]\d\d:\d\d)?|\d{4}-\d\d-\d\d", re.ASCII
)
_DATE_LENGTH: Final = len("1970-01-01")
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
    microseconds = _microseconds(letters[:, : len(moment)])
    minutes = _zone_minutes(digits[:, -4:], zone)
    if microseconds is None or minutes is None:
        return None
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


def _microseconds(letters: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Return moments without a zone in microseconds since 1970; None where the calendar lacks one."""
    width = letters.shape[1]
    moments = letters.copy()
    if width > _DATE_LENGTH:
        moments[:, _DATE_LENGTH] = ord("T")
    try:
        parsed = moments.view(f"S{width}").ravel().astype("datetime64[us]")
    except ValueError:
        return None
    return parsed.astype(np.int64)

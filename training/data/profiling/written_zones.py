"""Find which time zones the texts of a column name: by an offset from UTC, by a short name, or by a place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo

from vaegis.service.records.values import ZONES, is_null_marker

NO_ZONE: Final = ""
"""Stands for texts that name no zone, and so are read as UTC."""
UTC_ZONE: Final = "UTC"
_ZONED: Final = re.compile(
    r".*?(?:\d:\d\d(?::\d\d)?|T\d{4}(?:\d\d)?)(?:[.,]\d+)? ?(?:[AaPp][Mm])? ?"
    r"(?:(?P<offset>[+-]\d\d(?::?\d\d)?)(?: [A-Z]{3,5})?|(?P<letters>[Zz]|[A-Z]{3,5}))?"
    r"(?:\[(?P<place>[A-Za-z0-9_/+:-]+)\])?",
    re.ASCII,
)
"""A text with a time of day, and what may follow its minutes or seconds."""


def zones_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the zones that texts with dates and times name, as `zone_offsets` takes them.

    >>> sorted(zones_of(["2024-03-18T10:12:00Z", "2024-03-18 10:12 +0100", "2024-03-18 10:12", "2024-03-18"]))
    ['', '+01:00', 'UTC']
    >>> sorted(zones_of(["2024-03-18T10:12:00+01:00[Europe/Berlin]", "2024-03-18 10:12:00 CEST", "n/a"]))
    ['+02:00', 'Europe/Berlin']
    """
    stripped = (text.strip() for text in texts)
    return frozenset(_zone_of(text) for text in stripped if not is_null_marker(text) and not text.isdecimal())


def _zone_of(text: str) -> str:
    found = _ZONED.fullmatch(text)
    if found is None:
        return NO_ZONE
    if found["place"] and _is_known(found["place"]):
        return _plain(found["place"])
    offset = ZONES.get(found["letters"], NO_ZONE) if found["letters"] else found["offset"] or NO_ZONE
    digits = offset[1:].replace(":", "").ljust(4, "0")
    return _plain(f"{offset[0]}{digits[:2]}:{digits[2:]}") if offset else NO_ZONE


def _plain(zone: str) -> str:
    return UTC_ZONE if zone in ("+00:00", "-00:00", "Etc/UTC", "GMT", "Z") else zone


@cache
def _is_known(place: str) -> bool:
    try:
        ZoneInfo(place)
    except (ValueError, OSError, KeyError):
        return False
    return True

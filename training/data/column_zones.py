"""Choose the time zone whose hours and weekdays a column is scored by, and say where the user should set it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from vaegis.service.records.column_names import quoted, setting_of
from vaegis.training.data.profiling.profile import ColumnProfile
from vaegis.training.data.profiling.written_zones import NO_ZONE, UTC_ZONE

_ARROW_ZONE: Final = re.compile(r"^timestamp\[\w+, tz=(.+)\]$")
_INSTANT_TYPES: Final = ("timestamp", "date", "time")
_MOST_SHOWN: Final = 4
_CLOCKS: Final[Mapping[str, frozenset[str]]] = {
    "Europe/Berlin": frozenset(("+01:00", "+02:00")),
    "Europe/London": frozenset((UTC_ZONE, "+01:00")),
    "Europe/Helsinki": frozenset(("+02:00", "+03:00")),
    "America/New_York": frozenset(("-05:00", "-04:00")),
    "America/Chicago": frozenset(("-06:00", "-05:00")),
    "America/Denver": frozenset(("-07:00", "-06:00")),
    "America/Los_Angeles": frozenset(("-08:00", "-07:00")),
    "Australia/Adelaide": frozenset(("+09:30", "+10:30")),
    "Australia/Sydney": frozenset(("+10:00", "+11:00")),
    "Pacific/Auckland": frozenset(("+12:00", "+13:00")),
}
"""Places whose clocks change, with their two offsets, as examples in messages."""
_ANYWHERE: Final = "Europe/Berlin"
_STEADY: Final = ("+03:30", "+09:00")
"""From the first of these offsets to the second, no place changes its clocks."""


def zones_in(column: ColumnProfile) -> frozenset[str]:
    """Return the zones that a column's values name by their Arrow type or in text; `NO_ZONE` where they name none."""
    if column.text is not None:
        return column.text.zones
    times = [name for name in column.types if name.startswith(_INSTANT_TYPES)]
    return frozenset(found[1] if (found := _ARROW_ZONE.search(name)) else NO_ZONE for name in times)


def common_zone(zones: AbstractSet[str]) -> str:
    """Return the zone that all values name; UTC if they name none or several.

    >>> common_zone({"Europe/Berlin"}), common_zone({"+01:00", "+02:00"}), common_zone({""})
    ('Europe/Berlin', 'UTC', 'UTC')
    """
    return next(iter(zones)) or UTC_ZONE if len(zones) == 1 else UTC_ZONE


def zone_warning(name: str, zones: AbstractSet[str], set_zone: str | None) -> str | None:
    """Return what to say of the hours of a column of times if they may not be those of the clock it follows.

    Args:
        name: Its name.
        zones: The zones that its values name.
        set_zone: The zone that the settings give it.
    """
    setting = setting_of(name, "timezone")
    if set_zone is not None:
        if NO_ZONE not in zones or set_zone == UTC_ZONE:
            return None
        some = "some values name no time zone. These" if len(zones) > 1 else "the values name no time zone, and"
        return (
            f"{some} are read as UTC, so {setting} = {quoted(set_zone)} moves their hours. If they are local times "
            "already, remove that setting"
        )
    place = next((place for place, offsets in _CLOCKS.items() if zones <= offsets), _ANYWHERE)
    how = f"set {setting} = {quoted(place)}, or its own zone, in train.toml"
    if len(zones) > 1:
        named = sorted(zones - {NO_ZONE})
        shown = ", ".join(named[:_MOST_SHOWN]) + (", ..." if len(named) > _MOST_SHOWN else "")
        several = f"several time zones ({shown})" if len(named) > 1 else f"the time zone {shown}"
        others = ", or none, which is read as UTC" if NO_ZONE in zones else ""
        return f"the values name {several}{others}. Hours are those of UTC; if they follow the clock of a place, {how}"
    zone = common_zone(zones)
    if not zone.startswith(("+", "-")) or (zone.startswith("+") and _STEADY[0] <= zone <= _STEADY[1]):
        return None
    return f"the values name the offset {zone} alone, whose hours are scored. If the clock of the place changes, {how}"

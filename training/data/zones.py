"""Time zones: how far local time is ahead of UTC, and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from vaegis.training.errors import DataError

_DAYS_BEFORE = 366
_DAYS_AFTER = 20 * 366
"""How long after the training span a clock change is known; later, the last offset holds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9990, 1, 1, tzinfo=UTC)
_FIRST = datetime(20, 1, 1, tzinfo=UTC)


def zone_offsets(zone: str, earliest: float, latest: float) -> tuple[tuple[float, float], ...]:
    """Return pairs of an instant and the offset from UTC that begins then, in seconds, for `TimestampColumn.offsets`.

    Clock changes are known from a year before ``earliest`` to 20 years after ``latest``.

    Args:
        zone: An IANA name, as in ``Europe/Berlin``, or a fixed offset, as in ``+02:00``.
        earliest: First instant of the training data, seconds since 1970.
        latest: Last one.

    Raises:
        DataError: The zone is not known.

    >>> zone_offsets("Europe/Berlin", 1.7e9, 1.7e9)[2]
    (1698541200.0, 3600.0)
    """
    if zone in ("UTC", "Etc/UTC", "Z", "+00:00"):
        return ()
    if zone.startswith(("+", "-")):
        return ((0.0, _seconds_ahead(_EPOCH, _fixed(zone))),)
    local = _known(zone)
    day = max(_FIRST, _EPOCH + timedelta(seconds=earliest // 1, days=-_DAYS_BEFORE))
    end = min(_LAST, _EPOCH + timedelta(seconds=latest // 1, days=_DAYS_AFTER))
    offsets = [(_seconds(day), _seconds_ahead(day, local))]
    while day < end:
        following = day + timedelta(days=1)
        if _seconds_ahead(following, local) != offsets[-1][1]:
            change = _change(day, following, local)
            offsets.append((_seconds(change), _seconds_ahead(change, local)))
        day = following
    return tuple(offsets)


def _change(before: datetime, after: datetime, local: ZoneInfo) -> datetime:
    """Return the first second of a new offset between two instants."""
    old = _seconds_ahead(before, local)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        before, after = (middle, after) if _seconds_ahead(middle, local) == old else (before, middle)
    return after


def _seconds(instant: datetime) -> float:
    return (instant - _EPOCH).total_seconds()


def _seconds_ahead(instant: datetime, local: ZoneInfo | timedelta) -> float:
    ahead = local if isinstance(local, timedelta) else instant.astimezone(local).utcoffset()
    return (ahead or timedelta()).total_seconds()


@cache
def _known(zone: str) -> ZoneInfo:
    try:
        return ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise DataError(
            f"expected a time zone such as Europe/Berlin or +02:00, got {zone!r}; if it exists, install tzdata"
        ) from None


def _fixed(zone: str) -> timedelta:
    try:
        return datetime.strptime(zone, "%z").utcoffset() or timedelta()
    except ValueError:
        raise DataError(f"expected a time zone such as Europe/Berlin or +02:00, got {zone!r}") from None

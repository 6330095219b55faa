"""The two directions of a connection: how much has moved, whether it may move on, and whether it moves fast enough."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

from vaegis.service.http.protocol.limits import ConnectionLimits, Pace

_HIGH_WATER_BYTES: Final = 64 * 1024  # of what is written and not sent, beyond which an app that streams has to wait


class Inflow:
    """What comes from a client."""

    __slots__ = ("_is_paused", "_limits", "_pace", "_reasons", "_stopped_at", "_transport", "received")

    def __init__(self, transport: asyncio.Transport, limits: ConnectionLimits) -> None:
        """Let bytes come."""
        self._transport = transport
        self._limits = limits
        self._pace: Pace | None = None
        self._is_paused = False
        self._reasons = 0
        self._stopped_at = 0.0
        self.received = 0

    def expect_body(self, now: float) -> None:
        """Watch from now on how fast bytes come."""
        self._pace = Pace(now, self.received, self._limits.body_timeout_s, self._limits.min_bytes_per_s)

    def expect_nothing(self) -> None:
        """Watch no longer."""
        self._pace = None

    def is_too_slow(self, now: float) -> bool:
        """Tell whether bytes that are expected come too slowly, while nothing keeps the client from sending them."""
        if self._pace is None or self._reasons:
            return False
        return self._pace.is_too_slow(now, self.received)

    def pause(self) -> None:
        """Take no more from the network."""
        if not self._is_paused:
            self._is_paused = True
            self._stop_clock()
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take more from the network."""
        if self._is_paused:
            self._is_paused = False
            self._start_clock()
            if not self._transport.is_closing():
                self._transport.resume_reading()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """Do not blame the client for sending nothing: it may be waiting for us."""
        self._stop_clock()
        try:
            yield
        finally:
            self._start_clock()

    def _stop_clock(self) -> None:
        if not self._reasons:
            self._stopped_at = monotonic()
        self._reasons += 1

    def _start_clock(self) -> None:
        self._reasons -= 1
        if self._pace is not None and not self._reasons:
            self._pace.excuse(monotonic() - self._stopped_at)


class Outflow:
    """What goes to a client."""

    __slots__ = ("_drained", "_is_paused", "_limits", "_loop", "_pace", "_transport", "_written")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, limits: ConnectionLimits) -> None:
        """Have nothing to send."""
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._transport = transport
        self._loop = loop
        self._limits = limits
        self._written = 0
        self._is_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._pace: Pace | None = None

    @property
    def unsent_bytes(self) -> int:
        """What was written and the client has not taken."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        self._written += len(data)
        self._transport.write(data)

    def pause(self) -> None:
        """Have an app that streams wait."""
        self._is_paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._is_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        if self._is_paused:
            self._drained = self._loop.create_future()
            await self._drained

    def is_too_slow(self, now: float) -> bool:
        """Tell whether the client takes what was written too slowly."""
        unsent = self.unsent_bytes
        if not unsent:
            self._pace = None
            return False
        if self._pace is None:
            limits = self._limits
            self._pace = Pace(now, self._written - unsent, limits.answer_timeout_s, limits.min_bytes_per_s)
        return self._pace.is_too_slow(now, self._written - unsent)


def scope_of(transport: asyncio.BaseTransport) -> dict[str, Any]:
    """Return what a connection's requests share: who speaks to whom."""
    return {
        "server": _host_and_port(transport.get_extra_info("sockname")),
        "client": _host_and_port(transport.get_extra_info("peername")),
        "scheme": "http" if transport.get_extra_info("sslcontext") is None else "https",
    }


def _host_and_port(address: object) -> tuple[str, int] | None:
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None

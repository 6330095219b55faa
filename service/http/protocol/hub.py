"""What the connections of a process share: the app, the limits, the clock, and the end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from email.utils import formatdate
from time import monotonic, time
from typing import Any, Final

from starlette.types import ASGIApp

from vaegis.service.http.errors import QueueFullError
from vaegis.service.http.protocol.connection import Connection
from vaegis.service.http.protocol.exchange import Exchange
from vaegis.service.http.protocol.limits import ConnectionLimits
from vaegis.service.http.protocol.phase import Phase

CUT_REASONS: Final = (
    "answer_timeout",
    "body_timeout",
    "crowded_out",
    "handshake",
    "header_timeout",
    "headers_too_large",
    "malformed",
    "unsent_bytes",
)
SPARE_CONNECTIONS: Final = 16
"""Beyond the limit, where all others carry requests: each may ask for what is vital, and for no more."""

_CHECKS_PER_LIMIT: Final = 4
_LONGEST_CHECK_S: Final = 0.5
_POLL_S: Final = 0.01


class Hub:
    """The connections of a process.

    Attributes:
        is_closing: Whether each answer is the last one on its connection.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        loop: asyncio.AbstractEventLoop,
        *,
        count_cut: Callable[[str], None],
        on_tick: Callable[[], None] = lambda: None,
        is_vital: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Begin.

        Args:
            app: What answers.
            limits: Those of each connection, and of all together.
            loop: The event loop that all of it runs on.
            count_cut: Told why a client was cut, one of `CUT_REASONS`.
            on_tick: Called at least every half second while the loop is not held up.
            is_vital: Takes a path, and tells whether it is answered over spare connections as well.
        """
        self.limits = limits
        self.loop = loop
        self.count_cut = count_cut
        self.is_closing = False
        self.date = b""
        self._on_tick = on_tick
        self._is_vital = is_vital
        self._app = app
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._check_s = min(limits.shortest_s / _CHECKS_PER_LIMIT, _LONGEST_CHECK_S)
        self._tick()

    def __len__(self) -> int:
        return len(self._connections)

    def add(self, connection: Connection) -> None:
        """Take a connection in, in the place of the one that has been idle for longest if there are too many.

        Where none is, it is a spare one, of which there are few: liveness is not to depend on load.
        """
        idle = self._waiting() if len(self._connections) >= self.limits.max_connections else []
        self._connections.add(connection)
        if len(self._connections) <= self.limits.max_connections:
            return
        usual = [each for each in idle if not each.is_spare]
        connection.is_spare = not usual
        if usual or len(self._connections) > self.limits.max_connections + SPARE_CONNECTIONS:
            self._crowd_out(usual or [*idle, connection])

    def require_room(self, path: str) -> None:
        """Pass if a request over a spare connection can be answered.

        Raises:
            QueueFullError: it is not vital, and there are too many connections.
        """
        most = self.limits.max_connections
        if len(self._connections) > most and not self._is_vital(path):
            raise QueueFullError(f"expected at most {most} connections, got more, and none of them idle")

    def discard(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._connections.discard(connection)

    def start(self, exchange: Exchange) -> None:
        """Have the app answer a request."""
        task = _started(self.loop, exchange.run(self._app))
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def serve_instead(self, app: ASGIApp) -> None:
        """Have another app answer the requests that begin from now on."""
        self._app = app

    def close_idle(self) -> None:
        """Close the connections that carry no request."""
        for connection in list(self._connections):
            if connection.phase is Phase.IDLE and not connection.is_busy(monotonic()):
                connection.end(at_once=False)

    async def finish(self, grace_s: float, is_urgent: Callable[[], bool]) -> bool:
        """Wait for the requests in flight, then cut what is left.

        Args:
            grace_s: Longest wait.
            is_urgent: Tells whether to wait no longer.

        Returns:
            Whether every request came to its end.
        """
        deadline = monotonic() + grace_s
        while self._is_busy() and monotonic() < deadline and not is_urgent():  # noqa: ASYNC110 - many things end
            await asyncio.sleep(_POLL_S)
        is_clean = not self._is_busy()
        self._timer.cancel()
        for connection in list(self._connections):
            connection.end(at_once=not is_clean)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return is_clean

    def _is_busy(self) -> bool:
        now = monotonic()
        return bool(self._tasks) or any(connection.is_busy(now) for connection in self._connections)

    def _tick(self) -> None:
        self.date = b"date: " + formatdate(time(), usegmt=True).encode() + b"\r\n"
        now = monotonic()
        for connection in list(self._connections):
            connection.check(now)
        self._cut_unsent()
        self._on_tick()
        self._timer = self.loop.call_later(self._check_s, self._tick)

    def _waiting(self) -> list[Connection]:
        """Return the connections that carry no request."""
        waiting = (Phase.IDLE, Phase.HEAD, Phase.LINGER)
        return [connection for connection in self._connections if connection.phase in waiting]

    def _crowd_out(self, waiting: Sequence[Connection]) -> None:
        oldest = min(waiting, key=lambda connection: connection.since)
        oldest.cut("crowded_out")
        self._connections.discard(oldest)

    def _cut_unsent(self) -> None:
        """Keep the answers that wait for slow clients within their bound, by cutting the largest."""
        total = sum(connection.outflow.unsent_bytes for connection in self._connections)
        while total > self.limits.max_unsent_bytes:
            largest = max(self._connections, key=_unsent_bytes)
            total -= largest.outflow.unsent_bytes
            largest.cut("unsent_bytes")
            self._connections.discard(largest)


def _unsent_bytes(connection: Connection) -> int:
    return connection.outflow.unsent_bytes


if sys.version_info >= (3, 12):

    def _started(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` up to where it has to wait: most requests are answered before that."""
        return asyncio.Task(work, loop=loop, eager_start=True)

else:

    def _started(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return loop.create_task(work)

"""The server process: accepting connections, and stopping so that no request is lost."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from email.utils import formatdate
from time import monotonic
from types import FrameType
from typing import Any, Final

import uvicorn

from vaegis.service.http.server.connection import RESERVED_CONNECTIONS, Connection, SharedState
from vaegis.service.http.server.interface import App, Callbacks, Limits, ShuttingDownError

_LOG: Final = logging.getLogger("vaegis.http")
_LONGEST_TICK_S: Final = 0.5
_TICKS_PER_LIMIT: Final = 4
_POLL_S: Final = 0.01
_YIELD_S: Final = 0.002  # how long a process that has more connections than another leaves it a new one
_EXHAUSTED_S: Final = 0.1  # when the system has no file descriptor left, until one may have been closed
_LAST_REQUESTS_S: Final = 0.2  # for the next request of clients whose last answer did not tell them to close
_HANDSHAKE_S: Final = 0.5  # for clients that have begun one when the server stops


class Server(uvicorn.Server):
    """uvicorn, with limits, until SIGTERM or SIGINT.

    SIGTERM: each answer is the last on its connection; after ``drain_delay_s`` no more is accepted, and what is in
    flight has ``shutdown_grace_s`` to finish. SIGINT: the same without the delay; a second one cuts requests off.
    """

    server_state: SharedState
    _listening: list[socket.socket]
    _tick_timer: asyncio.TimerHandle

    def __init__(self, app: App, limits: Limits, callbacks: Callbacks) -> None:
        loop = "asyncio:SelectorEventLoop" if sys.platform == "win32" else "uvloop"  # one that watches a socket
        super().__init__(uvicorn.Config(app, loop=loop, ws="none", lifespan="off", log_config=None, access_log=False))
        self.server_state = SharedState(app, limits, callbacks)
        self._stop_requested = asyncio.Event()
        self._no_delay = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handshakes: dict[asyncio.Task[None], None] = {}
        self._has_yielded = False
        self._accept_timer: asyncio.TimerHandle | None = None
        shortest_s = min(limits.header_timeout_s, limits.body_timeout_s, limits.answer_timeout_s, limits.keep_alive_s)
        self._tick_s = min(shortest_s / _TICKS_PER_LIMIT, _LONGEST_TICK_S)

    def stop(self, number: int) -> None:
        """Do what a signal asks for: SIGTERM to drain, SIGINT to stop without delay."""
        self.server_state.callbacks.on_drain()
        if number == signal.SIGINT:
            self.force_exit = self._no_delay.is_set()
            self._no_delay.set()
        self._stop_requested.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop; uvicorn's own handler raises the signal again in the end, so that the process would not exit with 0."""
        if self._loop is None or self._loop.is_closed():
            self.stop(sig)
        else:
            self._loop.call_soon_threadsafe(self.stop, sig)  # which wakes the loop, where setting an event would not

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections from the sockets, which other processes may share."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_log_exception)
        self._listening = sockets or []
        for listening in self._listening:
            listening.setblocking(False)  # noqa: FBT003 - the socket's signature
        self._tick(monotonic())
        self._start_accepting()
        self.started = True
        self.server_state.callbacks.on_listening()

    async def main_loop(self) -> None:
        """Wait for a signal."""
        await self._stop_requested.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer what is in flight."""
        state, connections = self.server_state, self.server_state.connections
        state.is_draining = True
        _LOG.info("draining", extra={"fields": {"connections": len(connections)}})
        try:
            await asyncio.wait_for(self._no_delay.wait(), state.limits.drain_delay_s)
        except TimeoutError:
            self._no_delay.set()
        await self._stop_accepting()
        await asyncio.sleep(_LAST_REQUESTS_S)
        await asyncio.sleep(0)  # a busy loop may not have read what has come meanwhile
        state.app = state.callbacks.refusal(ShuttingDownError("the service is shutting down"))
        for connection in list(connections):
            if not connection.holds_up_stop(monotonic()):
                connection.transport.close()
        deadline = monotonic() + state.limits.shutdown_grace_s
        while self._is_busy() and monotonic() < deadline and not self.force_exit:  # noqa: ASYNC110 - many things end
            await asyncio.sleep(_POLL_S)
        is_clean = not self._is_busy()
        self._tick_timer.cancel()
        for connection in list(connections):
            connection.transport.close() if is_clean else connection.transport.abort()
        for task in state.tasks:
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        _LOG.info("stopped", extra={"fields": {"clean": is_clean}})

    def _is_busy(self) -> bool:
        state, now = self.server_state, monotonic()
        return bool(state.tasks) or any(connection.holds_up_stop(now) for connection in state.connections)

    def _tick(self, last: float) -> None:
        now = monotonic()
        self.server_state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode())]
        for connection in list(self.server_state.connections):
            connection.check_deadlines(now, now - last)
        self.server_state.callbacks.on_tick()
        self._tick_timer = asyncio.get_running_loop().call_later(self._tick_s, self._tick, now)

    def _start_accepting(self) -> None:
        for listening in self._listening:
            asyncio.get_running_loop().add_reader(listening.fileno(), self._accept, listening)

    async def _stop_accepting(self) -> None:
        """Accept what the system has already answered for the sockets, then close them."""
        if self._accept_timer is not None:
            self._accept_timer.cancel()
        for listening in self._listening:
            asyncio.get_running_loop().remove_reader(listening.fileno())
            while self._accept_one(listening):
                pass
            listening.close()
        if self._handshakes:
            await asyncio.wait(self._handshakes, timeout=_HANDSHAKE_S)

    def _pause_accepting(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            loop.remove_reader(listening.fileno())
        self._accept_timer = loop.call_later(seconds, self._start_accepting)

    def _accept(self, listening: socket.socket) -> None:
        """Accept one connection, so that each process gets its share."""
        count = len(self.server_state.connections) + len(self._handshakes)
        self._has_yielded = self.server_state.callbacks.is_crowded(count) and not self._has_yielded
        if self._has_yielded:
            self._pause_accepting(_YIELD_S)
        else:
            self._accept_one(listening)

    def _accept_one(self, listening: socket.socket) -> bool:
        try:
            client, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return False  # another process was faster, or the client has already gone
        except OSError:
            _LOG.exception("cannot accept connections")
            self._pause_accepting(_EXHAUSTED_S)
            return False
        client.setblocking(False)  # noqa: FBT003 - the socket's signature
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = asyncio.get_running_loop().create_task(self._connect(client))
        self._handshakes[task] = None
        task.add_done_callback(self._handshakes.pop)
        if len(self._handshakes) > self.server_state.limits.max_connections + RESERVED_CONNECTIONS:
            next(iter(self._handshakes)).cancel()
        return True

    async def _connect(self, client: socket.socket) -> None:
        state = self.server_state
        tls = state.callbacks.tls()
        timeout_s = None if tls is None else state.limits.header_timeout_s
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self.config, state), client, ssl=tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, asyncio.CancelledError):  # of TLS too: a client that speaks another language, or none
            state.callbacks.count_cut("handshake")
            client.close()


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop would print, without texts that may quote a client."""
    error = context.get("exception")
    if not isinstance(error, OSError):  # of TLS too: clients that break off are counted, not logged
        _LOG.error("unexpected error in the event loop", exc_info=error)

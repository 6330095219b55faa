"""The server process: listening, and stopping so that no request is lost."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from vaegis.service.http.access import route_of
from vaegis.service.http.errors import NotReadyError
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.problems import response_to
from vaegis.service.http.protocol.acceptor import Acceptor
from vaegis.service.http.protocol.connection import Connection
from vaegis.service.http.protocol.hub import Hub
from vaegis.service.http.protocol.limits import ConnectionLimits
from vaegis.service.http.readiness import Readiness
from vaegis.service.settings import Settings

_LOG: Final = logging.getLogger("vaegis.http")


class Server(uvicorn.Server):
    """uvicorn, with connections that have the limits of `vaegis.service.http.protocol`, until SIGTERM or SIGINT.

    SIGTERM: the service is no longer ready, and each answer is the last on its connection; after ``drain_delay_s`` no
    more is accepted, and what is in flight has ``shutdown_grace_s`` to finish. SIGINT: the same without the delay, and
    a second one cuts requests off.
    """

    def __init__(
        self,
        app: ASGIApp,
        readiness: Readiness,
        metrics: Metrics,
        settings: Settings,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        on_listening: Callable[[], None],
        on_tick: Callable[[], None] = lambda: None,
        is_crowded: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """Prepare.

        Args:
            app: What answers.
            readiness: Told when the service is about to stop.
            metrics: Counts connections.
            settings: Limits and times.
            tls: Returns the certificate to show to the next client; None to speak plain HTTP.
            on_listening: Called once connections are accepted.
            on_tick: Called at least every half second while the event loop is not held up.
            is_crowded: Takes the number of connections, and tells whether another process should accept the next.
        """
        super().__init__(
            uvicorn.Config(
                app, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
            )
        )
        self._app = app
        self._readiness = readiness
        self._metrics = metrics
        self._settings = settings
        self._tls = tls
        self._on_listening = on_listening
        self._on_tick = on_tick
        self._is_crowded = is_crowded
        self._is_told = asyncio.Event()
        self._is_hurried = asyncio.Event()
        self._is_cut_off = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hub: Hub
        self._acceptor: Acceptor

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on the one socket of ``sockets``, which is closed in the end."""
        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(self.serve(sockets))

    def stop(self, number: int) -> None:
        """Do what a signal asks for: SIGTERM to drain, SIGINT to stop without delay."""
        self._readiness.drain()
        if number == signal.SIGINT:
            self._is_cut_off = self._is_hurried.is_set()
            self._is_hurried.set()
        self._is_told.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Stop; uvicorn's own handler raises the signal again in the end, so that the process would not exit with 0."""
        if self._loop is None or self._loop.is_closed():
            self.stop(sig)
        else:
            self._loop.call_soon_threadsafe(self.stop, sig)  # which wakes the loop, where setting an event would not

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        self._loop = loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_exception)
        limits = connection_limits(self._settings)
        self._hub = hub = Hub(
            self._app,
            limits,
            loop,
            count_cut=self._metrics.count_cut,
            on_tick=self._on_tick,
            is_vital=lambda path: route_of(path).quiet,
        )
        self._metrics.connections.set_function(lambda: len(hub))
        self._acceptor = Acceptor(hub, (sockets or [])[0], tls=self._tls, is_crowded=self._is_crowded)
        self._acceptor.start()
        self.started = True
        self._on_listening()

    async def main_loop(self) -> None:
        """Wait for a signal."""
        await self._is_told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Answer what is in flight."""
        await self._drain(self._hub, self._acceptor)

    async def _drain(self, hub: Hub, acceptor: Acceptor) -> None:
        hub.is_closing = True
        _LOG.info("draining", extra={"fields": {"connections": len(hub)}})
        try:
            async with asyncio.timeout(self._settings.drain_delay_s):
                await self._is_hurried.wait()
        except TimeoutError:
            pass
        self._is_hurried.set()
        await acceptor.stop()
        hub.serve_instead(_refuse)
        await asyncio.sleep(0)  # what clients sent before they could know is read, and answered 503
        hub.close_idle()
        is_clean = await hub.finish(self._settings.shutdown_grace_s, lambda: self._is_cut_off)
        _LOG.info("stopped", extra={"fields": {"clean": is_clean}})


def connection_limits(settings: Settings) -> ConnectionLimits:
    """Return what ``settings`` say about connections."""
    return ConnectionLimits(
        header_timeout_s=settings.header_timeout_s,
        body_timeout_s=settings.body_timeout_s,
        answer_timeout_s=settings.answer_timeout_s,
        keep_alive_s=settings.keep_alive_s,
        min_bytes_per_s=settings.min_bytes_per_s,
        max_header_bytes=settings.max_header_bytes,
        max_headers=settings.max_headers,
        max_connections=settings.max_connections,
        max_unsent_bytes=settings.max_unsent_bytes,
    )


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, the fastest there is on this system."""
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop()  # the other one cannot watch a listening socket
    import uvloop  # noqa: PLC0415 - it does not exist on Windows

    return uvloop.new_event_loop()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that came after the last one."""
    error = NotReadyError("service: expected requests before it stopped accepting them, got one after")
    await response_to(scope, error)(scope, receive, send)


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop would print, without texts that may quote a client."""
    error = context.get("exception")
    if not isinstance(error, OSError):  # of TLS too: clients that break off are counted, not logged
        _LOG.error("unexpected error in the event loop", exc_info=error)

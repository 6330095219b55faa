"""The server process: listening, and stopping so that no request is lost."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.errors import NotReadyError
from service.http.problems import answer_service_error
from service.http.protocol.acceptor import Acceptor
from service.http.protocol.hub import Hub
from service.http.protocol.limits import ConnectionLimits
from service.http.readiness import Readiness
from service.settings import Settings

_LOG: Final = logging.getLogger("vaegis.http")
_BACKLOG: Final = 2048  # connections that wait to be accepted


class Server:
    """Serves an app until SIGTERM or SIGINT.

    SIGTERM: the service is no longer ready, and each answer is the last on its connection; after ``drain_delay_s`` no
    more is accepted, and what is in flight has ``shutdown_grace_s`` to finish. SIGINT: the same without the delay, and
    a second one cuts requests off.
    """

    def __init__(
        self,
        app: ASGIApp,
        readiness: Readiness,
        settings: Settings,
        *,
        on_listening: Callable[[], None],
        count_cut: Callable[[str], None] = lambda reason: None,  # noqa: ARG005 - nobody counts
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            app: What answers.
            readiness: Told when the service is about to stop.
            settings: Limits and times.
            on_listening: Called once connections are accepted.
            count_cut: Called with the reason, one of `hub.CUT_REASONS`, when a client is cut.
            tls: Returns the certificate to show to the next client; None to speak plain HTTP.
        """
        self._app = app
        self._readiness = readiness
        self._settings = settings
        self._on_listening = on_listening
        self._count_cut = count_cut
        self._tls = tls
        self._hub: Hub | None = None
        self._is_told = asyncio.Event()
        self._is_hurried = asyncio.Event()
        self._is_cut_off = False

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return 0 if self._hub is None else len(self._hub)

    def run(self, listening: socket.socket) -> None:
        """Serve on ``listening``, which is closed in the end."""
        with asyncio.Runner(loop_factory=event_loop) as runner:
            runner.run(self._serve(listening))

    def stop(self, number: int) -> None:
        """Do what a signal asks for: SIGTERM to drain, SIGINT to stop without delay."""
        self._readiness.drain()
        if number == signal.SIGINT:
            self._is_cut_off = self._is_hurried.is_set()
            self._is_hurried.set()
        self._is_told.set()

    async def _serve(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_log_exception)
        self._hub = hub = Hub(self._app, connection_limits(self._settings), loop, self._count_cut)
        acceptor = Acceptor(hub, listening, tls=self._tls, is_crowded=lambda: False)
        self._listen_to_signals(loop)
        acceptor.start()
        self._on_listening()
        await self._is_told.wait()
        await self._drain(hub, acceptor)

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

    def _listen_to_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.stop, number)
            except NotImplementedError:  # on Windows
                signal.signal(number, lambda number, _: loop.call_soon_threadsafe(self.stop, number))


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


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address that ``host`` names.

    Raises:
        OSError: there is no such address, or it is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # so that :: takes IPv4 as well
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop, the fastest there is on this system."""
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop()  # the other one cannot watch a listening socket
    import uvloop  # noqa: PLC0415 - it does not exist on Windows

    return uvloop.new_event_loop()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that came after the last one."""
    error = NotReadyError("service: expected requests before it stopped accepting them, got one after")
    response = await answer_service_error(Request(scope, receive), error)
    await response(scope, receive, send)


def _log_exception(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what the loop would print, without texts that may quote a client."""
    error = context.get("exception")
    if not isinstance(error, OSError):  # of TLS too: clients that break off are counted, not logged
        _LOG.error("unexpected error in the event loop", exc_info=error)

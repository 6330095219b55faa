"""The server process: listening, and stopping so that no request is lost."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from service.http.readiness import Readiness
from service.settings import Settings

_BACKLOG: Final = 2048  # connections that wait to be accepted


class Server(uvicorn.Server):
    """A uvicorn server which drains on SIGTERM and then ends as a program that did what it was told.

    uvicorn's own handler raises the signal again in the end, so that the process would not exit with 0.
    """

    def __init__(
        self, app: FastAPI, readiness: Readiness, settings: Settings, on_listening: Callable[[], None]
    ) -> None:
        """Serve ``app``; ``on_listening`` is called once connections are accepted."""
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=settings.shutdown_grace_s,
            )
        )
        self._readiness = readiness
        self._drain_delay_s = settings.drain_delay_s
        self._on_listening = on_listening
        self._stops_at: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Drain on SIGTERM; stop without delay on SIGINT, and cut requests off on a second one."""
        self._readiness.drain()
        if sig == signal.SIGINT:
            self.force_exit = self.should_exit
            self.should_exit = True
        elif self._stops_at is None:
            self._stops_at = time.monotonic() + self._drain_delay_s

    async def on_tick(self, counter: int) -> bool:
        """Tell whether to stop; called every tenth of a second."""
        if self._stops_at is not None and time.monotonic() >= self._stops_at:
            self.should_exit = True
        return await super().on_tick(counter)


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the first address that ``host`` names.

    Raises:
        OSError: there is no such address, or it is taken.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    # asyncio turns off Nagle's algorithm, which would cost an answer 40 ms, only if the protocol is named.
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

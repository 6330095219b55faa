"""Accepting connections: one at a time, and each of several processes its share."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

from vaegis.service.http.protocol.connection import Connection
from vaegis.service.http.protocol.hub import Hub

_LOG: Final = logging.getLogger("vaegis.http")
_SHY_S: Final = 0.002  # how long a process that has more connections than another leaves a new one to that
_LAST_GREETING_S: Final = 0.5
_EXHAUSTED_S: Final = 0.1  # when the system has no file descriptor left, until one may have been closed


class Acceptor:
    """Takes connections from a listening socket that other processes may share."""

    def __init__(
        self,
        hub: Hub,
        listening: socket.socket,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        is_crowded: Callable[[int], bool],
    ) -> None:
        """Prepare.

        Args:
            hub: Takes the connections.
            listening: Where they come from.
            tls: Returns the certificate to show to the next client; None to speak plain HTTP.
            is_crowded: Takes the number of connections here, and tells whether another process that shares the socket
                has fewer and should go first.
        """
        self._hub = hub
        self._listening = listening
        self._tls = tls
        self._is_crowded = is_crowded
        self._greetings: dict[asyncio.Task[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._was_shy = False
        listening.setblocking(False)  # noqa: FBT003 - the socket's signature

    def start(self) -> None:
        """Begin to accept."""
        self._timer = None
        self._hub.loop.add_reader(self._listening.fileno(), self._accept)

    async def stop(self) -> None:
        """Accept what the system has already answered for this socket, then close it."""
        if self._timer is not None:
            self._timer.cancel()
        self._hub.loop.remove_reader(self._listening.fileno())
        while self._accept_one():
            pass
        self._listening.close()
        if self._greetings:
            await asyncio.wait(self._greetings, timeout=_LAST_GREETING_S)

    def _accept(self) -> None:
        if self._is_crowded(len(self._hub) + len(self._greetings)) and not self._was_shy:
            self._was_shy = True
            self._pause(_SHY_S)
            return
        self._was_shy = False
        self._accept_one()

    def _accept_one(self) -> bool:
        try:
            client, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return False  # another process was faster, or the client has already gone
        except OSError:
            _LOG.exception("cannot accept connections")
            self._pause(_EXHAUSTED_S)
            return False
        client.setblocking(False)  # noqa: FBT003 - the socket's signature
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        task = self._hub.loop.create_task(self._greet(client))
        self._greetings[task] = None
        task.add_done_callback(self._greetings.pop)
        if len(self._greetings) > self._hub.limits.max_connections:
            next(iter(self._greetings)).cancel()
        return True

    async def _greet(self, client: socket.socket) -> None:
        tls = self._tls()
        timeout_s = self._hub.limits.header_timeout_s if tls is not None else None
        try:
            await self._hub.loop.connect_accepted_socket(
                lambda: Connection(self._hub), client, ssl=tls, ssl_handshake_timeout=timeout_s
            )
        except (OSError, asyncio.CancelledError):  # of TLS too: a client that speaks another language, or none
            self._hub.count_cut("handshake")
            client.close()

    def _pause(self, seconds: float) -> None:
        self._hub.loop.remove_reader(self._listening.fileno())
        self._timer = self._hub.loop.call_later(seconds, self.start)

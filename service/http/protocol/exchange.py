"""One request and its answer, as an ASGI app sees them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Scope

from vaegis.service.errors import ServiceError
from vaegis.service.http.protocol.presence import Presence, with_presence

if TYPE_CHECKING:
    from vaegis.service.http.protocol.connection import Connection

_LOG: Final = logging.getLogger("vaegis.http")
_STATUS_LINES: Final = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_WITHOUT_BODY: Final = frozenset({204, 304})
_CLOSE: Final = b"connection: close\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_HIGH_WATER_BYTES: Final = 64 * 1024  # of a body that the app has not asked for yet


class Exchange:
    """A request that is being read or answered.

    Attributes:
        keeps_alive: Whether the connection can be used further.
        is_received: Whether the request has come to its end.
        is_answered: Whether the answer has been handed to the transport as a whole.
        awaits_continue: Whether the client waits for leave to send the body.
    """

    __slots__ = (
        "_connection",
        "_fault",
        "_gone",
        "_headers",
        "_is_bodiless",
        "_is_chunked",
        "_left",
        "_parts",
        "_reported",
        "_scope",
        "_started",
        "_status",
        "_unread",
        "_waiters",
        "awaits_continue",
        "is_answered",
        "is_received",
        "keeps_alive",
    )

    def __init__(self, connection: Connection, scope: Scope, *, keeps_alive: bool, awaits_continue: bool) -> None:
        """Begin, with nothing of the body there."""
        self._connection = connection
        self._scope = scope
        self._parts: list[bytes] = []
        self._unread = 0
        self._fault: ServiceError | None = None
        self._gone = False
        self._reported = False
        self._waiters: list[asyncio.Future[None]] = []  # an app may have one task for the body and one for its end
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._started = False
        self._is_bodiless = False
        self._is_chunked = False
        self._left: int | None = None
        self.keeps_alive = keeps_alive
        self.awaits_continue = awaits_continue
        self.is_received = False
        self.is_answered = False

    async def run(self, app: ASGIApp) -> None:
        """Have the app answer. What it leaves unanswered is answered 500, or cut off if the answer has begun."""
        try:
            presence = Presence(self._connection.inflow.excused, self.until_gone)
            await app(with_presence(self._scope, presence), self.receive, self.send)
        except Exception:  # noqa: BLE001 - a fault in one answer must not end the others
            _LOG.exception("unexpected error")
        finally:
            if not self.is_answered:
                self._connection.abandon(is_unanswered=not self._started)

    def take_part(self, body: bytes) -> bool:
        """Take a part of the body; return whether to stop reading until the app has asked for more."""
        if self.is_answered:
            return False
        self._parts.append(body)
        self._unread += len(body)
        self._wake()
        return self._unread > _HIGH_WATER_BYTES

    def take_end(self) -> None:
        """Note that the request is complete."""
        self.is_received = True
        self._wake()

    def fail(self, fault: ServiceError) -> None:
        """Have the app see ``fault`` instead of more of the body."""
        self._fault = fault
        self.keeps_alive = False
        self._wake()

    def lose_client(self) -> None:
        """Have the app see that nothing more comes."""
        self._gone = True
        self.keeps_alive = False
        self._wake()

    async def receive(self) -> Message:
        """Return the next part of the body, or that the client is gone.

        Raises:
            BodyTimeoutError: the body came too slowly.
            MalformedRequestError: the body is wrongly framed.
        """
        while True:
            if self._fault is not None:
                raise self._fault
            if self._parts or (self.is_received and not self._reported):
                return self._next_part()
            if self._gone or self.is_answered:
                return {"type": "http.disconnect"}
            if self.awaits_continue and not self.is_received and not self._started:
                self.awaits_continue = False
                self._connection.write(_CONTINUE)
            await self._more()

    async def until_gone(self) -> None:
        """Return once the client is gone, whether or not there are parts of the body that nobody has asked for.

        As long as they are few, and more may come, the client is read from: one that is not, is not seen to leave.
        """
        while not self._gone:
            if self._unread <= _HIGH_WATER_BYTES and not self.is_received and self._fault is None:
                self._connection.resume_reading()
            await self._change()

    async def send(self, message: Message) -> None:
        """Take the head of the answer, or a part of its body; wait while the client does not read."""
        if not self._status:
            if message["type"] != "http.response.start":
                raise RuntimeError(f"expected http.response.start first, got {message['type']}")
            self._status = message["status"]
            self._headers = message.get("headers", ())  # they go out with the first part of the body
            return
        if message["type"] != "http.response.body" or self.is_answered:
            raise RuntimeError(f"expected a part of an answer's body, got {message['type']} after its end")
        body = message.get("body", b"")
        more = message.get("more_body", False)
        head = b"" if self._started else self._head_bytes(len(body), more=more)
        framed = self._framed(body, more=more)
        self._started = True
        self._connection.write(head + framed if head else framed)
        if not more:
            self.is_answered = True
            self._wake()
            self._connection.answered(self)
        else:
            await self._connection.outflow.drain()

    def _next_part(self) -> Message:
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self._unread = 0
        self._reported = self.is_received
        return {"type": "http.request", "body": body, "more_body": not self.is_received}

    async def _more(self) -> None:
        self._connection.resume_reading()
        await self._change()

    async def _change(self) -> None:
        waiter = self._connection.hub.loop.create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _head_bytes(self, size: int, *, more: bool) -> bytes:
        """Return status line and headers, and settle how the body is framed."""
        lines = [_STATUS_LINES[self._status], self._connection.hub.date]
        length: int | None = None
        for name, value in self._headers:
            lower = name.lower()
            if lower == b"connection":
                if b"close" in value.lower():
                    self.keeps_alive = False
                continue
            if lower == b"content-length":
                length = int(value)
            lines.append(b"%b: %b\r\n" % (lower, value))
        self._settle(length, size, lines, more=more)
        # While an answer streams, the end of its request may still come.
        if not (self.keeps_alive and more) and not self._connection.may_be_used_after(self):
            self.keeps_alive = False
            lines.append(_CLOSE)
        lines.append(b"\r\n")
        head = b"".join(lines)
        # Each line ends once: nothing that a header quotes can begin another line.
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("expected headers without line ends, got some")
        return head

    def _settle(self, length: int | None, size: int, lines: list[bytes], *, more: bool) -> None:
        self._is_bodiless = self._scope["method"] == "HEAD" or self._status in _WITHOUT_BODY
        if length is not None or self._is_bodiless:
            self._left = length
        elif not more:
            self._left = size
            lines.append(b"content-length: %d\r\n" % size)
        elif self._scope["http_version"] == "1.1":
            self._is_chunked = True
            lines.append(_CHUNKED)
        else:
            self.keeps_alive = False  # the end of the connection is the end of the answer

    def _framed(self, body: bytes, *, more: bool) -> bytes:
        if self._is_bodiless:
            return b""
        if self._is_chunked:
            part = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return part if more else part + _LAST_CHUNK
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("expected a body as long as its Content-Length, got another length")
        return body

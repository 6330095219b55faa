"""HTTP/1.1 on one connection: uvicorn's protocol over httptools, with limits, and errors that a client can read."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from time import monotonic
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn import Config
from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPScope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from vaegis.service.http.server.framing import framing_of, split_target
from vaegis.service.http.server.interface import (
    App,
    BodyTimeoutError,
    Callbacks,
    HeadersTooLargeError,
    HeaderTimeoutError,
    IncompleteBodyError,
    Limits,
    MalformedRequestError,
    RequestError,
    TooManyConnectionsError,
)

RESERVED_CONNECTIONS: Final = 16
"""Connections beyond the limit, over which probes are answered while all others carry requests."""

_LOG: Final = logging.getLogger("vaegis.http")
_PIECE_BYTES: Final = 4096  # parsed at once, so that few requests of one client are held before their turn
_MAX_UNREAD_BYTES: Final = 256 * 1024  # of a body that no app reads; to skip more, a new connection is cheaper
_CLOSE_S: Final = 2.0  # in which a client that is still sending can read the answer
_CLOSE_BYTES: Final = 64 * 2**20
_FIRST_REQUEST_S: Final = 0.5  # for a client that has connected when the server stops
_RESET: Final = struct.pack("ii", 1, 0)


class SharedState(ServerState):
    """What the connections of a process share."""

    connections: set[Connection]  # type: ignore[assignment]

    def __init__(self, app: App, limits: Limits, callbacks: Callbacks) -> None:
        super().__init__()
        self.app, self.limits, self.callbacks = app, limits, callbacks
        self.is_draining = False

    def limit_connections(self, new: Connection) -> None:
        """End the connection that has been idle for longest if there are too many; without one, reserve ``new``."""
        count, most = len(self.connections), self.limits.max_connections
        if count < most:
            return
        waiting = [connection for connection in self.connections if not connection.is_busy]
        usual = [connection for connection in waiting if not connection.is_reserved]
        new.is_reserved = not usual
        if usual or count >= most + RESERVED_CONNECTIONS:
            min(usual or [*waiting, new], key=lambda connection: connection.since).cut("crowded_out")


class Connection(HttpToolsProtocol):
    """One client's connection.

    Attributes:
        since: When it began to wait for what it waits for, in seconds of the monotonic clock.
        is_reserved: Whether it is beyond the limit, and may ask for probes only.
    """

    server_state: SharedState
    cycle: Exchange | None  # type: ignore[assignment]
    pipeline: deque[tuple[Exchange, App]]  # type: ignore[assignment]

    def __init__(self, config: Config, server_state: SharedState) -> None:
        super().__init__(config, server_state, {})
        self.since = self._unsent_since = monotonic()
        self.is_reserved = False
        self._unsent_bytes = 0
        self._running: Exchange | None = None  # where `cycle` is the last one that was read
        self._ahead = b""  # received, to be parsed in its turn
        self._body_bytes: int | None = 0  # still to come; None for chunks
        self._framing_bytes = 0  # parsed since the last end of a head or part of a body
        self._is_in_head = self._is_broken = self._is_at_eof = self._is_closing = False
        self._declined_upgrade = b""
        self.url = b""

    @property
    def is_busy(self) -> bool:
        """Whether it carries a request."""
        cycle = self.cycle
        return cycle is not None and (cycle.more_body or not cycle.response_complete) and not self._is_closing

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        self.transport = transport
        self.server_state.limit_connections(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the app, and forget the requests that wait."""
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse requests piece by piece, and keep what comes while one waits for its turn."""
        if self._is_closing:
            self._framing_bytes += len(data)
            if self._framing_bytes > _CLOSE_BYTES:
                self.transport.abort()
            return
        start = 0
        while start < len(data) and not (self._ahead or self.pipeline or self._is_broken):
            most = self.server_state.limits.max_header_bytes + 1 - self._framing_bytes
            end = start + (self._body_bytes or min(_PIECE_BYTES, most))
            self._parse(data[start:end])
            start = end
        if start < len(data):
            self._ahead += data[start:]
            self.flow.pause_reading()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep the connection, for the answer to a client that sends no more."""
        self._is_at_eof = True
        if self.cycle is None or not self.is_busy:
            return False
        if self.cycle.more_body and not self._ahead:
            self.cycle.fail(IncompleteBodyError("the client closed the connection before the body ended"))
        return self.transport.get_extra_info("sslcontext") is None  # TLS closes in both directions

    def on_message_begin(self) -> None:
        """Expect headers; called by the parser, as the next three are."""
        super().on_message_begin()
        self._is_in_head = True
        self.since = monotonic()

    def on_headers_complete(self) -> None:
        """Have the request answered, after the requests before it."""
        self._framing_bytes, self._is_in_head = 0, False
        if self._declined_upgrade:  # this head stands for one that has been read
            self._declined_upgrade = b""
            return
        parser, state, scope = self.parser, self.server_state, self.scope
        version, headers = parser.get_http_version(), self.headers
        self.headers = []  # for trailers, which nobody reads
        if len(headers) > state.limits.max_headers:
            raise HeadersTooLargeError(f"headers: expected at most {state.limits.max_headers}, got more")
        body_bytes, expects_continue = framing_of(headers, version)
        scope["http_version"], scope["method"] = version, parser.get_method().decode("ascii")
        scope["path"], scope["raw_path"], scope["query_string"] = split_target(self.url)
        is_excess = self.is_reserved and len(state.connections) > state.limits.max_connections
        if is_excess and not state.callbacks.is_probe(scope["path"]):
            raise TooManyConnectionsError(
                f"too many connections (limit {state.limits.max_connections}); retry after 1 s"
            )
        self._body_bytes = body_bytes
        if parser.should_upgrade():
            length = b"transfer-encoding: chunked" if body_bytes is None else b"content-length: %d" % body_bytes
            self._declined_upgrade = b"POST / HTTP/1.1\r\n%b\r\n\r\n" % length
        keeps_alive = version == "1.1" and parser.should_keep_alive()
        self._answer(state.app, Exchange(self, scope, expects_continue=expects_continue, keep_alive=keeps_alive))

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._framing_bytes = 0
        if self._body_bytes:
            self._body_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the request."""
        if self.cycle is not None and not self._declined_upgrade:
            self._framing_bytes = self._body_bytes = 0
            self.since = monotonic()
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        if self.transport.is_closing() or self._is_closing or self._running is None:
            return
        self._running.flush()
        self.since = monotonic()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        if not self.pipeline:
            ahead, self._ahead = self._ahead, b""
            self.flow.resume_reading()
            self.data_received(ahead)
            if self._is_at_eof and not self.eof_received():
                self.transport.close()

    def can_carry_another(self, exchange: Exchange) -> bool:
        """Return whether the connection can be used after ``exchange``, whose answer begins."""
        if self.is_reserved or self.server_state.is_draining:
            return False
        is_skipped = not exchange.waiting_for_100_continue and 0 < (self._body_bytes or 0) <= _MAX_UNREAD_BYTES
        return is_skipped or not exchange.more_body

    def close(self) -> None:
        """Close after an answer, but let a client that may still be sending read it: a reset would take it away."""
        if self._running is not None and (self._running.more_body or self._ahead or self._is_broken):
            self._is_closing = True
            self.since = monotonic()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()

    def cut(self, reason: str | None) -> None:
        """End at once by a reset, so that no client takes half an answer for a whole one; count a ``reason``."""
        if reason is not None:
            self.server_state.callbacks.count_cut(reason)
        self.server_state.connections.discard(self)
        if not self.transport.is_closing():
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def check_deadlines(self, now: float, elapsed_s: float) -> None:
        """End what takes too long; called every ``elapsed_s``."""
        limits, unsent = self.server_state.limits, self.transport.get_write_buffer_size()
        waited_s = now - self.since
        if not unsent or unsent != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent, now
        elif now - self._unsent_since > limits.answer_timeout_s:
            self.cut("answer_timeout")
        if self._is_closing and waited_s > _CLOSE_S:
            self.transport.abort()
        elif self._is_closing or self._is_broken or self.transport.is_closing():
            return
        elif self.cycle is not None and self.cycle.more_body:
            if self.flow.read_paused:
                self.since += elapsed_s
            elif waited_s > limits.body_timeout_s:
                self._fail(BodyTimeoutError(f"the body did not arrive within {limits.body_timeout_s:g} s"))
        elif not self.is_busy:
            self._check_idle(waited_s)

    def _check_idle(self, waited_s: float) -> None:
        limits = self.server_state.limits
        if waited_s > (limits.header_timeout_s if self.cycle is None or self._is_in_head else limits.keep_alive_s):
            if self._is_in_head:
                text = f"the headers did not arrive within {limits.header_timeout_s:g} s"
                self._fail(HeaderTimeoutError(text))
            else:
                self.transport.close()

    def holds_up_stop(self, now: float) -> bool:
        """Return whether a server that stops has to wait for this connection."""
        is_expected = (self.cycle is None or self._is_in_head) and now - self.since < _FIRST_REQUEST_S
        has_unsent = self.transport.get_write_buffer_size() > 0
        return self.is_busy or self._is_closing or has_unsent or (is_expected and not self.transport.is_closing())

    def _start_asgi_task(self, cycle: Exchange, app: App) -> None:  # type: ignore[override]
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _answer(self, app: App, exchange: Exchange) -> None:
        self.cycle = exchange
        if self._running is None or self._running.response_complete:
            self._start_asgi_task(exchange, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, app))

    def _parse(self, piece: bytes) -> None:
        self._framing_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except HttpParserUpgrade as upgrade:
            # The parser takes what follows for the other protocol, so a new one reads on, after a head like this one.
            self.parser = HttpRequestParser(self)
            self.parser.feed_data(self._declined_upgrade)
            self._parse(piece[upgrade.args[0] :])
        except HttpParserError as error:
            fault = error.__context__
            text = f"request: expected HTTP/1.1, got other bytes: {error}"
            self._fail(fault if isinstance(fault, RequestError) else MalformedRequestError(text))
        else:
            limit = self.server_state.limits.max_header_bytes
            if self._framing_bytes > limit and self.cycle is not None and self.cycle.more_body:
                self._fail(MalformedRequestError(f"body: expected some in {limit} bytes, got only framing"))
            elif self._framing_bytes > limit:
                self._fail(HeadersTooLargeError(f"headers: expected at most {limit} bytes, got more"))

    def _fail(self, fault: RequestError) -> None:
        """Read no further, and have the app answer for the request that was being read; if there is none, answer."""
        self._is_broken = True
        self.flow.pause_reading()
        self.server_state.callbacks.count_cut(fault.cut_reason)
        if self.cycle is None or not self.cycle.more_body:
            path = self.url.partition(b"?")[0].decode("latin-1")  # below /v2, errors have another form
            scope: Any = {"type": "http", "method": "GET", "http_version": "1.1", "path": path, "headers": []}
            refused = Exchange(self, scope, expects_continue=False, keep_alive=False)
            self._answer(self.server_state.callbacks.refusal(fault), refused)
        elif self.cycle.response_complete:
            self.close()
        else:
            self.cycle.fail(fault)


class Exchange(RequestResponseCycle):
    """One request and its answer, as the app sees them. To uvicorn's part of it, this is also the transport."""

    def __init__(self, connection: Connection, scope: HTTPScope, *, expects_continue: bool, keep_alive: bool) -> None:
        super().__init__(
            scope,
            self,  # type: ignore[arg-type]
            connection.flow,
            _LOG,
            _LOG,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=expects_continue,
            keep_alive=keep_alive,
            on_response=connection.on_response_complete,
        )
        self.is_closing = connection.transport.is_closing
        self._connection = connection
        self._fault: RequestError | None = None
        self._head: bytes | None = None  # where it is not None, it goes out with the first part of the body

    def fail(self, fault: RequestError) -> None:
        """Have the app see ``fault`` instead of more of the body."""
        self._fault = fault
        self.keep_alive = False
        self.message_event.set()

    def write(self, data: bytes) -> None:
        """Send ``data``; the head waits for the first part of the body, since each write is a system call."""
        if self._head == b"":
            self._head = data
        else:
            self._connection.transport.write(self._head + data if self._head else data)
            self._head = None

    def flush(self) -> None:
        """Send the head of an answer without a body."""
        if self._head:
            self.write(b"")

    def close(self) -> None:
        """Close the connection after the answer."""
        self.flush()
        self._connection.close()

    async def run_asgi(self, app: App) -> None:
        """Have the app answer. What it leaves unanswered is answered 500, or cut off if the answer has begun."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - a fault in one answer must not end the others
            _LOG.exception("unexpected error")
        finally:
            if self.response_started and not self.response_complete:
                self._connection.cut(None)
            elif not self.response_complete and not self.disconnected:
                await self.send_500_response()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next part of the body, or that the client is gone.

        Raises:
            RequestError: the body did not come in time, is wrongly framed, or ended early.
        """
        while self._fault is None:
            message = await super().receive()
            # Each part wakes all who wait, and the first of them takes it.
            if message["type"] != "http.request" or message["body"] or not message["more_body"]:
                break
        if self._fault is not None:
            raise self._fault
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Take the head of the answer, or a part of its body; wait while the client does not read."""
        if message["type"] == "http.response.start" and not self.response_started:
            self.keep_alive = self.keep_alive and self._connection.can_carry_another(self)
            self._head = b""
        await super().send(message)

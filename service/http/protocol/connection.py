"""One connection: bytes in to requests, answers to bytes out, and what becomes of clients who do not play along."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final, cast

from vaegis.service.errors import ServiceError
from vaegis.service.http.errors import BodyTimeoutError, HeadersTooLargeError, HeaderTimeoutError, QueueFullError
from vaegis.service.http.problems import closing_answer, plain_problem, problem_of
from vaegis.service.http.protocol.exchange import Exchange
from vaegis.service.http.protocol.flow import Inflow, Outflow, scope_of
from vaegis.service.http.protocol.head import Framing
from vaegis.service.http.protocol.phase import Phase
from vaegis.service.http.protocol.reader import RequestReader, Scope

if TYPE_CHECKING:
    from vaegis.service.http.protocol.hub import Hub

_UNWANTED_BYTES: Final = 256 * 1024  # of a body that nobody reads; beyond, a new connection is cheaper
_LINGER_BYTES: Final = 64 * 2**20
_LINGER_S: Final = 2.0
_LAST_CALL_S: Final = 0.5
_REFUSALS: Final = {
    HeaderTimeoutError: "header_timeout",
    HeadersTooLargeError: "headers_too_large",
    QueueFullError: "crowded_out",
}


class Connection(asyncio.Protocol):
    """A client's connection, which carries one request at a time.

    Attributes:
        hub: What it shares with the other connections.
        phase: What it waits for.
        since: From when on, in seconds of the loop's clock.
        is_spare: Whether it is one of those beyond the limit, which carry one vital request.
    """

    outflow: Outflow
    """What goes to the client; there from the start of the connection."""

    inflow: Inflow
    """What comes from the client."""

    _transport: asyncio.Transport

    def __init__(self, hub: Hub) -> None:
        """Wait for the transport."""
        self.hub = hub
        self.phase = Phase.IDLE
        self.since = monotonic()
        self.is_spare = False
        limits = hub.limits
        self._reader = RequestReader(self, max_header_bytes=limits.max_header_bytes, max_headers=limits.max_headers)
        self._shared: Scope = {}
        self._exchange: Exchange | None = None
        self._is_started = True
        self._has_served = False
        self._ahead = b""
        self._is_at_eof = False

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self.inflow = Inflow(self._transport, self.hub.limits)
        self.outflow = Outflow(self._transport, self.hub.loop, self.hub.limits)
        self._shared = scope_of(transport)
        self.hub.add(self)

    def data_received(self, data: bytes) -> None:
        """Read requests; what comes before its turn is kept, and no more of it is taken from the network."""
        self.inflow.received += len(data)
        if self.phase is Phase.ANSWER:
            self._ahead += data
            self.inflow.pause()
        elif self.phase is Phase.LINGER:
            if self.inflow.received > _LINGER_BYTES:
                self._transport.abort()
        elif self.phase is not Phase.CLOSED:
            self._read(data)

    def eof_received(self) -> bool:
        """Return whether to keep the connection for an answer to a client that sends no more."""
        self._is_at_eof = True
        exchange = self._exchange
        if exchange is None or exchange.is_answered:
            return False
        if self.phase is Phase.BODY:
            exchange.lose_client()
        return self._transport.get_extra_info("sslcontext") is None  # TLS has no half of a connection

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Let the app know."""
        self.phase = Phase.CLOSED
        self.hub.discard(self)
        self.outflow.resume()
        if self._exchange is not None:
            self._exchange.lose_client()

    def pause_writing(self) -> None:
        """Have an app that streams wait."""
        self.outflow.pause()

    def resume_writing(self) -> None:
        """Let it go on."""
        self.outflow.resume()

    # The reader calls these.

    def begin(self, scope: Scope, framing: Framing, *, keeps_alive: bool) -> None:
        """Take the head of a request.

        Raises:
            QueueFullError: there are too many connections for it.
        """
        if self.is_spare:
            self.hub.require_room(scope["path"])
            keeps_alive = False
        self.phase = Phase.BODY
        self.since = monotonic()
        self._has_served = True
        if framing.body_bytes != 0:
            self.inflow.expect_body(self.since)
        scope |= self._shared
        self._exchange = Exchange(self, scope, keeps_alive=keeps_alive, awaits_continue=framing.expects_continue)
        self._is_started = False

    def take_part(self, body: bytes) -> None:
        """Take a part of the body of the request."""
        if self._exchange is not None and self._exchange.take_part(body):
            self.inflow.pause()

    def take_end(self) -> None:
        """Take the end of the request."""
        self.phase = Phase.ANSWER
        self.inflow.expect_nothing()
        if self._exchange is not None:
            self._exchange.take_end()
            if self._exchange.is_answered:
                self._become_idle()

    # The exchange calls these.

    def write(self, data: bytes) -> None:
        """Send to the client, if it is still there."""
        if self.phase is not Phase.CLOSED:
            self.outflow.write(data)

    def resume_reading(self) -> None:
        """Take more from the network."""
        self.inflow.resume()

    def may_be_used_after(self, exchange: Exchange) -> bool:
        """Return whether the connection can carry another request once ``exchange`` is answered."""
        if not exchange.keeps_alive or self.hub.is_closing:
            return False
        left = self._reader.left
        return exchange.is_received or not (exchange.awaits_continue or left is None or left > _UNWANTED_BYTES)

    def answered(self, exchange: Exchange) -> None:
        """Go on after the end of an answer."""
        if self.phase is Phase.CLOSED:
            return
        if not self.may_be_used_after(exchange):
            self._finish()
        elif self.phase is Phase.ANSWER:
            self._become_idle()
        else:
            self.inflow.resume()  # the rest of the body is passed over first

    def abandon(self, *, is_unanswered: bool) -> None:
        """End without a whole answer."""
        if self.phase is Phase.CLOSED:
            return
        if is_unanswered:
            self.write(closing_answer(plain_problem(500, "expected an answer of the service, got none; see its log")))
            self._finish()
        else:
            self._transport.abort()  # so that nobody takes half an answer for a whole one

    # The hub calls these.

    def check(self, now: float) -> None:
        """Cut a client that has taken too long."""
        waited = now - self.since
        limits = self.hub.limits
        if self.outflow.is_too_slow(now):
            self.cut("answer_timeout")
        elif self.phase is Phase.IDLE:
            if waited > (limits.keep_alive_s if self._has_served else limits.header_timeout_s):
                self._close()
        elif self.phase is Phase.HEAD:
            if waited > limits.header_timeout_s:
                self._refuse(
                    HeaderTimeoutError(f"headers: expected their end within {limits.header_timeout_s:g} s, got none")
                )
        elif self.phase is Phase.BODY:
            if self.inflow.is_too_slow(now):
                self._give_up_body()
        elif self.phase is Phase.LINGER and waited > _LINGER_S:
            self._transport.abort()

    def cut(self, reason: str) -> None:
        """End at once, and count why."""
        self.hub.count_cut(reason)
        self.phase = Phase.CLOSED
        self._transport.abort()

    def end(self, *, at_once: bool) -> None:
        """End because the process does; ``at_once`` also in the middle of a request."""
        if at_once:
            self._transport.abort()
        elif self.phase is not Phase.CLOSED:
            self._close()

    def is_busy(self, now: float) -> bool:
        """Tell whether a process that stops has to wait for this connection."""
        if self.phase is Phase.HEAD or (self.phase is Phase.IDLE and not self._has_served):
            return now - self.since < _LAST_CALL_S
        if self.phase is Phase.CLOSED:
            return self.outflow.unsent_bytes > 0
        return self.phase is not Phase.IDLE

    def _read(self, data: bytes) -> None:
        if self.phase is Phase.IDLE:
            self.phase = Phase.HEAD
            self.since = monotonic()
        try:
            self._ahead = self._reader.feed(data)
        except ServiceError as fault:
            self._fail(fault)
        if self._ahead:
            self.inflow.pause()
            if self.phase is Phase.IDLE:
                self.hub.loop.call_soon(self._read_ahead)
        if not self._is_started and self._exchange is not None:
            self._is_started = True
            self.hub.start(self._exchange)

    def _read_ahead(self) -> None:
        if self.phase is Phase.IDLE and self._ahead:
            data, self._ahead = self._ahead, b""
            self.inflow.resume()
            self._read(data)

    def _become_idle(self) -> None:
        self.phase = Phase.IDLE
        self.since = monotonic()
        self._exchange = None
        if self._ahead:
            self.hub.loop.call_soon(self._read_ahead)
        elif self._is_at_eof:
            self._close()
        else:
            self.inflow.resume()

    def _fail(self, fault: ServiceError) -> None:
        """Answer for bytes that are no request, or have the app answer if they belong to one that has begun."""
        self._ahead = b""
        exchange = self._exchange
        if exchange is None:
            self._refuse(fault)
        elif exchange.is_answered:
            self._finish()
        elif exchange.is_received:
            exchange.keeps_alive = False
        else:
            self.hub.count_cut("malformed")
            self.inflow.pause()
            exchange.fail(fault)

    def _refuse(self, fault: ServiceError) -> None:
        """Answer what did not become a request, and end."""
        self.hub.count_cut(_REFUSALS.get(type(fault), "malformed"))
        problem, document = problem_of(fault)
        self.write(closing_answer(document, problem.retry_after_s))
        self._finish()

    def _give_up_body(self) -> None:
        self.inflow.expect_nothing()
        if self._exchange is None or self._exchange.is_answered:
            self.cut("body_timeout")
            return
        self.hub.count_cut("body_timeout")
        limits = self.hub.limits
        self._exchange.fail(
            BodyTimeoutError(
                f"body: expected its end within {limits.body_timeout_s:g} s, or {limits.min_bytes_per_s} bytes a "
                "second, got neither"
            )
        )

    def _finish(self) -> None:
        """End after an answer, but not before a client that is still sending had the time to read it."""
        is_still_sending = self.phase is not Phase.ANSWER or bool(self._ahead)
        self._ahead = b""
        if not is_still_sending or self._is_at_eof:
            self._close()
            return
        self.phase = Phase.LINGER
        self.since = monotonic()
        self.inflow.received = 0
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.inflow.resume()

    def _close(self) -> None:
        """End once all that was written is sent."""
        self.phase = Phase.CLOSED
        self._transport.close()

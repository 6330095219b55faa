"""Admission: readiness, the limits on requests and bytes in flight, and the deadline of an answer.

with admission.slot(scope, receive) as slot:  # raises if there is no model or no capacity, before a byte is read
    body = await slot.read()
    answer = await slot.run(lambda: work(body))  # on a thread, within the time that an answer may take
"""

from __future__ import annotations

import asyncio
import math
import time
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Final, Self, TypeVar

from starlette.types import Message, Receive, Scope, Send

from vaegis.service.artifact import Verification
from vaegis.service.errors import ServiceError
from vaegis.service.http.errors import (
    AnswerTooLargeError,
    DeadlineError,
    NotReadyError,
    QueueFullError,
)
from vaegis.service.http.negotiation import Encoding, answer_encoding_of, header
from vaegis.service.http.observability.metrics import Metrics
from vaegis.service.http.problems import UNREAD
from vaegis.service.http.request_context import CONTEXT, RequestContext
from vaegis.service.http.server.interface import IncompleteBodyError
from vaegis.service.records.blocks import body_too_large
from vaegis.service.records.decompression import ZstdCompressor

_ZIP_LEVEL: Final = 1  # of both: higher ones take several times as long for a tenth less
_GZIP: Final = 31  # zlib's word for a window of 32 KiB in gzip's wrapping
_COMPRESSED_AT_ONCE: Final = 256 * 1024  # bytes

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The settings of the same names."""

    max_requests_in_flight: int
    max_bytes_in_flight: int
    max_body_bytes: int
    compression_min_bytes: int
    request_timeout_s: float
    scoring_threads: int


class State(StrEnum):
    """Where the service is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class Readiness:
    """The service's state. It moves from loading to ready to draining and never back."""

    def __init__(self) -> None:
        self.state = State.LOADING

    def admit(self, verification: Verification) -> None:
        """Become ready. A ``verification`` exists only if the golden records were reproduced."""
        if verification.records < 1:
            raise ValueError(f"verification: expected at least one golden record, got {verification.records}")
        if self.state is State.LOADING:
            self.state = State.READY

    def drain(self) -> None:
        """Stop being ready, for good: the service is about to stop. What still arrives is answered."""
        self.state = State.DRAINING

    def require_model(self) -> None:
        """Pass if requests can be answered, also while draining.

        Raises:
            NotReadyError: no model was admitted yet.
        """
        if self.state is State.LOADING:
            raise NotReadyError("the model is still loading")

    def require_ready(self) -> None:
        """Pass if requests should be sent here.

        Raises:
            NotReadyError: the service is loading or draining.
        """
        if self.state is not State.READY:
            raise NotReadyError(f"the service is {self.state}")


class Admission:
    """Admits requests within the limits, and refuses others at once. For use on the event loop's thread."""

    def __init__(self, limits: AdmissionLimits, readiness: Readiness, metrics: Metrics) -> None:
        """Admit requests once ``readiness`` has a model; ``metrics`` get the time that requests wait for a thread."""
        self.limits = limits
        self.readiness = readiness
        self.metrics = metrics
        self.computing = 0
        """Requests that are queued or computed."""
        self.held_bytes = 0
        """Bytes of bodies and of answers in memory, over all requests."""
        self._threads = ThreadPoolExecutor(limits.scoring_threads, thread_name_prefix="scoring")

    def slot(self, scope: Scope, receive: Receive) -> Slot:
        """Return the slot of one request, to be entered before its body is read."""
        return Slot(self, scope, receive)

    def require_capacity(self) -> None:
        """Pass if the computation of another request could be queued.

        Raises:
            QueueFullError: it could not.
        """
        most = self.limits.max_requests_in_flight
        if self.computing >= most:
            raise QueueFullError(f"too many requests in flight (limit {most}); retry after 1 s")

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run blocking ``work`` on one of the threads and return its result. Threads are given in order of arrival.

        Work that has begun keeps its thread to its end, even if nobody waits for it any more.
        """
        waiting = [work]

        def begin() -> _Result:
            return waiting.pop()()

        running = asyncio.get_running_loop().run_in_executor(self._threads, begin)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            waiting.clear()  # or the executor would keep the work, and with it a body, until a thread is free
            running.cancel()  # or the event loop would log its error, which nobody waits for
            raise


class Slot:
    """What one request holds, from its headers to the end of its answer."""

    def __init__(self, admission: Admission, scope: Scope, receive: Receive) -> None:
        self._admission = admission
        self._scope = scope
        self._receive = receive
        self._received = 0
        self._is_computing = False
        self._was_computed = False
        self._computing_since = 0.0
        self.held_bytes = 0
        """Bytes of the body and of the answer that are in memory."""
        self.is_whole = False
        """Whether the body has been read to its end."""
        self.is_abandoned = False
        """Whether nobody waits for the answer any more."""
        self.context: RequestContext = scope[CONTEXT]

    async def __aenter__(self) -> Self:
        """Take the slot.

        Raises:
            NotReadyError: there is no model yet.
            QueueFullError: too many requests are in flight.
        """
        self._admission.readiness.require_model()
        self._admission.require_capacity()
        self._admission.metrics.requests_in_flight.inc()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Release everything, and suppress the error of a request whose client has left."""
        is_suppressed = self.is_abandoned and isinstance(error, ServiceError)
        self.is_abandoned = True
        self.stop_computing()
        self.hold(0)
        try:
            if self._received and not self.is_whole and isinstance(error, ServiceError):
                await self._discard_rest()
        finally:
            self._admission.metrics.requests_in_flight.dec()
        return is_suppressed

    @property
    def max_body_bytes(self) -> int:
        """Longest body, before and after decompression."""
        return self._admission.limits.max_body_bytes

    async def read(self, at_least: float = math.inf) -> bytes:
        """Return the next bytes of the body: ``at_least`` so many, or all until its end.

        Raises:
            BodyTooLargeError: the body is too long, by its Content-Length or by count.
            QueueFullError: other requests hold too many bytes.
            IncompleteBodyError: the client went away.
            BodyTimeoutError: the body came too slowly.
        """
        if not self._received:
            self._check_declared_length()
        parts: list[bytes] = []
        size = 0
        while True:
            part = self._next_part(await self._receive())
            if self.is_whole and not parts:
                return part
            size += len(part)
            parts.append(part)
            self.hold(self.held_bytes + len(part))
            if self.is_whole or size >= at_least:
                return b"".join(parts)

    async def read_document(self, max_bytes: int) -> bytes:
        """Return the whole body; see `read`.

        Raises:
            BodyTooLargeError: it has more than ``max_bytes``.
        """
        body = await self.read(at_least=max_bytes + 1)
        if len(body) > max_bytes:
            raise body_too_large(max_bytes)
        return body

    def hold(self, size: int) -> None:
        """Set the number of bytes that this request holds.

        Raises:
            QueueFullError: other requests hold too many. A single request may hold any number.
        """
        admission, most = self._admission, self._admission.limits.max_bytes_in_flight
        others = admission.held_bytes - self.held_bytes
        if size > self.held_bytes and others and others + size > most:
            raise QueueFullError(f"too many bytes of bodies and answers in flight (limit {most}); retry after 1 s")
        self.held_bytes, admission.held_bytes = size, others + size

    def hold_answer(self, answer: int, rest: int = 0) -> None:
        """Set the number of bytes held of the answer, and of the ``rest`` of the body; see `hold`.

        Raises:
            AnswerTooLargeError: the answer is larger than all requests together may hold.
        """
        most = self._admission.limits.max_bytes_in_flight
        if answer > most:
            raise AnswerTooLargeError(
                f"the answer is too large (limit {most} bytes); send fewer records per request, "
                "or score the file with `vaegis score`"
            )
        self.hold(answer + rest)

    def start_computing(self) -> None:
        """Count this request as computing, and start the time limit of its answer.

        Raises:
            QueueFullError: Too many requests are computing, and no part of this one has been computed yet.
        """
        if not self._was_computed:
            self._admission.require_capacity()
            self._was_computed = True
        self._is_computing = True
        self._admission.computing += 1
        self._computing_since = time.perf_counter()

    def stop_computing(self) -> None:
        """Stop counting this request while there is nothing to compute."""
        if self._is_computing:
            self._is_computing = False
            self._admission.computing -= 1

    def begin(self) -> None:
        """Record that the work begins, if its answer is still needed. Thread-safe.

        Raises:
            DeadlineError: it is not.
        """
        self._admission.metrics.queue_seconds.observe(time.perf_counter() - self._computing_since)
        self.check()

    def check(self) -> None:
        """Pass if the answer is still needed. Thread-safe.

        Raises:
            DeadlineError: it is not.
        """
        if self.is_abandoned or time.perf_counter() - self._computing_since > self._admission.limits.request_timeout_s:
            raise self._late()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run blocking ``work`` on a thread, and count the request as computing meanwhile.

        Nobody waits for it after the deadline. From then on, or once the client left, `check` raises, which ends it.

        Raises:
            QueueFullError: Too many requests are computing.
            DeadlineError: the time is up.
        """

        def begin() -> _Result:
            self.begin()
            return work()

        if not self._is_computing:
            self.start_computing()
        watch = asyncio.ensure_future(self._watch_client()) if self.is_whole else None
        try:
            async with asyncio.timeout(self._admission.limits.request_timeout_s):
                return await self._admission.run(begin)
        except TimeoutError:
            raise self._late() from None
        finally:
            self.stop_computing()
            if watch is not None:
                watch.cancel()

    async def send(
        self, send: Send, parts: Iterable[bytes], length: int, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Send an answer of ``length`` bytes, with its Content-Length, so that nobody takes a part of it for all.

        A long one is compressed if the client accepts that.

        Raises:
            QueueFullError: other requests hold too many bytes to compress it.
            DeadlineError: there is no time left to compress it.
        """
        if length >= self._admission.limits.compression_min_bytes:
            encoding = answer_encoding_of(self._scope["headers"])
            headers = [*headers, (b"vary", b"accept-encoding")]
            if encoding is not Encoding.NONE:
                plain = parts
                parts = await self.run(lambda: _compressed(plain, encoding, self.check))
                length = sum(map(len, parts))
                self.hold(self.held_bytes + length)
                headers.append((b"content-encoding", encoding.value.encode()))
        self.stop_computing()
        headers = [(b"content-length", b"%d" % length), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            length -= len(part)
            await send({"type": "http.response.body", "body": part, "more_body": length > 0})

    def _check_declared_length(self) -> None:
        length = header(self._scope["headers"], b"content-length")
        if length.isdigit() and int(length) > self._admission.limits.max_body_bytes:
            raise body_too_large(self._admission.limits.max_body_bytes)

    def _next_part(self, message: Message) -> bytes:
        if message["type"] != "http.request":
            self.is_whole = True  # nothing more comes
            raise IncompleteBodyError("the client closed the connection before the body ended")
        self.is_whole = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        self._received += len(part)
        if self._received > self._admission.limits.max_body_bytes:
            raise body_too_large(self._admission.limits.max_body_bytes)
        return part

    async def _discard_rest(self) -> None:
        """Read the body to its end: many clients and proxies read no answer before they have sent everything."""
        left = self._admission.limits.max_body_bytes
        with suppress(ServiceError):  # the client is gone, or too slow
            while not self.is_whole and left > 0:
                message = await self._receive()
                self.is_whole = not message.get("more_body", False)
                left -= len(message.get("body", b""))
        if not self.is_whole:
            self._scope[UNREAD] = True

    async def _watch_client(self) -> None:
        with suppress(ServiceError):  # what a server may raise to say that the connection cannot be used further
            while (await self._receive())["type"] != "http.disconnect":
                pass
        self.is_abandoned = True

    def _late(self) -> DeadlineError:
        return DeadlineError(
            f"no answer within {self._admission.limits.request_timeout_s:g} s; send fewer records per request"
        )


def _compressed(parts: Iterable[bytes], encoding: Encoding, check: Callable[[], None]) -> list[bytes]:
    """Return an answer in gzip, or in one frame of zstd, in pieces. What ``check`` raises ends the work."""
    compressor = ZstdCompressor(_ZIP_LEVEL) if encoding is Encoding.ZSTD else zlib.compressobj(_ZIP_LEVEL, wbits=_GZIP)
    pieces: list[bytes] = []
    for part in parts:
        for at in range(0, len(part), _COMPRESSED_AT_ONCE):
            pieces.append(compressor.compress(part[at : at + _COMPRESSED_AT_ONCE]))
            check()
    return [*pieces, compressor.flush()]

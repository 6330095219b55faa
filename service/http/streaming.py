"""An answer that is made and sent while its request still comes: a part at a time, at a memory that does not grow."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starlette.types import Message, Receive, Send

from vaegis.service.errors import ServiceError
from vaegis.service.http.admission import Admission, Ticket
from vaegis.service.http.begun import Begun
from vaegis.service.http.errors import QueueFullError
from vaegis.service.http.outbox import Outbox
from vaegis.service.http.pipeline import Pipeline
from vaegis.service.http.server.limits import BodyTimeoutError, IncompleteBodyError
from vaegis.service.records.blocks import BLOCK_BYTES, BodyTooLargeError
from vaegis.service.records.faults import OnInvalid

_FLUSH_S: Final = 0.05  # how long records wait for others that could be scored with them

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class StreamRoom:
    """What one stream may take.

    Attributes:
        max_bytes: Longest body, packed or not; None where there is no bound.
        max_answer_bytes: Most bytes of an answer that wait for the client, before the body has to wait as well.
        inline_bytes: Bodies of plain text up to this size are read on the event loop, which takes no longer than
            handing them to a thread.
        inline_records: Up to so many of their records are scored there at a time.
    """

    max_bytes: int | None
    max_answer_bytes: int
    inline_bytes: int
    inline_records: int


class Stream:
    """One request and its answer.

    Attributes:
        has_begun: Whether the answer has begun, so that it is too late to answer a problem.
        is_unread: Whether the client may still be sending.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        room: StreamRoom,
        admission: Admission,
        ticket: Ticket,
        *,
        is_plain_text: bool,
    ) -> None:
        """Prepare to answer what ``pipeline`` makes of the body.

        Args:
            pipeline: The work.
            room: What the stream may take.
            admission: Has the threads.
            ticket: The request's.
            is_plain_text: Whether few bytes hold little.
        """
        self._pipeline = pipeline
        self._is_plain_text = is_plain_text
        self._room = room
        self._admission = admission
        self._ticket = ticket
        # A fault can be answered as a problem only as long as nothing else was: where faults reject a request, its
        # answer is held as long as it can be, otherwise as long as it delays nothing.
        self._is_held = pipeline.on_invalid is OnInvalid.REJECT
        self._outbox = Outbox(room.max_answer_bytes, room.max_answer_bytes if self._is_held else BLOCK_BYTES)
        self._received = 0
        self._coming: asyncio.Future[Message] | None = None
        self._has_ended = asyncio.Event()
        self.has_begun = False

    @property
    def is_unread(self) -> bool:
        """Whether the client may still be sending."""
        return not self._has_ended.is_set()

    async def run(self, receive: Receive, send: Send, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Answer the request with status 200 and ``headers``.

        Raises:
            IncompleteBodyError: the client went away.
            ServiceError: why the request cannot be answered, or not to its end.
        """
        reading = asyncio.ensure_future(self._read(receive))
        sending = asyncio.ensure_future(self._send(send, headers))
        leaving = asyncio.ensure_future(self._until_gone(receive))
        overdue = self._ticket.overdue = asyncio.get_running_loop().create_future()
        pending: set[asyncio.Future[None]] = {reading, sending, leaving, overdue}
        try:
            while not sending.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if reading in done:
                    reading.result()
                if leaving in done and not sending.done():
                    raise IncompleteBodyError("connection: expected to send all of the answer, got it closed")
                if overdue in done and not sending.done():
                    raise BodyTimeoutError("body: expected its next record or batch while others wait, got too little")
            sending.result()
        finally:
            for task in (reading, sending, leaving, self._coming):
                if task is not None:
                    task.cancel()
            await asyncio.gather(reading, sending, leaving, return_exceptions=True)

    async def _read(self, receive: Receive) -> None:
        """Read the body to its end, and put what is answered to it into the outbox."""
        loop = asyncio.get_running_loop()
        parts: list[bytes] = []
        size, due_at, is_last = 0, math.inf, False
        while not is_last:
            message = await self._next_message(receive, due_at - loop.time())
            if message is not None:
                is_last = not message.get("more_body", False)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                self._count(len(parts[-1]))
                await self._hold(size, receive)
                due_at = min(due_at, loop.time() + _FLUSH_S)
            is_due = loop.time() >= due_at
            if not is_last and not is_due and size < max(BLOCK_BYTES, self._pipeline.decoder.missing_bytes):
                continue
            await self._answer(b"".join(parts), receive, flush=is_due, is_last=is_last)
            if self._pipeline.owed_s and not is_last:
                owed_s, self._pipeline.owed_s = self._pipeline.owed_s, 0.0
                await self._unless_gone(asyncio.ensure_future(asyncio.sleep(owed_s)), receive)
            parts, size, due_at = [], 0, math.inf if is_due else loop.time() + _FLUSH_S
        self._outbox.close()

    async def _next_message(self, receive: Receive, wait_s: float) -> Message | None:
        """Return the next part of the body, or None if it is not there in time."""
        if self._coming is None:
            begun = Begun(_coroutine(receive))
            if begun.result is not None:
                return _part(begun.result)
            self._coming = asyncio.ensure_future(_rest(begun))
        done, _ = await asyncio.wait({self._coming}, timeout=None if wait_s == math.inf else max(0.0, wait_s))
        if not done:
            return None
        message = self._coming.result()
        self._coming = None
        return _part(message)

    def _count(self, size: int) -> None:
        self._received += size
        limit = self._room.max_bytes
        if limit is not None and self._received > limit:
            raise BodyTooLargeError(f"body: expected at most {limit} bytes in all, got more")

    async def _answer(self, data: bytes, receive: Receive, *, flush: bool, is_last: bool) -> None:
        room, pipeline = self._room, self._pipeline
        is_small = self._is_plain_text and is_last and self._received <= room.inline_bytes
        answer = self._begun(pipeline.run(data, flush=flush, is_last=is_last))
        if is_last:
            self._has_ended.set()
            self._enter()
            if is_small:
                await asyncio.sleep(0)  # requests that came with it are counted before it is scored
        has_more = True
        while has_more:
            pipeline.call.require_key()
            if pipeline.waiting:
                self._enter()
            inline = is_small and pipeline.waiting <= room.inline_records
            some, has_more = await self._work(lambda: _some(answer), inline=inline)
            await self._hold(len(some), receive)
            self._outbox.put(some)
            if self._outbox.is_full:
                self._ticket.leave()
                await self._outbox.room()
        self._ticket.leave()
        await self._hold(0, receive)
        if not self._is_held and not is_last:
            self._outbox.release()

    def _enter(self) -> None:
        """Take a place while there are records to score: a client that sends, reads or pays slowly takes nobody's."""
        if not self._ticket.is_in:
            self._ticket.enter()

    def _begun(self, answer: Iterator[bytes | None]) -> Iterator[bytes | None]:
        """Note when the work begins, on any thread, and do it."""
        came_at = time.perf_counter()

        def steps() -> Iterator[bytes | None]:
            self._pipeline.metrics.queue_seconds.observe(time.perf_counter() - came_at)
            yield from answer

        return steps()

    async def _unless_gone(self, awaited: asyncio.Future[None], receive: Receive) -> None:
        """Wait for something other than the client, unless it goes away first, as far as its next message tells."""
        if self._coming is None:
            self._coming = asyncio.ensure_future(_coroutine(receive))
        try:
            either: set[asyncio.Future[Any]] = {self._coming, awaited}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if self._coming.done():
                _part(self._coming.result())
            await awaited
        finally:
            awaited.cancel()

    async def _hold(self, more: int, receive: Receive) -> None:
        """Account for what is held of body and answer, and ``more``.

        Until it is let in, one that finds no room leaves it to others. Then its answer may have begun, and it waits.
        """
        size = self._pipeline.decoder.held_bytes + self._outbox.size + more
        if self._ticket.was_in:
            granted = self._ticket.ask_for_in_all(size)
            if granted is not None:
                self._ticket.leave()
                await self._unless_gone(granted, receive)
            return
        try:
            self._ticket.hold_in_all(size)
        except QueueFullError:
            self._ticket.hold_in_all(0)
            raise

    async def _work(self, work: Callable[[], _Result], *, inline: bool) -> _Result:
        return work() if inline else await self._admission.run(work, to_its_end=True)

    async def _send(self, send: Send, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the answer as the outbox gives it out."""
        is_last = False
        while not is_last:
            data, is_last = await self._outbox.take()
            if not self.has_begun:
                self.has_begun = True
                await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            await send({"type": "http.response.body", "body": data, "more_body": not is_last})
            self._outbox.sent(len(data))
            self._ticket.hold_bytes(-len(data))

    async def _until_gone(self, receive: Receive) -> None:
        """Return when the client goes away after its body."""
        await self._has_ended.wait()
        with suppress(ServiceError):  # what a server may raise to say that the connection cannot be used further
            while (await receive())["type"] != "http.disconnect":
                pass


def _some(answer: Iterator[bytes | None]) -> tuple[bytes, bool]:
    """Return parts of an answer, about a block's worth or up to the next pause, and whether there may be more."""
    parts: list[bytes] = []
    size = 0
    for part in answer:
        if part is not None:
            parts.append(part)
            size += len(part)
        if part is None or size >= BLOCK_BYTES:
            return b"".join(parts), True
    return b"".join(parts), False


async def _coroutine(receive: Receive) -> Message:
    return await receive()


async def _rest(begun: Begun[Message]) -> Message:
    return await begun


def _part(message: Message) -> Message:
    """Return a message that is part of a body.

    Raises:
        IncompleteBodyError: it says that the client is gone.
    """
    if message["type"] != "http.request":
        raise _incomplete()
    return message


def _incomplete() -> IncompleteBodyError:
    return IncompleteBodyError("body: expected all of it, got a connection closed by the client")

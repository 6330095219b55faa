"""Bounded work: how many requests, records and bytes are held at a time, and until when an answer is worth its work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from vaegis.service.http.byte_room import ByteRoom
from vaegis.service.http.errors import DeadlineError, QueueFullError

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Room:
    """What is held at most; the settings of similar names.

    Attributes:
        requests: Of which something is there to compute, queued or computed.
        records: Of the requests that are computed on threads.
        body_bytes: Of the bodies that come in several parts.
    """

    requests: int
    records: int
    body_bytes: int


class Admission:
    """Lets requests in while there is room.

    One that finds none is refused at once; only a stream that was let in waits, for bytes (`ByteRoom`).
    """

    def __init__(self, room: Room, *, timeout_s: float, patience_s: float, threads: int) -> None:
        """Let in what ``room`` holds; it is computed by so many ``threads``, within ``timeout_s``.

        A stream that others wait for, and that gives no bytes back for ``patience_s``, has to give up.
        """
        self.timeout_s = timeout_s
        self.lock = Lock()
        """Guards the records, which are counted on the threads."""
        self.body_room = ByteRoom(room.body_bytes, patience_s)
        self._room = room
        self._tickets = 0
        self._requests = 0
        self._records = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="scoring")

    @property
    def in_flight(self) -> int:
        """Requests being read, queued or computed."""
        return self._tickets

    def take_ticket(self) -> None:
        """Count a request whose body is still to come; on the event loop's thread."""
        self._tickets += 1

    def require_room(self) -> None:
        """Pass if another request would be let in: one that would not is refused before its body is read.

        Raises:
            QueueFullError: there is no room.
        """
        if self._requests >= self._room.requests:
            raise QueueFullError(f"expected fewer than {self._room.requests} requests in flight, got as many")

    def let_in(self, *, anyway: bool) -> None:
        """Count a request of which there is something to compute; on the event loop's thread.

        Raises:
            QueueFullError: there is no room, and it is not let in ``anyway``.
        """
        if not anyway:
            self.require_room()
        self._requests += 1

    def leave(self) -> None:
        """Count one less of them."""
        self._requests -= 1

    def hold_records(self, records: int) -> None:
        """Count records; under `lock`. Those of one request alone are never too many.

        Raises:
            QueueFullError: there is no room.
        """
        if self._records and self._records + records > self._room.records:
            raise QueueFullError(f"expected at most {self._room.records} records in flight, got more")
        self._records += records

    def let_out(self, *, requests: int, records: int) -> None:
        """Take back a ticket and what was counted for it; on the event loop's thread, and under `lock`."""
        self._tickets -= 1
        self._requests -= requests
        self._records -= records

    async def run(self, work: Callable[[], _Result], *, to_its_end: bool = False) -> _Result:
        """Run blocking ``work`` on one of the threads, waiting in order of arrival for a free one.

        Who is cancelled waits for work that has begun only if ``to_its_end``, but it keeps its thread until it ends.
        """
        waiting = [work]

        def begun() -> _Result:
            return waiting.pop()()

        running = asyncio.get_running_loop().run_in_executor(self._threads, begun)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            try:
                waiting.pop()  # or the executor would keep the work, and with it a body, until a thread is free
            except IndexError:  # it has begun
                if to_its_end:
                    await asyncio.wait({running})
            running.cancel()  # or the event loop would log its fault, which nobody waits for
            raise


class Ticket:
    """What one request holds. Whoever makes it closes it, on the event loop's thread."""

    __slots__ = (
        "_admission",
        "_entered_at",
        "_records",
        "_requests",
        "body_bytes",
        "is_abandoned",
        "overdue",
        "was_in",
    )

    def __init__(self, admission: Admission) -> None:
        """Hold nothing yet."""
        admission.take_ticket()
        self._admission = admission
        self._requests = 0
        self._records = 0
        self._entered_at = 0.0
        self.body_bytes = 0
        """Bytes that it holds."""
        self.was_in = False
        """Whether it was ever let in."""
        self.is_abandoned = False
        """Whether nobody waits for the answer any more."""
        self.overdue: asyncio.Future[None] | None = None
        """Done once others have waited too long for its bytes; of those that `ask_for_in_all`."""

    def hold_bytes(self, size: int) -> None:
        """Hold more of the body, or less; see `ByteRoom.hold`."""
        self._admission.body_room.hold(self, size)

    def hold_in_all(self, size: int) -> None:
        """Hold so many bytes from now on, instead of those so far."""
        self.hold_bytes(size - self.body_bytes)

    def give_up(self) -> None:
        """Be overdue; see `ByteRoom`."""
        if self.overdue is not None and not self.overdue.done():
            self.overdue.set_result(None)

    def ask_for_in_all(self, size: int) -> asyncio.Future[None] | None:
        """Hold so many bytes instead of those so far, at once or later; see `ByteRoom.ask`."""
        return self._admission.body_room.ask(self, size - self.body_bytes)

    def enter(self) -> None:
        """Be let in, once there is something to compute; from now on the time runs. See `Admission.let_in`.

        One that has left is let in again whatever room there is, for its answer may have begun.
        """
        self._admission.let_in(anyway=self.was_in)
        self.was_in = True
        self._requests = 1
        self._entered_at = time.perf_counter()

    @property
    def is_in(self) -> bool:
        """Whether it takes a place."""
        return self._requests > 0

    def leave(self) -> None:
        """Give the place back for as long as there is nothing to compute."""
        if self._requests:
            self._admission.leave()
            self._requests = 0

    def waited_s(self) -> float:
        """Return the time since the request was let in."""
        return time.perf_counter() - self._entered_at

    def hold_records(self, records: int) -> None:
        """Hold the request's records; on any thread. See `Admission.hold_records` and `check`."""
        with self._admission.lock:  # `close` comes before, and there is nothing to hold any more, or after
            self.check()
            self._admission.hold_records(records)
            self._records += records

    def check(self) -> None:
        """Pass if the answer is still worth its work; on any thread.

        Raises:
            DeadlineError: it is not.
        """
        if self.is_abandoned or self.waited_s() > self._admission.timeout_s:
            raise self.late()

    def late(self) -> DeadlineError:
        """Return the error of an answer that was not there in time."""
        return DeadlineError(f"service: expected an answer within {self._admission.timeout_s:g} s, got none")

    def close(self) -> None:
        """Give everything back."""
        with self._admission.lock:
            self.is_abandoned = True
            self._admission.let_out(requests=self._requests, records=self._records)
        if self.body_bytes:
            self.hold_in_all(0)

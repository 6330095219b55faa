"""Bounded work: how many requests are let in, and how many of them are computed side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from service.http.errors import QueueFullError

_Result = TypeVar("_Result")


class Admission:
    """Slots for requests that cost memory and time. A request without a slot is refused at once, never queued."""

    def __init__(self, max_in_flight: int, threads: int) -> None:
        """Offer ``max_in_flight`` slots, whose work shares ``threads`` threads."""
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._limiter = CapacityLimiter(threads)

    @property
    def in_flight(self) -> int:
        """Slots in use."""
        return self._in_flight

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot; only for use on the event loop's thread.

        Raises:
            QueueFullError: none is free.
        """
        if self._in_flight >= self._max_in_flight:
            raise QueueFullError(f"expected fewer than {self._max_in_flight} requests in flight, got as many")
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run blocking ``work`` on one of the threads, waiting in order of arrival for a free one."""
        return await to_thread.run_sync(work, limiter=self._limiter)

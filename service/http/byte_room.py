"""Room for the bytes of bodies, over all requests: who finds none is refused, or waits for it in order of arrival."""

from __future__ import annotations

import asyncio
from typing import Protocol

from vaegis.service.http.errors import QueueFullError


class Holder(Protocol):
    """Who holds bytes.

    Attributes:
        body_bytes: How many.
    """

    body_bytes: int

    def give_up(self) -> None:
        """Come to an end: others have waited too long for this one."""


class ByteRoom:
    """Bytes that are held at a time. Only for use on the event loop's thread.

    Of those who may wait, one at a time goes beyond the room rather than wait: two that each hold a part of something
    and wait for the rest would do so for ever. So what is held is at most the room, or one larger body alone, and
    what one of those who may wait holds; and somebody who waits does so for one who does not. That one has to give up
    once it has given nothing back for a while.
    """

    def __init__(self, most: int, patience_s: float) -> None:
        """Have room for ``most`` bytes, and such patience with one beyond it that others wait for."""
        self._most = most
        self._patience_s = patience_s
        self._held = 0
        self._awaited: Holder | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._beyond: Holder | None = None
        self._waiting: dict[asyncio.Future[None], tuple[Holder, int]] = {}

    def hold(self, holder: Holder, size: int) -> None:
        """Count more bytes, or less. One holder alone is never too much.

        Raises:
            QueueFullError: there is no room.
        """
        if size > 0 and self._held > holder.body_bytes and self._held + size > self._most:
            raise QueueFullError(f"expected at most {self._most} bytes of bodies in flight, got more")
        self._count(holder, size)
        self._let_on()
        self._watch()

    def ask(self, holder: Holder, size: int) -> asyncio.Future[None] | None:
        """Count more bytes, or less, at once or later.

        Returns:
            What is done once they are counted, and may be cancelled before; None if they are by now.
        """
        if size > 0 and self._beyond is not None and self._beyond is not holder:
            granted = asyncio.get_running_loop().create_future()
            granted.add_done_callback(self._leave)
            self._waiting[granted] = holder, size
            self._watch()
            return granted
        self._grant(holder, size)
        self._let_on()
        self._watch()
        return None

    def _grant(self, holder: Holder, size: int) -> None:
        self._count(holder, size)
        if self._held > self._most and size > 0:
            self._beyond = holder

    def _count(self, holder: Holder, size: int) -> None:
        self._held += size
        holder.body_bytes += size
        if self._held <= self._most or (holder is self._beyond and not holder.body_bytes):
            self._beyond = None
        if holder is self._awaited and size < 0:
            self._stop_watch()  # it goes on, and has its time anew

    def _leave(self, granted: asyncio.Future[None]) -> None:
        self._waiting.pop(granted, None)
        self._watch()

    def _watch(self) -> None:
        """See to it that whoever others wait for has its time, and no more."""
        awaited = self._beyond if self._waiting else None
        if awaited is self._awaited:
            return
        self._stop_watch()
        if awaited is not None:
            self._awaited = awaited
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, awaited.give_up)

    def _stop_watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._awaited = self._timer = None

    def _let_on(self) -> None:
        while self._waiting and self._beyond is None:
            granted = next(iter(self._waiting))
            waiting = self._waiting.pop(granted)
            if not granted.done():
                granted.set_result(None)
                self._grant(*waiting)

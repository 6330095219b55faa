"""Room for the bytes of bodies, over all requests: who finds none is refused, or waits for it in order of arrival."""

from __future__ import annotations

import asyncio
from typing import Protocol

from service.http.errors import QueueFullError


class Holder(Protocol):
    """Who holds bytes.

    Attributes:
        body_bytes: How many.
    """

    body_bytes: int


class ByteRoom:
    """Bytes that are held at a time. Only for use on the event loop's thread.

    Of those who may wait, one at a time goes beyond the room rather than wait: two that each hold a part of something
    and wait for the rest would do so for ever. So what is held is at most the room, or one larger body alone, and
    what one of those who may wait holds; and somebody who waits does so for one who does not.
    """

    def __init__(self, most: int) -> None:
        """Have room for ``most`` bytes."""
        self._most = most
        self._held = 0
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

    def ask(self, holder: Holder, size: int) -> asyncio.Future[None] | None:
        """Count more bytes, or less, at once or later.

        Returns:
            What is done once they are counted, and may be cancelled before; None if they are by now.
        """
        if size > 0 and self._beyond is not None and self._beyond is not holder:
            granted = asyncio.get_running_loop().create_future()
            granted.add_done_callback(lambda _: self._waiting.pop(granted, None))
            self._waiting[granted] = holder, size
            return granted
        self._grant(holder, size)
        self._let_on()
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

    def _let_on(self) -> None:
        while self._waiting and self._beyond is None:
            granted = next(iter(self._waiting))
            waiting = self._waiting.pop(granted)
            if not granted.done():
                granted.set_result(None)
                self._grant(*waiting)

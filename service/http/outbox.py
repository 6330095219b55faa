"""An answer between those who make it and those who send it: bounded, so that it waits for a client that is slow."""

from __future__ import annotations

import asyncio
from collections import deque


class Outbox:
    """Parts of one answer that have not been sent. All its methods are for the event loop's thread."""

    def __init__(self, max_bytes: int, held_bytes: int) -> None:
        """Take up to ``max_bytes``; give nothing out until ``held_bytes`` are there, or all of the answer is."""
        self._max_bytes = max_bytes
        self._held_bytes = min(held_bytes, max_bytes)
        self._parts: deque[bytes] = deque()
        self._is_closed = False
        self._has_changed = asyncio.Event()
        self.size = 0
        """Bytes that were put in and not sent."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another part."""
        return self.size >= self._max_bytes

    def put(self, part: bytes) -> None:
        """Add a part."""
        if part:
            self._parts.append(part)
            self.size += len(part)
            self._has_changed.set()

    async def room(self) -> None:
        """Wait until there is room for another part."""
        while self.is_full:
            await self._change()

    def release(self) -> None:
        """Give out from now on what is there."""
        self._held_bytes = 0
        self._has_changed.set()

    def close(self) -> None:
        """Have no more parts."""
        self._is_closed = True
        self._has_changed.set()

    async def take(self) -> tuple[bytes, bool]:
        """Return all that can be sent by now, at least something unless it is the end, and whether it is the last."""
        while not self._is_closed and (not self._parts or self.size < self._held_bytes):
            await self._change()
        self._held_bytes = 0
        data = b"".join(self._parts)
        self._parts.clear()
        return data, self._is_closed

    def sent(self, size: int) -> None:
        """Forget what was taken and has been sent."""
        self.size -= size
        self._has_changed.set()

    async def _change(self) -> None:
        self._has_changed.clear()
        await self._has_changed.wait()

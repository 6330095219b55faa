"""Bytes gathered until they hold whole lines."""

from __future__ import annotations

from service.records.stream.blocks import BLOCK_BYTES, TooMuchHeldError


class LineBuffer:
    """The part of a body that has not been decoded yet. It holds one line of any allowed length, and little more."""

    def __init__(self, max_held_bytes: int) -> None:
        """Allow a line of ``max_held_bytes``."""
        self._max_held_bytes = max_held_bytes
        self._held = bytearray()
        self._searched = 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._held += data

    def take_full(self, at_least: int = 0) -> bytes:
        """Return what `take_whole` does once a block's worth of bytes is held, and nothing before.

        Raises:
            TooMuchHeldError: a line is longer than allowed.
        """
        return self.take_whole(at_least) if len(self._held) >= BLOCK_BYTES else b""

    def take_whole(self, at_least: int = 0) -> bytes:
        """Return the whole lines held, at most about a block's worth; nothing if there is none.

        Args:
            at_least: Number of bytes that the lines must have together, however many that is.

        Raises:
            TooMuchHeldError: a line is longer than allowed.
        """
        end = 0 if at_least else self._held.rfind(b"\n", 0, BLOCK_BYTES) + 1
        if not end:
            # The search goes on where it last ended, so that a long line is looked through only once.
            end = self._held.find(b"\n", max(self._searched, at_least - 1)) + 1
        if end:
            return self._cut(end)
        self._searched = len(self._held)
        if len(self._held) > self._max_held_bytes:
            raise TooMuchHeldError(f"body: expected lines of at most {self._max_held_bytes} bytes, got a longer one")
        return b""

    def take_rest(self) -> bytes:
        """Return all that is held."""
        return self._cut(len(self._held))

    def put_back(self, data: bytes) -> None:
        """Put bytes that were taken, and could not be used yet, back to the front.

        Raises:
            TooMuchHeldError: they are more than may be held.
        """
        if len(data) > self._max_held_bytes:
            raise TooMuchHeldError(f"body: expected records of at most {self._max_held_bytes} bytes, got a longer one")
        self._held[:0] = data

    def _cut(self, end: int) -> bytes:
        self._searched = 0
        taken = bytes(self._held[:end])
        del self._held[:end]
        return taken

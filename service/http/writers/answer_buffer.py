"""An encoded answer that waits until its request has been read to the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vaegis.service.records.decompression import compress, decompress

UNCOMPRESSED_BYTES: Final = 4 * 2**20
"""The beginning of an answer is kept as it is; what follows is compressed, to about a third."""
_LEVEL: Final = 1  # about a microsecond a record


class AnswerBuffer:
    """The parts of one answer.

    Attributes:
        length: Bytes of the answer.
        held_bytes: Bytes that they take in memory.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._compressed: list[bytes] = []
        self.length = 0
        self.held_bytes = 0

    def append(self, part: bytes) -> None:
        """Add a part at the end."""
        if not part:
            return
        self.length += len(part)
        if self.length <= UNCOMPRESSED_BYTES:
            self._parts.append(part)
        else:
            part = compress(part, _LEVEL)
            self._compressed.append(part)
        self.held_bytes += len(part)

    def parts(self) -> Iterator[bytes]:
        """Yield the answer."""
        yield b"".join(self._parts)
        yield from map(decompress, self._compressed)

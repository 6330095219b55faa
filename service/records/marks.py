"""Count characters in a text block by block, so that no call blocks other threads for long."""

from __future__ import annotations

from typing import Final

import numpy as np

BLOCK_BYTES: Final = 256 * 2**10
_SHORT: Final = 4096  # bytes; up to here the methods of bytes are faster than numpy


def count_marks(text: bytes, marks: bytes) -> int:
    """Return how many bytes of ``text`` are one of ``marks``.

    >>> count_marks(b"[1,2]", b"[,")
    2
    """
    if len(text) <= _SHORT:
        return sum(map(text.count, marks))
    count = 0
    for start in range(0, len(text), BLOCK_BYTES):
        block = np.frombuffer(text, dtype=np.uint8, count=min(BLOCK_BYTES, len(text) - start), offset=start)
        count += sum(int(np.count_nonzero(block == mark)) for mark in marks)
    return count

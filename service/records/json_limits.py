"""Count the values of JSON text and measure how deep it nests, before a parser sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import numpy as np

BLOCK_BYTES: Final = 256 * 2**10
_SHORT: Final = 4096  # bytes; up to here the methods of bytes are faster than numpy
_OTHER = re.compile(rb"[^\\]")
_QUOTE, _OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b'"[]{}'


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


def nests_deeper_than(text: bytes, levels: int) -> bool:
    """Tell whether ``text`` opens more than ``levels`` arrays and objects within each other, in linear time.

    Brackets within strings do not count. Of text that is not JSON, every part that a parser would accept before it
    meets the error is judged rightly.

    >>> nests_deeper_than(b'[{"a": "[[["}]', 2)
    False
    """
    if count_marks(text, b"[{") <= levels:
        return False
    depth, quotes = 0, 0
    for part in _parts(text):
        block = np.frombuffer(part, dtype=np.uint8)
        # The count of quotes may wrap around: 256 is even, and only its parity is used.
        seen = np.cumsum(block == _QUOTE, dtype=np.uint8) + np.uint8(quotes)
        outside = (seen & 1) == 0
        opened = ((block == _OPEN_LIST) | (block == _OPEN_OBJECT)) & outside
        closed = ((block == _CLOSE_LIST) | (block == _CLOSE_OBJECT)) & outside
        depths = depth + np.cumsum(opened.astype(np.int32) - closed, dtype=np.int32)
        if depths.max() > levels:
            return True
        depth, quotes = int(depths[-1]), int(seen[-1]) & 1
    return False


def _parts(text: bytes) -> Iterator[bytes]:
    """Yield ``text`` in parts, without characters that backslashes escape."""
    start = 0
    while start < len(text):
        end = start + BLOCK_BYTES
        if text.endswith(b"\\", start, end):  # what it escapes belongs to the same part
            after = _OTHER.search(text, end)
            end = after.end() if after else len(text)
        part = text[start:end]
        start = end
        if b"\\" in part:
            # Pairs go first, so that the one left over before a quote is the one that escapes it.
            part = part.replace(b"\\\\", b"").replace(b'\\"', b"")
        if part:
            yield part

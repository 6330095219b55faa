"""How deep a JSON text nests, told before a parser that recurses gets to see it."""

from __future__ import annotations

import numpy as np

_BLOCK_BYTES = 1 << 20
_QUOTE, _OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = b'"[]{}'


def nests_deeper_than(text: bytes, levels: int) -> bool:
    """Tell whether ``text`` opens more than ``levels`` arrays and objects within each other, in linear time.

    Brackets within strings do not count. Of text that is not JSON, every part that a parser would accept before it
    meets the error is judged rightly.

    >>> nests_deeper_than(b'[{"a": "[[["}]', 2)
    False
    """
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    if b"\\" in text:
        # Pairs of backslashes go first, so that the one left over before a quote is the one that escapes it.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth, quotes = 0, 0
    for start in range(0, len(text), _BLOCK_BYTES):
        block = np.frombuffer(text, dtype=np.uint8, count=min(_BLOCK_BYTES, len(text) - start), offset=start)
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

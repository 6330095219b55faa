"""Compression of an answer, for clients that accept it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Final

from vaegis.service.http.negotiation import Encoding
from vaegis.service.records.decompression import ZstdCompressor

_LEVEL: Final = 1  # of both: higher ones take several times as long for a tenth less
_GZIP: Final = 31  # zlib's word for a window of 32 KiB in gzip's wrapping
_PIECE_BYTES: Final = 256 * 1024


def compressed(parts: Iterable[bytes], encoding: Encoding, check: Callable[[], None]) -> list[bytes]:
    """Return an answer in gzip, or in one frame of zstd, in pieces.

    Args:
        parts: The answer.
        encoding: One of the two.
        check: Called after each bit of work; what it raises ends the work.
    """
    compressor = ZstdCompressor(_LEVEL) if encoding is Encoding.ZSTD else zlib.compressobj(_LEVEL, wbits=_GZIP)
    pieces: list[bytes] = []
    for part in parts:
        for at in range(0, len(part), _PIECE_BYTES):
            pieces.append(compressor.compress(part[at : at + _PIECE_BYTES]))
            check()
    return [*pieces, compressor.flush()]

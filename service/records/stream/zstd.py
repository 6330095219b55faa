"""Zstandard, from the standard library if it has it."""

from __future__ import annotations

import sys
from typing import Final

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError, compress, decompress
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError, compress, decompress

__all__ = ["ZstdDecompressor", "ZstdError", "compress", "decompress", "decompressor"]

_LARGEST_WINDOW: Final = 23  # log2 of 8 MiB, what RFC 9659 lets an HTTP body ask for


def decompressor() -> ZstdDecompressor:
    """Return a decompressor of one frame that refuses frames which need more than 8 MiB of memory."""
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _LARGEST_WINDOW})

"""Decompress bodies as they arrive, one bounded piece at a time."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import lz4.frame

from vaegis.service.records.blocks import BLOCK_BYTES, BodyError, body_too_large

if sys.version_info >= (3, 14):
    from compression.zstd import (
        DecompressionParameter,
        ZstdCompressor,
        ZstdDecompressor,
        ZstdError,
        compress,
        decompress,
    )
else:
    from backports.zstd import DecompressionParameter, ZstdCompressor, ZstdDecompressor, ZstdError, compress, decompress

__all__ = ["ZstdCompressor", "ZstdDecompressor", "ZstdError", "compress", "decompress", "decompressor"]
_LARGEST_WINDOW: Final = 23  # log2 of 8 MiB, what RFC 9659 lets an HTTP body ask for
_GZIP: Final = 31  # zlib's word for a window of 32 KiB in gzip's wrapping

_SLICE_BYTES: Final = 16 * 1024
"""Packed bytes looked at at a time: what follows a member is copied for each, and there may be one in 20 bytes."""

_MEMBER_BYTES: Final = 4096
"""What a member of gzip or a frame of zstd counts as beside its content: to begin one takes about as long as to unpack
this many bytes, and it may be empty."""

_MOST_LZ4_RATIO: Final = 255
"""Most bytes that one byte of LZ4 unpacks to: the length of a match takes a byte for each 255."""


def decompressor() -> ZstdDecompressor:
    """Return a decompressor of one frame that refuses frames which need more than 8 MiB of memory."""
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: _LARGEST_WINDOW})


def unpacked_zstd(frame: memoryview, length: int) -> bytes:
    """Return what a frame of Zstandard unpacks to, cut off after ``length + 1`` bytes.

    Raises:
        ValueError: it is none.
    """
    try:
        return decompressor().decompress(frame, length + 1)
    except ZstdError:
        raise ValueError("expected a frame of Zstandard, got other bytes") from None


def unpacked_lz4(frame: memoryview, length: int) -> bytes:
    """Return what a frame of LZ4 unpacks to, cut off after ``length + 1`` bytes.

    Raises:
        ValueError: it is none, or too short to unpack to ``length`` bytes.
    """
    if length > _MOST_LZ4_RATIO * len(frame):  # the package allocates what it is asked for, not what there is
        raise ValueError(f"expected a frame that can hold {length} bytes, got one of {len(frame)} bytes")
    try:
        found, _, _ = lz4.frame.decompress_chunk(lz4.frame.create_decompression_context(), frame, max_length=length + 1)
    except RuntimeError:
        raise ValueError("expected a frame of LZ4, got other bytes") from None
    return bytes(found)


class UnpackedBytes:
    """Counts the decompressed bytes of one body, by `Content-Encoding` and within its format, up to a limit.

    Attributes:
        total: Bytes so far.
    """

    def __init__(self, most: int) -> None:
        """Allow ``most`` bytes."""
        self._most = most
        self.total = 0

    def count(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises:
            BodyTooLargeError: There are more than allowed.
        """
        self.total += size
        if self.total > self._most:
            raise body_too_large(self._most, " after decompression")


class Unpacker:
    """Decompresses a body of one member or frame, or several, as it arrives."""

    def __init__(self, coding: str, unpacked: UnpackedBytes) -> None:
        """Decompress a body of ``coding``.

        Args:
            coding: A content coding: ``gzip``, ``deflate``, ``zstd`` or ``identity``.
            unpacked: Counts the bytes of the body.
        """
        self._coding = coding
        self._unpacked = unpacked
        self._member: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next part of the body, and yield it in pieces.

        It yields a piece, which may be empty, after each bit of work, so that the caller can stop.

        Raises:
            BodyError: it is not compressed in this way.
            BodyTooLargeError: it unpacks to more than is allowed.
        """
        if self._coding == "identity":
            yield from (data[start : start + BLOCK_BYTES] for start in range(0, len(data), BLOCK_BYTES))
            return
        for start in range(0, len(data), _SLICE_BYTES):
            yield from self._pieces(data[start : start + _SLICE_BYTES])

    def finish(self) -> None:
        """Pass if the last member has ended.

        Raises:
            BodyError: it has not.
        """
        if self._member is not None and not self._member.eof:
            raise self._not_packed()

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data or self._holds_more():
            if self._member is None or self._member.eof:
                self._unpacked.count(0 if self._member is None else _MEMBER_BYTES)
                self._member = _MEMBERS[self._coding](data[0])
            try:
                piece = self._member.decompress(data, BLOCK_BYTES)
            except (zlib.error, ZstdError):
                raise self._not_packed() from None
            if self._member.eof:
                data = self._member.unused_data
            else:
                data = b"" if self._coding == "zstd" else self._member.unconsumed_tail
            self._unpacked.count(len(piece))
            yield piece

    def _holds_more(self) -> bool:
        """Return whether a zstd frame can give more without further input: unlike zlib, it keeps unread input."""
        member = self._member
        return self._coding == "zstd" and member is not None and not member.needs_input and not member.eof

    def _not_packed(self) -> BodyError:
        detail = f"expected valid {self._coding} data, as Content-Encoding says, got other bytes"
        return BodyError("invalid_encoding", f"body: {detail}")


def _deflate_member(first: int) -> Any:  # noqa: ANN401 - zlib publishes no name of the type
    """Return the decompressor of deflate in zlib's wrapping (RFC 1950), or without it, as some clients send it."""
    return zlib.decompressobj(zlib.MAX_WBITS if first & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)


_MEMBERS: Final[Mapping[str, Callable[[int], Any]]] = {
    "gzip": lambda _: zlib.decompressobj(_GZIP),
    "deflate": _deflate_member,
    "zstd": lambda _: decompressor(),
}
"""Each returns the decompressor of a member or frame by its first byte. RFC 1952, 1950 and 8878."""


def decompressed(body: bytes, coding: str, count: UnpackedBytes, check: Callable[[], None]) -> bytes:
    """Return a body as it was before it was compressed.

    Args:
        body: The body as it came.
        coding: How it is compressed.
        count: Counts the bytes of each piece; may raise to refuse it.
        check: Called after each piece; what it raises ends the work.

    Raises:
        BodyTooLargeError: there is more than ``count`` allows.
        BodyError: it is not compressed in this way, or not whole.
    """
    if coding == "identity":
        return body
    unpacker = Unpacker(coding, count)
    pieces: list[bytes] = []
    for piece in unpacker.feed(body):
        pieces.append(piece)
        check()
    unpacker.finish()
    return b"".join(pieces)

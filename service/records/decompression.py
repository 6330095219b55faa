"""Decompress bodies as they arrive, one bounded piece at a time."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import lz4.frame

from vaegis.service.records.blocks import BLOCK_BYTES, UnpackedBytes
from vaegis.service.records.json import BodyError

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


class Unpacker(Protocol):
    """Unpacks a body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next part of the body, and yield it in pieces.

        It yields a piece, which may be empty, after each bit of work, so that the caller can stop.
        """

    def finish(self) -> None:
        """Pass if the body has come to its end."""


class NoUnpacker:
    """Passes a body on that is not packed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield it in pieces."""
        for start in range(0, len(data), BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES]

    def finish(self) -> None:
        """Pass."""


class GzipUnpacker:
    """Unpacks gzip (RFC 1952), of one member or several."""

    _name = "gzip"

    def __init__(self, decompressed: UnpackedBytes) -> None:
        """Start; ``decompressed`` counts the bytes."""
        self._decompressed = decompressed
        self._member: Any = None
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next part of the body, and yield it in pieces.

        Raises:
            BodyError: it is not packed so.
            BodyTooLargeError: it unpacks to more than is allowed.
        """
        for start in range(0, len(data), _SLICE_BYTES):
            yield from self._pieces(data[start : start + _SLICE_BYTES])

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if not self._has_begun or self._member.eof:
                self._member = self._new_member(data[0])
                self._decompressed.count(_MEMBER_BYTES if self._has_begun else 0)
            self._has_begun = True
            try:
                piece = self._member.decompress(data, BLOCK_BYTES)
            except zlib.error:
                raise _unpackable(self._name) from None
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            self._decompressed.count(len(piece))
            yield piece

    def finish(self) -> None:
        """Pass if the last member has ended.

        Raises:
            BodyError: it has not.
        """
        if self._has_begun and not self._member.eof:
            raise _unpackable(self._name)

    def _new_member(self, first: int) -> Any:  # noqa: ANN401, ARG002 - zlib publishes no name of the type
        """Return the decompressor of a member that begins with the byte ``first``."""
        return zlib.decompressobj(_GZIP)


class DeflateUnpacker(GzipUnpacker):
    """Unpacks deflate in zlib's wrapping (RFC 1950), and without it, as some clients send it."""

    _name = "deflate"

    def _new_member(self, first: int) -> Any:  # noqa: ANN401 - zlib publishes no name of the type
        return zlib.decompressobj(zlib.MAX_WBITS if first & 0x0F == zlib.DEFLATED else -zlib.MAX_WBITS)


class ZstdUnpacker:
    """Unpacks Zstandard (RFC 8878), of one frame or several, each with a window of at most 8 MiB."""

    def __init__(self, decompressed: UnpackedBytes) -> None:
        """Start; ``decompressed`` counts the bytes."""
        self._decompressed = decompressed
        self._frame = decompressor()
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress the next part of the body, and yield it in pieces.

        Raises:
            BodyError: it is no Zstandard, or needs a larger window.
            BodyTooLargeError: it unpacks to more than is allowed.
        """
        for start in range(0, len(data), _SLICE_BYTES):
            yield from self._pieces(data[start : start + _SLICE_BYTES])

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data or (self._has_begun and not self._frame.needs_input and not self._frame.eof):
            if self._frame.eof:
                self._frame = decompressor()
                self._decompressed.count(_MEMBER_BYTES)
            self._has_begun = True
            try:
                piece = self._frame.decompress(data, BLOCK_BYTES)
            except ZstdError:
                raise _unpackable("zstd") from None
            data = self._frame.unused_data if self._frame.eof else b""
            self._decompressed.count(len(piece))
            yield piece

    def finish(self) -> None:
        """Pass if the last frame has ended.

        Raises:
            BodyError: it has not.
        """
        if self._has_begun and not self._frame.eof:
            raise _unpackable("zstd")


def unpacker_of(coding: str, decompressed: UnpackedBytes) -> Unpacker:
    """Return the decompressor of a content coding: ``gzip``, ``deflate``, ``zstd`` or ``identity``.

    ``decompressed`` counts its bytes.
    """
    match coding:
        case "gzip":
            return GzipUnpacker(decompressed)
        case "deflate":
            return DeflateUnpacker(decompressed)
        case "zstd":
            return ZstdUnpacker(decompressed)
        case "identity":
            return NoUnpacker()
    raise ValueError(f"coding: expected gzip, deflate, zstd or identity, got {coding!r}")


def decompressed(body: bytes, coding: str, count: UnpackedBytes, check: Callable[[], None]) -> bytes:
    """Return a body as it was before it was compressed.

    Args:
        body: The body as it came.
        coding: How it is compressed.
        count: Told the size of each piece; may raise to refuse it.
        check: Called after each piece; what it raises ends the work.

    Raises:
        BodyTooLargeError: there is more than ``count`` allows.
        BodyError: it is not compressed so, or not whole.
    """
    if coding == "identity":
        return body
    unpacker = unpacker_of(coding, count)
    pieces: list[bytes] = []
    for piece in unpacker.feed(body):
        pieces.append(piece)
        check()
    unpacker.finish()
    return b"".join(pieces)


def _unpackable(name: str) -> BodyError:
    return BodyError("invalid_encoding", f"body: expected valid {name} data, as Content-Encoding says, got other bytes")

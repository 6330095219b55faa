"""Compressed bodies unpacked as they arrive, a bounded piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from vaegis.service.records.json import BodyError
from vaegis.service.records.stream.blocks import BLOCK_BYTES
from vaegis.service.records.stream.zstd import ZstdError, decompressor

_GZIP: Final = 31  # zlib's word for a window of 32 KiB in gzip's wrapping


class Unpacker(Protocol):
    """Unpacks a body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next part of the packed body, and yield pieces of the unpacked one."""

    def end(self) -> None:
        """Pass if the body has come to its end."""


class NoUnpacker:
    """Passes a body on that is not packed."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield it in pieces."""
        for start in range(0, len(data), BLOCK_BYTES):
            yield data[start : start + BLOCK_BYTES]

    def end(self) -> None:
        """Pass."""


class GzipUnpacker:
    """Unpacks gzip (RFC 1952), of one member or several."""

    def __init__(self) -> None:
        """Begin."""
        self._member = zlib.decompressobj(_GZIP)
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next part of the packed body, and yield pieces of the unpacked one.

        Raises:
            BodyError: it is no gzip.
        """
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._has_begun = True
            try:
                piece = self._member.decompress(data, BLOCK_BYTES)
            except zlib.error:
                raise _unpackable("gzip") from None
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece

    def end(self) -> None:
        """Pass if the last member has ended.

        Raises:
            BodyError: it has not.
        """
        if self._has_begun and not self._member.eof:
            raise _unpackable("gzip")


class ZstdUnpacker:
    """Unpacks Zstandard (RFC 8878), of one frame or several, each with a window of at most 8 MiB."""

    def __init__(self) -> None:
        """Begin."""
        self._frame = decompressor()
        self._has_begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next part of the packed body, and yield pieces of the unpacked one.

        Raises:
            BodyError: it is no Zstandard, or needs a larger window.
        """
        while data or (self._has_begun and not self._frame.needs_input and not self._frame.eof):
            if self._frame.eof:
                self._frame = decompressor()
            self._has_begun = True
            try:
                piece = self._frame.decompress(data, BLOCK_BYTES)
            except ZstdError:
                raise _unpackable("zstd") from None
            data = self._frame.unused_data if self._frame.eof else b""
            if piece:
                yield piece

    def end(self) -> None:
        """Pass if the last frame has ended.

        Raises:
            BodyError: it has not.
        """
        if self._has_begun and not self._frame.eof:
            raise _unpackable("zstd")


UNPACKERS: Final[Mapping[str, Callable[[], Unpacker]]] = {
    "identity": NoUnpacker,
    "gzip": GzipUnpacker,
    "zstd": ZstdUnpacker,
}
"""What unpacks each content coding."""


def _unpackable(name: str) -> BodyError:
    return BodyError("invalid_encoding", f"body: expected whole {name} data as Content-Encoding says, got others")

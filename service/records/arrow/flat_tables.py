"""Tables of FlatBuffers read without a library, with every offset checked to lie inside the bytes.

The format: https://flatbuffers.dev/internals. A table begins with how far before it its vtable lies; the vtable holds
where in the table each field is, by number, 0 where it has its default.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

_INT16: Final = struct.Struct("<H")
_INT32: Final = struct.Struct("<i")
_OFFSET: Final = struct.Struct("<I")
_VTABLE_HEAD: Final = 4  # bytes: its own size and the table's
_OFFSET_BYTES: Final = 4
_INT64_BYTES: Final = 8


class FlatTableError(ValueError):
    """Bytes that are no table, or end within one."""


class FlatTable:
    """One table; fields are named by their numbers in its schema."""

    __slots__ = ("_at", "_data", "_vtable", "_vtable_bytes")

    def __init__(self, data: bytes, at: int) -> None:
        """Read the table that begins at ``at``."""
        self._data = data
        self._at = at
        self._vtable = at - self._unpack(_INT32, at)
        self._vtable_bytes = self._unpack(_INT16, self._vtable)

    @classmethod
    def root(cls, data: bytes) -> FlatTable:
        """Return the table that ``data`` is about."""
        (at,) = _checked(_OFFSET, data, 0)
        return cls(data, at)

    def number(self, field: int, form: str, default: int) -> int:
        """Return a number, whose form is one of `struct`."""
        at = self._place(field)
        return self._unpack(struct.Struct("<" + form), at) if at else default

    def text(self, field: int, take: Callable[[int], None]) -> str:
        """Return a string; empty if there is none.

        Args:
            field: Its number.
            take: Told its bytes before they are copied, because many fields may point to one string; may raise.
        """
        at = self._target(field)
        if not at:
            return ""
        start = at + _OFFSET_BYTES
        end = start + self._unpack(_OFFSET, at)
        if end > len(self._data):
            raise FlatTableError("expected a complete string, got its beginning")
        take(end - start)
        try:
            return self._data[start:end].decode()
        except UnicodeDecodeError:
            raise FlatTableError("expected UTF-8, got other bytes") from None

    def table(self, field: int) -> FlatTable | None:
        """Return a table within this one."""
        at = self._target(field)
        return FlatTable(self._data, at) if at else None

    def tables(self, field: int) -> Iterator[FlatTable]:
        """Yield a vector of tables."""
        at, count = self._vector(field, _OFFSET_BYTES)
        for place in range(at, at + count * _OFFSET_BYTES, _OFFSET_BYTES):
            yield FlatTable(self._data, place + self._unpack(_OFFSET, place))

    def structs(self, field: int, width: int) -> NDArray[np.int64]:
        """Return a vector of plain structs of ``width`` 64-bit integers, shape (n, width), without a copy."""
        at, count = self._vector(field, width * _INT64_BYTES)
        return np.frombuffer(self._data, dtype="<i8", count=count * width, offset=at).reshape(count, width)

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        """Return where a vector's first item is, and how many there are."""
        at = self._target(field)
        if not at:
            return 0, 0
        count = self._unpack(_OFFSET, at)
        if at + _OFFSET_BYTES + count * width > len(self._data):
            raise FlatTableError("expected a complete vector, got its beginning")
        return at + _OFFSET_BYTES, count

    def _place(self, field: int) -> int:
        """Return where a field is, 0 if it has its default."""
        entry = _VTABLE_HEAD + 2 * field
        if entry + 2 > self._vtable_bytes:
            return 0
        offset = self._unpack(_INT16, self._vtable + entry)
        return self._at + offset if offset else 0

    def _target(self, field: int) -> int:
        """Return what a field points to, 0 if to nothing."""
        at = self._place(field)
        return at + self._unpack(_OFFSET, at) if at else 0

    def _unpack(self, form: struct.Struct, at: int) -> int:
        (value,) = _checked(form, self._data, at)
        return int(value)


def _checked(form: struct.Struct, data: bytes, at: int) -> tuple[int, ...]:
    if not 0 <= at <= len(data) - form.size:
        raise FlatTableError("expected an offset inside the bytes, got one outside")
    return form.unpack_from(data, at)

"""FlatBuffers written without a library: what `records.arrow.flat_tables` reads, and Arrow's own readers.

Everything that a table points to follows it, so that all offsets are positive, and is aligned as its type asks.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

_OFFSET_BYTES = 4
_VTABLE_HEAD = 4


@dataclass(frozen=True, slots=True)
class Number:
    """A number, whose form is one of `struct`."""

    form: str
    value: float


@dataclass(frozen=True, slots=True)
class Structs:
    """A vector of plain structs of eight-byte integers, all numbers one after the other."""

    width: int
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its fields by their numbers; those left out have their defaults."""

    fields: Mapping[int, Item]


Item: TypeAlias = Number | Structs | Table | str | Sequence[Table]
"""A field of a table."""


def flat(root: Table) -> bytes:
    """Return the bytes of a table and all that it holds."""
    out = bytearray(_OFFSET_BYTES)
    struct.pack_into("<I", out, 0, _put_table(out, root))
    return bytes(out)


def _put(out: bytearray, item: Item) -> int:
    """Append what a field points to, and return where it is."""
    if isinstance(item, Table):
        return _put_table(out, item)
    if isinstance(item, str):
        data = item.encode()
        _pad(out, _OFFSET_BYTES)
        at = len(out)
        out += struct.pack("<I", len(data)) + data + b"\0"
        return at
    if isinstance(item, Structs):
        _pad(out, 8, ahead=_OFFSET_BYTES)
        at = len(out)
        out += struct.pack(f"<I{len(item.numbers)}q", len(item.numbers) // item.width, *item.numbers)
        return at
    if isinstance(item, Number):
        raise TypeError("expected what is pointed to, got a number, which stands in the table itself")
    _pad(out, _OFFSET_BYTES)
    at = len(out)
    out += struct.pack("<I", len(item)) + bytes(_OFFSET_BYTES * len(item))
    for index, table in enumerate(item):
        place = at + _OFFSET_BYTES * (1 + index)
        struct.pack_into("<I", out, place, _put_table(out, table) - place)
    return at


def _put_table(out: bytearray, table: Table) -> int:
    slots = 1 + max(table.fields, default=-1)
    vtable_bytes = _VTABLE_HEAD + 2 * slots
    _pad(out, 8, ahead=vtable_bytes)
    start = len(out)
    at = start + vtable_bytes
    places: dict[int, int] = {}
    end = _OFFSET_BYTES
    for slot, item in sorted(table.fields.items(), key=lambda field: _size(field[1]), reverse=True):
        size = _size(item)
        end += -end % size
        places[slot] = end
        end += size
    out += struct.pack(f"<{2 + slots}H", vtable_bytes, end, *(places.get(slot, 0) for slot in range(slots)))
    out += struct.pack("<i", at - start) + bytes(end - _OFFSET_BYTES)
    for slot, item in table.fields.items():
        place = at + places[slot]
        if isinstance(item, Number):
            struct.pack_into("<" + item.form, out, place, item.value)
        else:
            struct.pack_into("<I", out, place, _put(out, item) - place)
    return at


def _size(item: Item) -> int:
    return struct.calcsize(item.form) if isinstance(item, Number) else _OFFSET_BYTES


def _pad(out: bytearray, alignment: int, ahead: int = 0) -> None:
    """Append zeros until what comes ``ahead`` bytes further on is aligned."""
    out += bytes(-(len(out) + ahead) % alignment)

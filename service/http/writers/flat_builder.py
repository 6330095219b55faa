"""FlatBuffers from plain data, by the library that onnxruntime brings along."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from flatbuffers import Builder

_PREPENDS: Final = {
    "?": Builder.PrependBoolSlot,
    "B": Builder.PrependUint8Slot,
    "h": Builder.PrependInt16Slot,
    "i": Builder.PrependInt32Slot,
    "q": Builder.PrependInt64Slot,
}
_FIRST_BYTES: Final = 1024
_INTEGER_BYTES: Final = 8
_OFFSET_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Number:
    """A number, whose form is one of `struct`."""

    form: str
    value: int


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
    builder = Builder(_FIRST_BYTES)
    builder.ForceDefaults(True)  # noqa: FBT003 - the library's signature
    builder.Finish(_put(builder, root))
    return bytes(builder.Output())


def _put(builder: Builder, item: Structs | Table | str | Sequence[Table]) -> int:
    """Write what a field refers to, and return where it is."""
    if isinstance(item, str):
        return int(builder.CreateString(item))
    if isinstance(item, Table):
        places = {slot: _put(builder, field) for slot, field in item.fields.items() if not isinstance(field, Number)}
        builder.StartObject(1 + max(item.fields, default=-1))
        for slot, field in item.fields.items():
            if isinstance(field, Number):
                _PREPENDS[field.form](builder, slot, field.value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(slot, places[slot], 0)
        return int(builder.EndObject())
    if isinstance(item, Structs):
        # The library writes numbers one by one, or vectors whose length is the number of numbers.
        packed = struct.pack(f"<{len(item.numbers)}q", *item.numbers)
        builder.StartVector(_INTEGER_BYTES * item.width, len(item.numbers) // item.width, _INTEGER_BYTES)
        builder.head -= len(packed)
        builder.Bytes[builder.head : builder.head + len(packed)] = packed
        return int(builder.EndVector())
    tables = [_put(builder, table) for table in item]
    builder.StartVector(_OFFSET_BYTES, len(tables), _OFFSET_BYTES)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())

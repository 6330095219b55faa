"""Find the buffers of each column in an Arrow record batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.arrow.flat_tables import FlatTable
from vaegis.service.records.arrow.types import ArrowField, ArrowType, arrow_error
from vaegis.service.records.decompression import UnpackedBytes, unpacked_lz4, unpacked_zstd

_Unpack: TypeAlias = Callable[[memoryview, int], bytes]
_CODECS: Final[Mapping[int, tuple[str, _Unpack]]] = {0: ("LZ4", unpacked_lz4), 1: ("ZSTD", unpacked_zstd)}
"""Names and functions of `CompressionType` in Arrow's Message.fbs, by number."""
_LENGTH_BYTES: Final = 8
_NOT_COMPRESSED: Final = -1
_MOST_VIEW_BUFFERS: Final = 1 << 20
_RECORDS_WITHOUT_BYTES: Final = 65_536
"""Records that are null throughout take no bytes; there may be so many in a batch."""


class Buffers:
    """The buffers of one message. One that is compressed is decompressed when it is asked for."""

    def __init__(self, body: bytes, extents: NDArray[np.int64], unpacked: UnpackedBytes, codec: int | None) -> None:
        """Find buffers in ``body`` at ``extents``, each an offset and a length.

        Args:
            body: The message's body.
            extents: Shape (n, 2).
            unpacked: Counts the decompressed bytes.
            codec: Number of the compression; None if no buffer is compressed.
        """
        self._body = memoryview(body)
        self._extents = extents
        self._unpacked = unpacked
        self._codec = None if codec is None else _CODECS.get(codec)
        if codec is not None and self._codec is None:
            raise arrow_error("buffers that are not compressed, or by LZ4 or ZSTD, got an unknown compression")
        self._decompressed: dict[int, memoryview] = {}

    def __getitem__(self, at: int) -> memoryview:
        if at >= len(self._extents):
            raise arrow_error("a buffer for every column, got fewer")
        start, length = self._extents[at].tolist()
        if start < 0 or length < 0 or start + length > len(self._body):
            raise arrow_error("buffers inside the message, got one outside")
        held = self._body[start : start + length]
        if self._codec is None or not length:
            return held
        if at not in self._decompressed:
            self._decompressed[at] = self._decompress(held, *self._codec)
        return self._decompressed[at]

    def _decompress(self, held: memoryview, name: str, unpack: _Unpack) -> memoryview:
        length = int.from_bytes(held[:_LENGTH_BYTES], "little", signed=True)
        if length == _NOT_COMPRESSED:
            return held[_LENGTH_BYTES:]
        if length < 0:
            raise arrow_error("compressed buffers of the length that they state, got a negative length")
        self._unpacked.count(length)
        try:
            found = unpack(held[_LENGTH_BYTES:], length)
        except ValueError:
            raise arrow_error(f"buffers that {name} can decompress, got others") from None
        if len(found) != length:
            raise arrow_error("compressed buffers of the length that they state, got another")
        return memoryview(found)


@dataclass(frozen=True, slots=True)
class ArrowArray:
    """One column, or part of one, of a batch.

    Attributes:
        field: Its field of the schema.
        layout: Type of what its buffers hold: its own, or that of positions in a dictionary.
        length: Number of its values.
        nulls: Number of its nulls, negative if it is not known.
        children: Its parts.
        buffers: Number of its buffers.
    """

    field: ArrowField
    layout: ArrowType
    length: int
    nulls: int
    children: tuple[ArrowArray, ...]
    buffers: int
    _all: Buffers
    _first: int

    def buffer(self, at: int) -> memoryview:
        """Return one of its buffers, by number."""
        if at >= self.buffers:
            raise arrow_error("the buffers of its type for every column, got fewer")
        return self._all[self._first + at]

    def fixed(self, at: int, form: str, start: int, stop: int) -> NDArray[Any]:
        """Return items ``start`` to ``stop`` of a buffer whose items are all of the type ``form``."""
        kind = np.dtype(form)
        held = self.buffer(at)
        if len(held) < stop * kind.itemsize:
            raise arrow_error("buffers as long as their columns, got a shorter one")
        return np.frombuffer(held, dtype=kind, count=stop - start, offset=start * kind.itemsize)

    def bits(self, at: int, start: int, stop: int) -> NDArray[np.bool_]:
        """Return bits ``start`` to ``stop`` of a buffer."""
        octets = self.fixed(at, "u1", start // 8, (stop + 7) // 8)
        first = start % 8
        return np.unpackbits(octets, bitorder="little")[first : first + stop - start].astype(np.bool_)

    def valid(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """Return which of its values ``start`` to ``stop`` are no nulls; None if all are."""
        if self.nulls == 0 or self.layout.buffers == 0 or not len(self.buffer(0)):
            return None
        return self.bits(0, start, stop)


def read_batch(
    batch: FlatTable, fields: Sequence[ArrowField], body: bytes, unpacked: UnpackedBytes, *, as_values: bool = False
) -> tuple[int, list[ArrowArray]]:
    """Return the number of records in a batch, and its columns.

    Args:
        batch: The table `RecordBatch`.
        fields: The columns of the schema.
        body: The message's body.
        unpacked: Told the bytes of buffers that are decompressed, and of records that may take none.
        as_values: Whether the batch holds the values of a dictionary, rather than positions in one.

    Raises:
        BodyError: The message contradicts itself, or is compressed in a way that is not read here.
        FlatTableError: The table is none.
        BodyTooLargeError: It has more records than ``unpacked`` allows bits.
    """
    length = batch.number(0, "q", 0)
    compression = batch.table(3)
    codec = None if compression is None else int(compression.number(0, "b", 0))
    buffers = Buffers(body, batch.structs(2, 2), unpacked, codec)
    reader = _Reader(batch.structs(1, 2), batch.structs(4, 1), buffers)
    arrays = [reader.array(field, as_values=as_values) for field in fields]
    if length > _RECORDS_WITHOUT_BYTES + 8 * len(body):  # a truth value takes a bit
        if compression is None:
            raise arrow_error("no more records than fit the message, got more")
        unpacked.count(length // 8)
    if length < 0 or any(array.length != length for array in arrays):
        raise arrow_error("as many values as records in every column, got another number")
    return length, arrays


class _Reader:
    """Hands out the nodes and buffers of a batch in the order of its fields, depth first."""

    def __init__(self, nodes: NDArray[np.int64], views: NDArray[np.int64], buffers: Buffers) -> None:
        self._nodes = iter(nodes)
        self._views = iter(views)
        self._buffers = buffers
        self._next = 0

    def array(self, field: ArrowField, *, as_values: bool = False) -> ArrowArray:
        node = next(self._nodes, None)
        if node is None or node[0] < 0:
            raise arrow_error("a length for every column, got none")
        length, nulls = node.tolist()
        is_index = field.dictionary is not None and not as_values
        layout = field.index if is_index else field.type
        count = layout.buffers
        if layout.is_variadic:
            further = next(self._views, None)
            if further is None or not 0 <= further[0] <= _MOST_VIEW_BUFFERS:
                raise arrow_error("the number of buffers of every view, got none")
            count += int(further[0])
        first = self._next
        self._next += count
        children = () if is_index else tuple(self.array(child) for child in field.children)
        return ArrowArray(field, layout, length, nulls, children, count, self._buffers, first)

"""Decode Arrow IPC streams as they arrive, batch by batch, without an Arrow library."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from vaegis.service.contract import Column, Schema
from vaegis.service.records.arrow.flat_tables import FlatTableError
from vaegis.service.records.arrow.messages import Message, MessageBuffer, MessageType
from vaegis.service.records.arrow.record_batches import ArrowArray, read_batch
from vaegis.service.records.arrow.types import ArrowField, ArrowKind, TextBudget, arrow_error, read_schema
from vaegis.service.records.arrow.values import ArrowValues, cells_of, stacked_values, values_of
from vaegis.service.records.blocks import BLOCK_RECORDS, BLOCK_VALUES, Block, RecordLimits, TooMuchHeldError, block_of
from vaegis.service.records.cells import Cells, columns_of_cells
from vaegis.service.records.column_names import Parents, accepted_names, positions_of
from vaegis.service.records.decompression import UnpackedBytes
from vaegis.service.records.faults import Faults, Report
from vaegis.service.records.kinds import kind_of

_ROUND_RECORDS: Final = 256  # what the graph scores at a time
_LEAST_COUNTED: Final = 100  # values that each message of a dictionary counts as, so that there are not too many

_Found: TypeAlias = tuple[ArrowArray, Sequence[ArrowArray]]
"""A column of a batch, and the objects that hold it, the outermost first."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A column that may be scored: its full name, its positions from the schema downwards, and its field."""

    name: str
    path: tuple[int, ...]
    field: ArrowField


@dataclass(slots=True)
class _Dictionary:
    """The values of a dictionary, which may come in many messages.

    Attributes:
        parts: The values of each message since they were last put together.
        counted: Values, of each message `_LEAST_COUNTED` at least.
        text_bytes: Bytes of all texts.
        held_bytes: About what the values take in memory.
    """

    parts: list[ArrowValues]
    counted: int = 0
    text_bytes: int = 0
    held_bytes: int = 0

    def extend(self, values: ArrowValues) -> None:
        """Add the values of another message. They are put together when they are looked up, not at each message."""
        self.parts.append(values)
        self.counted += max(len(values), _LEAST_COUNTED)
        self.text_bytes += values.text_bytes()
        self.held_bytes += values.held_bytes()

    def values(self) -> ArrowValues:
        """Return all values."""
        self.parts = [stacked_values(self.parts)]
        return self.parts[0]


class ArrowDecoder:
    """Decodes record batches. Objects within records flatten with dots, and dictionaries are looked up."""

    def __init__(self, schema: Schema, limits: RecordLimits, unpacked: UnpackedBytes) -> None:
        """Decode records of ``schema``. ``unpacked`` counts the bytes of compressed buffers."""
        self._schema = schema
        self._limits = limits
        self._unpacked = unpacked
        self._messages = MessageBuffer(limits.max_held_bytes)
        self._fields: tuple[ArrowField, ...] | None = None
        self._leaves: Sequence[_Leaf] = ()
        self._dictionaries: dict[int, _Dictionary] = {}
        self._rows = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the body that are held, and about what dictionaries take."""
        return len(self._messages) + sum(each.held_bytes for each in self._dictionaries.values())

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next part of the body, and yield the records of the batches that it completes.

        Raises:
            BodyError: it is no Arrow stream, or has what is not read here.
            RecordError: the schema does not fit the model's.
            TooMuchHeldError: a message, or what it refers to, is larger than allowed.
            BodyTooLargeError: its buffers hold more than allowed when decompressed.
        """
        self._messages.feed(data)
        try:
            while (message := self._messages.next_message()) is not None:
                yield from self._read(message)
        except FlatTableError as error:
            raise arrow_error(f"metadata that is whole, got other bytes: {error}") from None

    def finish(self) -> Iterator[Block]:
        """Take note of the body's end.

        Raises:
            BodyError: it came within a message, or before the schema.
        """
        self._messages.require_end()
        if self._fields is None:
            raise arrow_error("a schema and record batches, got nothing")
        return iter(())

    def _read(self, message: Message) -> Iterator[Block]:
        if (message.header is MessageType.SCHEMA) != (self._fields is None):
            raise arrow_error("one schema at the beginning, got none or another")
        if self._fields is None:
            limits = self._limits
            names = TextBudget(limits.max_held_bytes, "names of columns")
            self._fields = read_schema(
                message.table, max_columns=limits.max_columns, max_depth=limits.max_depth, names=names
            )
            self._leaves = self._scored_leaves(self._fields, names)
        elif message.header is MessageType.DICTIONARY_BATCH:
            self._read_dictionary(message)
        else:
            yield from self._read_records(message, self._fields)

    def _scored_leaves(self, fields: Sequence[ArrowField], budget: TextBudget) -> list[_Leaf]:
        """Return the columns that are scored, once all names are known to fit the model's."""
        known = accepted_names(self._schema)
        parents = Parents(known)
        leaves = [
            leaf
            for leaf in _leaves(fields, known, budget)
            # An object that is null in all records of a table may come without the names in it.
            if not (leaf.field.type.kind is ArrowKind.NULL and leaf.name in parents and leaf.name not in known)
        ]
        names = [leaf.name for leaf in leaves]
        positions = positions_of(names, self._schema, self._limits.unknown_columns, self._limits.max_faults)
        return [leaves[position] for position in positions.values()]

    def _read_dictionary(self, message: Message) -> None:
        number, batch = message.table.number(0, "q", 0), message.table.table(1)
        field = next((leaf.field for leaf in self._leaves if leaf.field.dictionary == number), None)
        if field is None:
            return  # of a column that is not scored
        if batch is None:
            raise arrow_error("the values of every dictionary, got none")
        length, (array,) = read_batch(batch, [field], message.body, self._unpacked, as_values=True)
        if not message.table.number(2, "?", 0):
            self._dictionaries.pop(number, None)  # replaced, not added to
        kept = self._dictionaries.values()
        if sum(each.counted for each in kept) + max(length, _LEAST_COUNTED) > self._limits.max_values:
            raise TooMuchHeldError(f"body: expected at most {self._limits.max_values} values in dictionaries, got more")
        budget = TextBudget(self._limits.max_held_bytes, "dictionaries")
        budget.spend(sum(each.text_bytes for each in kept))
        self._dictionaries.setdefault(number, _Dictionary([])).extend(values_of(array, 0, length, budget))

    def _read_records(self, message: Message, fields: Sequence[ArrowField]) -> Iterator[Block]:
        length, arrays = read_batch(message.table, fields, message.body, self._unpacked)
        found = {leaf.name: _found(arrays, leaf.path) for leaf in self._leaves}
        most = min(BLOCK_RECORDS, max(1, BLOCK_VALUES // max(1, len(found)) // _ROUND_RECORDS) * _ROUND_RECORDS)
        for start in range(0, length, most):
            block = self._block(found, start, min(start + most, length))
            yield block
            self._rows += block.records

    def _block(self, found: Mapping[str, _Found], start: int, stop: int) -> Block:
        """Return records ``start`` to ``stop`` of a batch."""
        faults = Faults(self._limits.max_faults, self._rows)
        budget = TextBudget(self._limits.max_held_bytes, f"text in {stop - start} records")

        def of_column(column: Column, report: Report) -> Cells | None:
            if column.name not in found:
                return None
            array, parents = found[column.name]
            values = self._values(array, start, stop, budget)
            for parent in parents:
                values = values.within(parent.valid(start, stop))
            return cells_of(values, kind_of(column), report)

        with np.errstate(invalid="ignore"):  # some of the many forms of NaN
            return block_of(columns_of_cells(self._schema, of_column, stop - start, faults), faults, self._rows)

    def _values(self, array: ArrowArray, start: int, stop: int, budget: TextBudget) -> ArrowValues:
        number = array.field.dictionary
        if number is None:
            return values_of(array, start, stop, budget)
        dictionary = self._dictionaries.get(number)
        if dictionary is None:
            raise arrow_error("dictionaries before the records that refer to them, got none")
        positions = values_of(array, start, stop, budget)
        return dictionary.values().look_up(positions.values, positions.valid, budget)


def _leaves(fields: Sequence[ArrowField], known: Collection[str], budget: TextBudget) -> Iterator[_Leaf]:
    """Yield what stands under every name, objects opened unless they have a name that is known.

    Many names may begin with that of one object: ``budget`` bounds all of them.
    """
    for position, field in enumerate(fields):
        if field.type.kind is ArrowKind.STRUCT and field.dictionary is None and field.name not in known:
            beneath = {name.removeprefix(f"{field.name}.") for name in known if name.startswith(f"{field.name}.")}
            for leaf in _leaves(field.children, beneath, budget):
                budget.spend(len(field.name) + 1 + len(leaf.name))
                yield _Leaf(f"{field.name}.{leaf.name}", (position, *leaf.path), leaf.field)
        else:
            yield _Leaf(field.name, (position,), field)


def _found(arrays: Sequence[ArrowArray], path: Sequence[int]) -> _Found:
    """Return the array at a path, and those of the objects that hold it."""
    parents: list[ArrowArray] = []
    array = arrays[path[0]]
    for position in path[1:]:
        parents.append(array)
        if array.children[position].length != array.length:
            raise arrow_error("as many values as records in every column, got another number")
        array = array.children[position]
    return array, parents

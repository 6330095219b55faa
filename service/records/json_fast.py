"""JSON bodies decoded the fast way: part by part, straight into types made from the schema.

What comes out is what `records.json` makes of the same body, or nothing: bodies at fault, and sound ones that
are out of the ordinary, are left to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import GenericAlias
from typing import Any, Final

import msgspec
import numpy as np

from vaegis.service.columns import Columns, stacked
from vaegis.service.contract import Schema
from vaegis.service.records.blocks import BLOCK_BYTES
from vaegis.service.records.cells import columns_of_cells
from vaegis.service.records.faults import Faults
from vaegis.service.records.json import VALUE_MARKS, count_marks
from vaegis.service.records.json_types import SCALAR, UNSET, RecordType, UnfitError, node, record_types
from vaegis.service.records.kinds import kind_of

PART_BYTES: Final = BLOCK_BYTES
"""A list is decoded in parts of about this size, so that no call keeps other threads waiting for long."""

_MOST_CUTS: Final = 16  # places tried as the end of a part
_BETWEEN_CUTS: Final = 4096  # bytes
_SHORT: Final = 4096  # bytes; up to here the methods of bytes are faster than numpy
_SPACE: Final = b" \t\r\n"
_SPACE_AND_COLON: Final = (b" :", b"\t:", b"\r:", b"\n:")
_COLON, _QUOTE = b':"'
_END_OF_OBJECT: Final = re.compile(rb"\}[ \t\r\n]*,")


class TypedJson:
    """Decodes records of one schema. It may be called from several threads."""

    def __init__(self, schema: Schema, *, max_depth: int, max_values: int, max_records: int) -> None:
        """Make the types that records are decoded into.

        Args:
            schema: The columns to fill.
            max_depth: Levels of arrays and objects within each other, at least 2.
            max_values: Commas and opening brackets in a body.
            max_records: Records in a body.
        """
        self._max_values = max_values
        # In a list, records are one level further down.
        readers = [_RecordReader(form, max_records) for form in record_types(schema, max_depth - 1)]
        self._listed, self._lines = [each.listed for each in readers], [each.lines for each in readers]
        self._one: list[Callable[[bytes], Columns]] = [each.one for each in readers]
        with suppress(ValueError):  # a name has characters that JSON escapes
            self._one.append(_ListsReader(schema, max_records).columns)

    def columns(self, body: bytes, between: Callable[[], None]) -> Columns | None:
        """Return the records of a body by column; None if it has to be read by `vaegis.service.records.json`.

        Args:
            body: One record, a list of them, or an object that holds a list of values for each column.
            between: Called between parts of the work; what it raises ends the work.
        """
        if len(body) > self._max_values and count_marks(body, VALUE_MARKS) > self._max_values:
            return None
        if body.lstrip(_SPACE).startswith(b"["):
            return _first(self._listed, body, between)
        return _first(self._one, body)

    def lines(self, text: bytes, records: int) -> Columns | None:
        """Return the records of lines by column; None if one has to be read by `vaegis.service.records.json`.

        Args:
            text: JSON, one record a line; blank lines are skipped.
            records: How many lines are not blank.
        """
        if count_marks(text, VALUE_MARKS) > self._max_values:
            return None
        return _first(self._lines, text, records)


def _first(ways: Iterable[Callable[..., Columns]], *given: Any) -> Columns | None:  # noqa: ANN401 - by the way
    """Return what the first way returns that can read what is given; None if none can."""
    for way in ways:
        try:
            return way(*given)
        except (UnfitError, msgspec.DecodeError, UnicodeDecodeError):
            continue
    return None


class _RecordReader:
    """Reads the records of one form."""

    def __init__(self, form: RecordType, max_records: int) -> None:
        self._form = form
        self._one = msgspec.json.Decoder(form.type)
        self._many = msgspec.json.Decoder(list[form.type])  # type: ignore[name-defined]
        self._max_records = max_records

    def one(self, text: bytes) -> Columns:
        """Return one record by column."""
        return self._columns([self._one.decode(text)], text)

    def lines(self, text: bytes, lines: int) -> Columns:
        """Return records, one a line, by column."""
        if count_marks(text, b"{") > lines * self._form.objects:
            raise UnfitError
        records = self._one.decode_lines(text)
        if len(records) != lines:
            raise UnfitError  # msgspec accepts a record that continues on the next line
        return self._columns(records, text)

    def listed(self, body: bytes, between: Callable[[], None]) -> Columns:
        """Return a list of records by column, read part by part, with a call of ``between`` after each."""
        parts: list[Columns] = []
        for part in self._parts(body):
            parts.append(part)
            if sum(map(len, parts)) > self._max_records:
                raise UnfitError
            between()
        return stacked(parts)

    def _many_records(self, text: bytes) -> Columns:
        """Return a list of records by column."""
        # A record may take a hundred times the memory of its text.
        if count_marks(text, b"{") > self._max_records * self._form.objects:
            raise UnfitError
        records = self._many.decode(text)
        if not records:
            raise UnfitError
        return self._columns(records, text)

    def _columns(self, records: Sequence[msgspec.Struct], text: bytes) -> Columns:
        columns, keys = self._form.columns(records)
        if not has_keys(text, keys):
            raise UnfitError
        return columns

    def _parts(self, body: bytes) -> Iterator[Columns]:
        """Yield the records of a list, part by part.

        JSON is read from left to right: what is a list of whole objects from the start of one on, is that whatever
        may follow. So a place that looks like the end of an object is one if the text up to there can be read.
        """
        if len(body) <= 2 * PART_BYTES:
            yield self._many_records(body)
            return
        start = body.index(b"[") + 1
        while len(body) - start > 2 * PART_BYTES and (found := self._part(body, start)):
            yield found[0]
            start = found[1]
        yield self._many_records(b"[" + body[start:])

    def _part(self, body: bytes, start: int) -> tuple[Columns, int] | None:
        """Return the records of a part and where the next one starts; None if the rest of the body is one part."""
        at = start + PART_BYTES
        for _ in range(_MOST_CUTS):
            end = _END_OF_OBJECT.search(body, at)
            if end is None:
                return None
            try:
                return self._many_records(b"[" + body[start : end.start() + 1] + b"]"), end.end()
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:
                at = end.end() + _BETWEEN_CUTS  # the place was within text, or within a record
        raise UnfitError


class _ListsReader:
    """Reads an object that holds a list of values for each column."""

    def __init__(self, schema: Schema, max_records: int) -> None:
        """Make the type of such an object.

        Raises:
            ValueError: A name has characters that JSON escapes.
        """
        self._schema = schema
        self._max_records = max_records
        types = [(column.name, GenericAlias(list, kind_of(column).json_type)) for column in schema.columns]
        types += [(column.name, GenericAlias(list, SCALAR)) for column in schema.ignored]
        self._names = [name for name, _ in types]
        made = node([([name], at, kind, UNSET) for at, (name, kind) in enumerate(types)])
        self._decoder = msgspec.json.Decoder(made.type)

    def columns(self, body: bytes) -> Columns:
        """Return the records of an object by column."""
        values = zip(self._names, msgspec.structs.astuple(self._decoder.decode(body)), strict=True)
        lists = {name: of_column for name, of_column in values if of_column is not UNSET}
        lengths = {*map(len, lists.values())}
        if len(lengths) != 1 or not 0 < max(lengths) <= self._max_records or not {*self._schema.names} & {*lists}:
            raise UnfitError
        faults = Faults(1)
        columns = columns_of_cells(self._schema, lambda column, _: lists.get(column.name), max(lengths), faults)
        if faults.by_row() or not has_keys(body, len(lists)):
            raise UnfitError
        return columns


def has_keys(text: bytes, keys: int) -> bool:
    """Return whether the objects of ``text`` hold exactly ``keys`` keys; False also where that is not certain.

    msgspec keeps the last of two equal keys. Then the text holds more keys than fields were set.

    Each key is followed by a colon. So the numbers agree if there are as many colons, or if as many colons follow a
    quote and none follows white space. Colons within text can make both counts larger.

    Args:
        text: Valid JSON.
        keys: Number of fields that were set.
    """
    colons = text.count(b":") if len(text) <= _SHORT else count_marks(text, b":")
    return colons == keys or _count_after_quotes(text) == keys


def _count_after_quotes(text: bytes) -> int:
    """Return how many colons follow a quote; -1 if there is one after white space."""
    if len(text) <= _SHORT:
        for pair in _SPACE_AND_COLON:
            if pair in text:
                return -1
        return text.count(b'":')
    marks = np.frombuffer(text, dtype=np.uint8)
    before = marks[np.flatnonzero(marks == _COLON) - 1]
    return -1 if np.isin(before, np.frombuffer(_SPACE, dtype=np.uint8)).any() else int((before == _QUOTE).sum())

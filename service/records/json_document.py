"""JSON bodies decoded as a whole: one record, a list of records, or an object that holds a list for each column."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Final

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.blocks import (
    Block,
    NoRecordsError,
    RecordLimits,
    TooManyRecordsError,
    block_of,
    body_too_large,
)
from vaegis.service.records.byte_order_marks import without_mark
from vaegis.service.records.faults import Faults, OnInvalid, in_request
from vaegis.service.records.json import parse_records, require_few_values
from vaegis.service.records.json_fast import TypedJson
from vaegis.service.records.python_records import blank_record, filled_columns, filled_from_lists, is_by_column
from vaegis.service.records.unwrapping import EventUnwrapper, Unwrapper

_SPLIT: Final = frozenset(("columns", "index", "data"))
_TABLE: Final = frozenset(("schema", "data"))
_FRAME: Final = (
    'expected records, got a data frame as pandas\' to_json() writes it with orient="{orient}"; '
    'write it with orient="records"'
)


class JsonDocuments:
    """Decodes JSON documents of one schema. Thread-safe."""

    def __init__(self, schema: Schema, limits: RecordLimits, unwrapper: Unwrapper | None = None) -> None:
        """Make the types that records of ``schema`` are decoded into; ``unwrapper`` takes them out of envelopes."""
        self.unwrapper = unwrapper
        self._location = in_request if unwrapper is None else unwrapper.location
        self._schema = schema
        self._limits = limits
        self.typed = TypedJson(
            schema, max_depth=limits.max_depth, max_values=limits.max_values, max_records=limits.max_records
        )

    def decode(self, body: bytes, on_invalid: OnInvalid, check: Callable[[], None]) -> Block:
        """Return the records of a document.

        Args:
            body: The document.
            on_invalid: Whether a faulty record rejects all, or is reported in its place.
            check: Called between parts of the work; what it raises ends the work.

        Raises:
            BodyError: the body is not well-formed JSON.
            TooManyValuesError: it holds more values than allowed.
            TooManyRecordsError: it holds more records than allowed.
            NoRecordsError: it is an empty list.
            RecordError: a record does not fit the schema, and rejects all.
        """
        body = without_mark(body)
        if self.unwrapper is None:
            return self._decoded(body, on_invalid, check)
        block = self._decoded(self.unwrapper.document(body), on_invalid, check)
        if isinstance(self.unwrapper, EventUnwrapper):
            return replace(block, event_ids=self.unwrapper.ids(body))
        return block

    def _decoded(self, body: bytes, on_invalid: OnInvalid, check: Callable[[], None]) -> Block:
        columns = self.typed.columns(body, check)
        if columns is not None:
            return Block(0, len(columns), columns, {})
        faults = Faults(self._limits.max_faults, location=self._location)
        columns = self._columns_exactly(body, faults)
        if on_invalid is OnInvalid.REJECT:
            faults.raise_any()
        return block_of(columns, faults, 0)

    def _columns_exactly(self, body: bytes, faults: Faults) -> Columns:
        """Return the records of a document that no type fits, by the parser that finds what is wrong with it."""
        limits, schema = self._limits, self._schema
        require_few_values(body, limits.max_values)
        records = parse_records(body, max_depth=limits.max_depth, most=limits.max_records)
        by_column = None if body.lstrip(b" \t\r\n").startswith(b"[") else records[0]
        if orient := _pandas_orient(by_column, schema):
            faults.add_fault(0, None, "wrong_type", _FRAME.format(orient=orient))
            records = [blank_record(schema)]
        elif is_by_column(by_column):
            _check_count(len(next(iter(by_column.values()))), limits.max_records)
            return filled_from_lists(
                by_column, schema, faults, unknown_columns=limits.unknown_columns, max_faults=limits.max_faults
            )
        _check_count(len(records), limits.max_records)
        return filled_columns(records, schema, faults, unknown_columns=limits.unknown_columns)


class JsonDecoder:
    """Gathers one JSON document, and decodes it at its end."""

    def __init__(
        self, documents: JsonDocuments, max_bytes: int, on_invalid: OnInvalid, check: Callable[[], None]
    ) -> None:
        """Decode with ``documents`` a document of at most ``max_bytes``; see `JsonDocuments.decode` for the rest."""
        self._documents = documents
        self._max_bytes = max_bytes
        self._on_invalid = on_invalid
        self._check = check
        self._pieces: list[bytes] = []
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the document so far."""
        return self._held_bytes

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next part of the document.

        Raises:
            BodyTooLargeError: the document is longer than allowed.
        """
        self._pieces.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._max_bytes:
            raise body_too_large(self._max_bytes, " in a JSON document")
        return iter(())

    def finish(self) -> Iterator[Block]:
        """Yield the records; see `JsonDocuments.decode`."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._held_bytes = 0
        yield self._documents.decode(body, self._on_invalid, self._check)


def _check_count(records: int, limit: int) -> None:
    if not records:
        raise NoRecordsError("body: expected at least one record, got an empty list")
    if records > limit:
        raise TooManyRecordsError(f"body: expected at most {limit} records, got more")


def _pandas_orient(document: object, schema: Schema) -> str | None:
    """Return how pandas wrote a parsed body as a data frame, its ``orient``; None for records and for other bodies.

    Args:
        document: The body.
        schema: The model's columns. A body with sound values of them is never taken for a frame.
    """
    if not isinstance(document, dict) or not document:
        return None
    known = {name.partition(".")[0] for name in schema.names}
    if document.keys() == _SPLIT and known.isdisjoint(_SPLIT):
        return "split"
    if document.keys() == _TABLE and known.isdisjoint(_TABLE):
        fields = document["schema"]
        return "table" if isinstance(fields, dict) and "pandas_version" in fields else None
    first, *others = document.values()
    if not isinstance(first, dict) or any(not isinstance(each, dict) or each.keys() != first.keys() for each in others):
        return None
    # The labels of the rows are numbers where a frame has no other index, and where its index is of times.
    if _are_numbers(first) and not document.keys().isdisjoint(schema.names):
        return "columns"
    return "index" if _are_numbers(document) and not known.isdisjoint(first) and known.isdisjoint(document) else None


def _are_numbers(labels: Collection[str]) -> bool:
    return bool(labels) and all(map(str.isdecimal, labels))

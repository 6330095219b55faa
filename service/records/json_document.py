"""JSON bodies decoded as a whole: one record, a list of records, or an object that holds a list for each column."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
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
from vaegis.service.records.faults import Faults, OnInvalid, in_request
from vaegis.service.records.json import parse_records, require_few_values
from vaegis.service.records.json_fast import TypedJson
from vaegis.service.records.python_records import filled_columns, filled_from_lists, is_by_column, pandas_orient
from vaegis.service.records.unwrapping import EventUnwrapper, Unwrapper

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
        body = body.removeprefix(codecs.BOM_UTF8)
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
        if orient := pandas_orient(by_column, schema):
            faults.add_fault(0, None, "wrong_type", _FRAME.format(orient=orient))
            records = [{schema.names[0]: None}]
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

"""Decode NDJSON as it arrives: one record per line, each by the rules of a JSON body."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.blocks import Block, BodyError, RecordLimits
from vaegis.service.records.byte_order_marks import lines_without_marks
from vaegis.service.records.faults import Faults, in_request
from vaegis.service.records.json import VALUE_MARKS, count_marks, parse_json
from vaegis.service.records.json_fast import TypedJson
from vaegis.service.records.line_decoder import LineDecoder, parts_of_lines
from vaegis.service.records.python_records import blank_record, filled_columns
from vaegis.service.records.unwrapping import Unwrapper

_LIST: Final = "expected an object, got a list"
_RECORDS: Final = "; a list of records is JSON, as application/json; jq -c '.[]' writes one record a line"
_BLANK_LINES: Final = re.compile(rb"\n[ \t\r\n]*\n")


class NdjsonDecoder(LineDecoder):
    """Decodes JSON objects, one a line (UTF-8). Blank lines are skipped."""

    def __init__(
        self, schema: Schema, limits: RecordLimits, typed: TypedJson, unwrapper: Unwrapper | None = None
    ) -> None:
        """Decode records of ``schema``; ``typed`` is the fast way, ``unwrapper`` takes them out of envelopes."""
        super().__init__(schema, limits)
        self._unwrapper = unwrapper
        self._location = in_request if unwrapper is None else unwrapper.location
        self._typed = typed

    def finish(self) -> Iterator[Block]:
        """Yield the last records.

        Raises:
            BodyError: there was nothing but blank lines.
        """
        # All at once: a last line without an end would take the model another run.
        yield from self._decoded(self._take_rest())
        if not self._rows:
            raise BodyError("empty_body", "body: expected one JSON record per line, got nothing")

    def _decoded(self, text: bytes) -> Iterator[Block]:
        text = lines_without_marks(text)
        if self._unwrapper is not None:
            text = self._unwrapper.lines(_without_blank_lines(text) if b"\n\n" in text else text)
        lines = _count_lines(text)
        if lines <= self._most_records:
            columns = self._typed.lines(text, lines)
            if columns is not None:
                yield self._block(columns, Faults(self._limits.max_faults, self._rows, self._location))
                return
        # There are blank lines, or faulty ones, or others that are out of the ordinary.
        for part in parts_of_lines(_without_blank_lines(text), self._most_records):
            faults = Faults(self._limits.max_faults, self._rows, self._location)
            columns = self._typed.lines(part, _count_lines(part))
            yield self._block(self._exactly(part, faults) if columns is None else columns, faults)

    def _exactly(self, text: bytes, faults: Faults) -> Columns:
        lines = text.removesuffix(b"\n").split(b"\n")
        records = [self._record(row, line, faults) for row, line in enumerate(lines)]
        return filled_columns(records, self._schema, faults, unknown_columns=self._limits.unknown_columns)

    def _record(self, row: int, line: bytes, faults: Faults) -> object:
        """Return a line's value. A faulty line is reported, and replaced by a record of nulls."""
        values = count_marks(line, VALUE_MARKS)
        if values > self._limits.max_values:
            most = self._limits.max_values
            detail = f"expected at most {most} commas and opening brackets, got {values}"
            faults.add_fault(row, None, "too_many_values", detail)
        else:
            try:
                record = parse_json(line, max_depth=self._limits.max_depth)
                if not isinstance(record, list):
                    return record
                holds_records = bool(record) and isinstance(record[0], dict)
                faults.add_fault(row, None, "not_an_object", f"{_LIST}{_RECORDS if holds_records else ''}")
            except BodyError as error:
                faults.add_fault(row, None, error.code, line_fault(line, error))
        return blank_record(self._schema)


def line_fault(line: bytes, error: BodyError) -> str:
    """Return what is wrong with a line of NDJSON that cannot be parsed, with the likely cause."""
    detail = str(error).removeprefix("body: ")
    last = line.rstrip()[-1:]
    if error.code != "invalid_json" or last not in (b"[", b"{", b","):
        return detail
    if last == b",":
        return "expected one JSON record per line, got a comma at the end of the line"
    if last == b"[":
        return f"{detail}{_RECORDS}"
    return f"{detail}; a line of NDJSON is a whole record, as jq -c writes it; records over several lines are JSON"


def _count_lines(text: bytes) -> int:
    return text.count(b"\n") + (not text.endswith(b"\n"))


def _without_blank_lines(text: bytes) -> bytes:
    """Return lines without blank ones. A few compressed bytes may hold millions of them."""
    return _BLANK_LINES.sub(b"\n", b"\n" + text).strip(b" \t\r\n")

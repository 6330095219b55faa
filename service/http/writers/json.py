"""Verdicts as one JSON document, which may have the faults of records in it, and as NDJSON."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from vaegis.service.http.writers.writer import JSON_END, AnswerMetadata, columns_of, json_rows, rows_of
from vaegis.service.records.blocks import Block, in_order
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import FIELDS, Verdicts

_ENCODER = msgspec.json.Encoder()
LINE_FIELDS: Final = ("row", *FIELDS, "errors")
"""The fields of a line, in the order in which they are written."""

_LINE: Final = msgspec.defstruct("Line", [(name, Any, None) for name in LINE_FIELDS], gc=False)
_REPORTED_FIELDS = (*FIELDS, "errors")


class JsonWriter:
    """Writes a document; where faults are reported, each result has ``errors`` as well."""

    def __init__(self, metadata: AnswerMetadata, *, has_errors: bool) -> None:
        """Write ``metadata`` and results; without errors, blocks have no faults."""
        self._metadata = metadata
        self._has_errors = has_errors
        self._is_first = True

    def start(self) -> bytes:
        """Return the fields that all results share."""
        return self._metadata.json_start

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the results of a block."""
        written = _reported(block, verdicts) if self._has_errors else json_rows(rows_of(verdicts))
        separator = b"" if self._is_first else b","
        self._is_first = False
        return separator + written

    def end(self) -> bytes:
        """Close the list and the document."""
        return JSON_END


def _reported(block: Block, verdicts: Verdicts) -> bytes:
    """Return the results of records, sound or not, parted by commas."""
    results = [{name: getattr(line, name) for name in _REPORTED_FIELDS} for line in lines_of(block, verdicts)]
    return _ENCODER.encode(results)[1:-1]


class NdjsonWriter:
    """Writes one line of JSON for each record."""

    def start(self) -> bytes:
        """Return nothing."""
        return b""

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the lines of a block."""
        return _ENCODER.encode_lines(lines_of(block, verdicts))

    def end(self) -> bytes:
        """Return nothing."""
        return b""


def lines_of(block: Block, verdicts: Verdicts) -> list[Any]:
    """Return the lines of a block. Raises what `columns_of` does."""
    rows = range(block.first_row, block.first_row + block.records)
    sound = [row for row in rows if row - block.first_row not in block.faults] if block.faults else rows
    lines = [*map(_LINE, sound, *columns_of(verdicts))]
    faulty = (_LINE(block.first_row + row, errors=error_fields(faults)) for row, faults in block.faults.items())
    return in_order(block, lines, faulty)

"""Verdicts as one JSON document, which may have the faults of records in it."""

from __future__ import annotations

import msgspec

from vaegis.service.http.writers.ndjson import lines_of
from vaegis.service.http.writers.writer import JSON_END, AnswerMetadata, json_rows, rows_of
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import FIELDS, Verdicts

_ENCODER = msgspec.json.Encoder()
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

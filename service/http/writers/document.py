"""Verdicts as one JSON document, for bodies that come as a stream or may have faulty records in it."""

from __future__ import annotations

import msgspec

from vaegis.service.http.json_answer import JSON_END, RESULT_FIELDS, json_results, json_start
from vaegis.service.http.writers.ndjson import lines_of
from vaegis.service.http.writers.writing import Judgement
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import Verdicts

_ENCODER = msgspec.json.Encoder()
_REPORTED_FIELDS = (*RESULT_FIELDS, "errors")


class DocumentWriter:
    """Writes what `answers.ScoreAnswer` describes; where faults are reported, each result has ``errors`` as well."""

    def __init__(self, judgement: Judgement, *, has_errors: bool) -> None:
        """Write under ``judgement``; without errors, blocks have no faults."""
        self._judgement = judgement
        self._has_errors = has_errors
        self._is_first = True

    def start(self) -> bytes:
        """Return the fields that all results share."""
        return json_start(self._judgement)

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the results of a block."""
        written = _reported(block, verdicts) if self._has_errors else json_results(verdicts)
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

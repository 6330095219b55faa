"""Verdicts as one JSON document, for bodies that come as a stream or may have faulty records in it."""

from __future__ import annotations

from typing import Any

import msgspec

from service.http.json_answer import JSON_END
from service.http.writers.ndjson import Line, lines_of
from service.http.writers.writing import Judgement
from service.records.stream.blocks import Block
from service.verdicts import Verdicts

_ENCODER = msgspec.json.Encoder()
_RESULT_FIELDS = (
    "score",
    "p_value",
    "is_anomaly",
    "elbo",
    "reconstruction_error",
    "kl",
    "reasons",
    "contributions",
    "latent_contribution",
)


class DocumentWriter:
    """Writes what `answers.ScoreAnswer` describes; where faults are reported, each result has ``errors`` as well."""

    def __init__(self, judgement: Judgement, *, has_errors: bool) -> None:
        """Write under ``judgement``."""
        self._judgement = judgement
        self._fields = (*_RESULT_FIELDS, "errors") if has_errors else _RESULT_FIELDS
        self._is_first = True

    def start(self) -> bytes:
        """Return the fields that all results share."""
        return _ENCODER.encode(self._judgement.fields())[:-1] + b',"results":['

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the results of a block."""
        results = [self._result(line) for line in lines_of(block, verdicts)]
        written = _ENCODER.encode(results)[1:-1]
        separator = b"" if self._is_first else b","
        self._is_first = False
        return separator + written

    def end(self) -> bytes:
        """Close the list and the document."""
        return JSON_END

    def _result(self, line: Line) -> dict[str, Any]:
        return {name: getattr(line, name) for name in self._fields}

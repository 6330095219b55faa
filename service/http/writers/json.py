"""Verdicts as one JSON document, the answer to a JSON body; `schemas.ScoreAnswer` describes it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from vaegis.service.explanations import Contribution
from vaegis.service.http.writers.ndjson import lines_of
from vaegis.service.http.writers.writer import AnswerMetadata, finite_numbers
from vaegis.service.reasons import Reason
from vaegis.service.records.stream.blocks import Block
from vaegis.service.verdicts import Verdicts

JSON_END = b"]}"

_ENCODER = msgspec.json.Encoder()


class VerdictRow(msgspec.Struct, gc=False):
    """The fields of a `schemas.ResultItem`, in the order in which they are written."""

    score: float
    p_value: float
    is_anomaly: bool
    elbo: float
    reconstruction_error: float
    kl: float
    reasons: tuple[Reason, ...]
    contributions: tuple[Contribution, ...] | None
    latent_contribution: float


RESULT_FIELDS = VerdictRow.__struct_fields__
_REPORTED_FIELDS = (*RESULT_FIELDS, "errors")


class JsonWriter:
    """Writes a document; where faults are reported, each result has ``errors`` as well."""

    def __init__(self, metadata: AnswerMetadata, *, has_errors: bool) -> None:
        """Write ``metadata`` and results; without errors, blocks have no faults."""
        self._metadata = metadata
        self._has_errors = has_errors
        self._is_first = True

    def start(self) -> bytes:
        """Return the fields that all results share."""
        return json_start(self._metadata)

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the results of a block."""
        written = _reported(block, verdicts) if self._has_errors else json_rows(rows_of(verdicts))
        separator = b"" if self._is_first else b","
        self._is_first = False
        return separator + written

    def end(self) -> bytes:
        """Close the list and the document."""
        return JSON_END


def json_start(metadata: AnswerMetadata) -> bytes:
    """Return what comes before the results, which are parted by commas and followed by `JSON_END`."""
    return _ENCODER.encode(metadata.fields())[:-1] + b',"results":['


def rows_of(verdicts: Verdicts) -> list[VerdictRow]:
    """Return verdicts by record, in order.

    Raises:
        ValueError: One holds NaN or an infinity, which JSON cannot.
    """
    score, p_value, elbo, error, kl, latent = finite_numbers(verdicts)
    flags = verdicts.is_anomaly.tolist()
    return [*map(VerdictRow, score, p_value, flags, elbo, error, kl, verdicts.reasons, verdicts.contributions, latent)]


def json_rows(rows: Sequence[VerdictRow]) -> bytes:
    """Return at least one result as JSON, parted by commas."""
    return _ENCODER.encode(rows)[1:-1]


def _reported(block: Block, verdicts: Verdicts) -> bytes:
    """Return the results of records, sound or not, parted by commas."""
    results = [{name: getattr(line, name) for name in _REPORTED_FIELDS} for line in lines_of(block, verdicts)]
    return _ENCODER.encode(results)[1:-1]

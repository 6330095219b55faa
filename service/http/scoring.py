"""From the bytes of a request to the bytes of its verdicts: all the blocking work of POST /score."""

from __future__ import annotations

import time
from dataclasses import dataclass

from service.artifact import Artifact
from service.columns import Columns
from service.errors import RecordError
from service.http.answers import rendered, score_fields
from service.http.body import parse_body
from service.http.errors import NoRecordsError, TooManyRecordsError
from service.http.metrics import Metrics
from service.pvalues import threshold
from service.records.json import columns_from_records
from service.records.names import UnknownColumns
from service.verdicts import Explain, judge


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold; the settings of the same names."""

    max_records: int
    max_depth: int
    max_values: int
    max_faults: int
    unknown_columns: UnknownColumns


@dataclass(frozen=True, slots=True)
class Scoring:
    """Answers bodies of POST /score with one model. It may be called from several threads."""

    artifact: Artifact
    metrics: Metrics
    limits: Limits

    def answer(self, body: bytes, *, alpha: float, explain: Explain) -> bytes:
        """Return the JSON answer to a JSON body.

        Args:
            body: One record, or a list of them.
            alpha: Share of normal records that may be flagged.
            explain: Which results carry contributions.

        Raises:
            AlphaError: the calibration cannot promise ``alpha``.
            BodyError: the body is not well-formed JSON.
            TooManyValuesError: it holds more values than allowed.
            TooManyRecordsError: it holds more records than allowed.
            NoRecordsError: it is an empty list.
            RecordError: a record does not fit the schema.
        """
        artifact = self.artifact
        limit = threshold(artifact.calibration_folds, alpha)
        columns = self._columns(body)
        started = time.perf_counter()
        scores = artifact.scorer.score(columns)
        self.metrics.inference_seconds.observe(time.perf_counter() - started)
        schema = artifact.contract.columns
        verdicts = judge(schema, artifact.calibration_folds, columns, scores, alpha=alpha, explain=explain)
        answer = rendered(score_fields(artifact, verdicts, alpha=alpha, threshold=limit))
        self.metrics.count_scored(columns, verdicts)
        return answer

    def _columns(self, body: bytes) -> Columns:
        limits = self.limits
        records = _records(parse_body(body, max_depth=limits.max_depth, max_values=limits.max_values))
        if len(records) > limits.max_records:
            raise TooManyRecordsError(f"body: expected at most {limits.max_records} records, got {len(records)}")
        try:
            return columns_from_records(
                records,
                self.artifact.contract.columns,
                unknown_columns=limits.unknown_columns,
                max_faults=limits.max_faults,
            )
        except RecordError as error:
            self.metrics.count_refused(error.faults)
            raise


def _records(document: object) -> list[object]:
    if document == []:
        raise NoRecordsError("body: expected at least one record, got an empty list")
    return document if isinstance(document, list) else [document]

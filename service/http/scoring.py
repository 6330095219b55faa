"""From the bytes of a request to the bytes of its verdicts: all the blocking work of POST /score."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from service.artifact import Artifact
from service.columns import Columns, stacked
from service.errors import RecordError
from service.http.body import require_few_values
from service.http.call import Call
from service.http.errors import NoRecordsError, TooManyRecordsError
from service.http.json_answer import JSON_END, json_results, json_start
from service.http.metrics import Metrics
from service.pvalues import threshold
from service.records.json import columns_from_records, parse_records
from service.records.names import UnknownColumns
from service.records.typed_json import TypedJson
from service.scorer import Scores
from service.verdicts import Explain, Verdicts, judge

_PART_RECORDS: Final = 1024  # scored, judged and written at a time
_MAX_ALPHAS: Final = 256  # kept, each with its threshold


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may hold; the settings of the same names."""

    max_records: int
    max_depth: int
    max_values: int
    max_faults: int
    unknown_columns: UnknownColumns


@dataclass(frozen=True, slots=True)
class Asked:
    """Records, and what is asked about them.

    Attributes:
        columns: The records, at least one.
        alpha: Share of normal records that may be flagged.
        explain: Which results carry contributions.
    """

    columns: Columns
    alpha: float
    explain: Explain


class Scoring:
    """Answers bodies of POST /score with one model. It may be called from several threads."""

    def __init__(self, artifact: Artifact, metrics: Metrics, limits: Limits) -> None:
        """Score with ``artifact``, within ``limits``."""
        self._artifact = artifact
        self._metrics = metrics
        self._limits = limits
        self._typed = TypedJson(
            artifact.contract.columns,
            max_depth=limits.max_depth,
            max_values=limits.max_values,
            max_records=limits.max_records,
        )
        self._start = lru_cache(_MAX_ALPHAS)(self._json_start)

    def require_alpha(self, alpha: float) -> None:
        """Pass if the calibration can promise ``alpha``.

        Raises:
            AlphaError: it cannot.
        """
        self._start(alpha)

    def columns(self, body: bytes, between: Callable[[], None]) -> Columns:
        """Return the records of a JSON body by column.

        Args:
            body: One record, or a list of them.
            between: Called between parts of the work; what it raises ends the work.

        Raises:
            BodyError: the body is not well-formed JSON.
            TooManyValuesError: it holds more values than allowed.
            TooManyRecordsError: it holds more records than allowed.
            NoRecordsError: it is an empty list.
            RecordError: a record does not fit the schema.
        """
        columns = self._typed.columns(body, between)
        return self._columns_exactly(body) if columns is None else columns

    def answer(self, asked: Asked, call: Call, between: Callable[[], None]) -> bytes:
        """Return the JSON answer to any number of records.

        Args:
            asked: The records, at least one, and what is asked about them.
            call: Told how many there were, and how many of them anomalies.
            between: Called between parts of the work; what it raises ends the work.

        Raises:
            AlphaError: the calibration cannot promise the alpha.
        """
        start = self._start(asked.alpha)
        results: list[bytes] = []
        seconds = 0.0
        for at in range(0, len(asked.columns), _PART_RECORDS):
            part = asked.columns.rows(slice(at, at + _PART_RECORDS))
            with call.step("infer"):
                (verdicts,), took = self.judged([Asked(part, asked.alpha, asked.explain)])
            seconds += took
            results.append(json_results(verdicts))
            call.flagged += int(np.count_nonzero(verdicts.is_anomaly))
            between()
        call.records = len(asked.columns)
        self._metrics.count_batch(len(asked.columns), seconds)
        return b"".join((start, b",".join(results), JSON_END))

    def answer_to(self, verdicts: Verdicts, call: Call, *, alpha: float, seconds: float) -> bytes:
        """Return the JSON answer to a request whose records are judged, which took the model so many ``seconds``."""
        call.records = len(verdicts)
        call.flagged = int(np.count_nonzero(verdicts.is_anomaly))
        self._metrics.count_batch(len(verdicts), seconds)
        return b"".join((self._start(alpha), json_results(verdicts), JSON_END))

    def judged(self, requests: Sequence[Asked]) -> tuple[list[Verdicts], float]:
        """Return the verdicts on each request's records, scored together, and the seconds that the model took.

        They are counted in the metrics.

        Args:
            requests: At least one, each of at least one record.
        """
        artifact = self._artifact
        columns = stacked([asked.columns for asked in requests])
        started = time.perf_counter()
        scores = artifact.scorer.score(columns)
        seconds = time.perf_counter() - started
        verdicts = list(self._verdicts(requests, columns, scores))
        return verdicts, seconds

    def _verdicts(self, requests: Sequence[Asked], columns: Columns, scores: Scores) -> Iterator[Verdicts]:
        first = requests[0]
        if all(asked.alpha == first.alpha and asked.explain is first.explain for asked in requests):
            together = self._judge(columns, scores, first)
            for rows in _rows(requests):
                yield together if len(requests) == 1 else together.rows(rows)
        else:
            for asked, rows in zip(requests, _rows(requests), strict=True):
                yield self._judge(asked.columns, scores.rows(rows), asked)

    def _judge(self, columns: Columns, scores: Scores, asked: Asked) -> Verdicts:
        schema, folds = self._artifact.contract.columns, self._artifact.calibration_folds
        verdicts = judge(schema, folds, columns, scores, alpha=asked.alpha, explain=asked.explain)
        self._metrics.count_scored(columns, verdicts)
        return verdicts

    def _json_start(self, alpha: float) -> bytes:
        artifact = self._artifact
        return json_start(artifact, alpha=alpha, threshold=threshold(artifact.calibration_folds, alpha))

    def _columns_exactly(self, body: bytes) -> Columns:
        """Return what `TypedJson` leaves, by the way that tells what is wrong with a body."""
        limits = self._limits
        require_few_values(body, limits.max_values)
        records = parse_records(body, max_depth=limits.max_depth, most=limits.max_records)
        if not records:
            raise NoRecordsError("body: expected at least one record, got an empty list")
        if len(records) > limits.max_records:
            raise TooManyRecordsError(f"body: expected at most {limits.max_records} records, got more")
        try:
            return columns_from_records(
                records,
                self._artifact.contract.columns,
                unknown_columns=limits.unknown_columns,
                max_faults=limits.max_faults,
            )
        except RecordError as error:
            self._metrics.count_refused(error.faults)
            raise


def _rows(requests: Sequence[Asked]) -> Iterator[slice]:
    """Yield where each request's records stand among all."""
    at = 0
    for asked in requests:
        yield slice(at, at + len(asked.columns))
        at += len(asked.columns)

"""From the bytes of a request to the bytes of its verdicts: all the blocking work of POST /score."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Final

import msgspec
import numpy as np

from vaegis.service.artifact import Artifact
from vaegis.service.columns import Columns, stacked
from vaegis.service.errors import RecordError
from vaegis.service.http.body import require_few_values
from vaegis.service.http.call import Call
from vaegis.service.http.errors import NoRecordsError, TooManyRecordsError
from vaegis.service.http.json_answer import JSON_END, Result, json_results, json_start, results_of, written
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.writers.writing import Judgement
from vaegis.service.pvalues import threshold
from vaegis.service.records.blocks import Block, RecordLimits, block_of, sound_block
from vaegis.service.records.faults import FaultList, Faults, FaultsByRow
from vaegis.service.records.json import filled_columns, filled_from_lists, is_by_column, parse_records
from vaegis.service.records.json_fast import TypedColumns, TypedJson
from vaegis.service.scorer import Scores
from vaegis.service.verdicts import Explain, Verdicts

_PART_RECORDS: Final = 1024  # scored, judged and written at a time
_MAX_ALPHAS: Final = 256  # kept, each with its threshold


class Asked(msgspec.Struct, frozen=True, eq=False, gc=False):
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

    def __init__(self, artifact: Artifact, metrics: Metrics, limits: RecordLimits) -> None:
        """Score with ``artifact``, within ``limits``."""
        self._artifact = artifact
        self._metrics = metrics
        self._limits = limits
        self.typed = TypedJson(
            artifact.contract.columns,
            max_depth=limits.max_depth,
            max_values=limits.max_values,
            max_records=limits.max_records,
        )
        self._by_column = TypedColumns(
            artifact.contract.columns, max_values=limits.max_values, max_records=limits.max_records
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
            body: One record, a list of them, or an object of lists that has them by column.
            between: Called between parts of the work; what it raises ends the work.

        Raises:
            BodyError: the body is not well-formed JSON.
            TooManyValuesError: it holds more values than allowed.
            TooManyRecordsError: it holds more records than allowed.
            NoRecordsError: it is an empty list.
            RecordError: a record does not fit the schema.
        """
        columns = self._fast_columns(body, between)
        return self._columns_exactly(body) if columns is None else columns

    def reported(self, body: bytes, between: Callable[[], None]) -> Block:
        """Return the records of a JSON body, with the faults of those that have any; see `columns`."""
        columns = self._fast_columns(body, between)
        if columns is not None:
            return sound_block(columns)
        faults = FaultsByRow(self._limits.max_faults, 0)
        block = block_of(self._filled(body, faults), faults, 0)
        self._metrics.count_refused(fault for found in block.faults.values() for fault in found)
        return block

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
        parts = self.judged_in_parts(sound_block(asked.columns), asked.alpha, asked.explain, call, between)
        results = b",".join([json_results(verdicts) for _, verdicts in parts])
        return b"".join((start, results, JSON_END))

    def judged_in_parts(
        self, block: Block, alpha: float, explain: Explain, call: Call, between: Callable[[], None]
    ) -> Iterator[tuple[Block, Verdicts]]:
        """Yield the records of a request in parts, each with its verdicts; ``call`` and ``between`` as in `answer`."""
        seconds = 0.0
        for part in block.parts(_PART_RECORDS):
            with call.step("infer"):
                verdicts, took = self.judged(Asked(part.columns, alpha, explain))
            seconds += took
            yield part, verdicts
            call.records += len(part.columns)
            call.flagged += int(np.count_nonzero(verdicts.is_anomaly))
            between()
        self._metrics.count_batch(len(block.columns), seconds)

    def answer_to(self, results: Sequence[Result], call: Call, *, alpha: float, seconds: float) -> bytes:
        """Return the JSON answer to a request whose records are judged, which took the model so many ``seconds``."""
        call.records = len(results)
        call.flagged = sum([result.is_anomaly for result in results])
        self._metrics.count_batch(len(results), seconds)
        return b"".join((self._start(alpha), written(results), JSON_END))

    def judged(self, asked: Asked) -> tuple[Verdicts, float]:
        """Return the verdicts on a request's records, and the seconds that the model took; they are counted."""
        scores, seconds = self._scored(asked.columns)
        verdicts = self._judge(asked.columns, scores, asked)
        self._metrics.count_scored(asked.columns, verdicts)
        return verdicts, seconds

    def judged_together(self, requests: Sequence[Asked]) -> tuple[list[list[Result] | Exception], float]:
        """Return what `judged` does of each request, all scored in one batch; or what is wrong with its statistics.

        Args:
            requests: At least one, each of at least one record.
        """
        columns = stacked([asked.columns for asked in requests])
        scores, seconds = self._scored(columns)
        return list(self._results(requests, columns, scores)), seconds

    def _results(
        self, requests: Sequence[Asked], columns: Columns, scores: Scores
    ) -> Iterator[list[Result] | Exception]:
        # Each step of numpy takes about as long for all requests as it would for each.
        together = self._together(requests, columns, scores)
        for asked, rows in zip(requests, _rows(requests), strict=True):
            yield self._alone(asked, scores.rows(rows)) if together is None else together[rows]

    def _together(self, requests: Sequence[Asked], columns: Columns, scores: Scores) -> list[Result] | None:
        """Return the results of all requests, None where they ask for different things, or one of them has a fault."""
        first = requests[0]
        if any(asked.alpha != first.alpha or asked.explain is not first.explain for asked in requests):
            return None
        try:
            return self._told(columns, scores, first)
        except (ValueError, OverflowError):
            return None

    def _alone(self, asked: Asked, scores: Scores) -> list[Result] | Exception:
        try:
            return self._told(asked.columns, scores, asked)
        except (ValueError, OverflowError) as fault:
            return fault

    def _scored(self, columns: Columns) -> tuple[Scores, float]:
        started = time.perf_counter()
        scores = self._artifact.scorer.score(columns)
        return scores, time.perf_counter() - started

    def _told(self, columns: Columns, scores: Scores, asked: Asked) -> list[Result]:
        verdicts = self._judge(columns, scores, asked)
        results = results_of(verdicts)
        self._metrics.count_scored(columns, verdicts)
        return results

    def _judge(self, columns: Columns, scores: Scores, asked: Asked) -> Verdicts:
        return self._artifact.judge_scored(columns, scores, alpha=asked.alpha, explain=asked.explain)

    def _json_start(self, alpha: float) -> bytes:
        artifact = self._artifact
        return json_start(Judgement.by(artifact, alpha=alpha, threshold=threshold(artifact.calibration_folds, alpha)))

    def _fast_columns(self, body: bytes, between: Callable[[], None]) -> Columns | None:
        columns = self.typed.columns(body, between)
        return self._by_column.columns(body) if columns is None and b"[" in body else columns

    def _columns_exactly(self, body: bytes) -> Columns:
        """Return what the fast ways leave, by the way that tells what is wrong with a body."""
        faults = FaultList(self._limits.max_faults)
        try:
            columns = self._filled(body, faults)
            faults.raise_any()
        except RecordError as error:
            self._metrics.count_refused(error.faults)
            raise
        return columns

    def _filled(self, body: bytes, faults: Faults) -> Columns:
        limits, schema = self._limits, self._artifact.contract.columns
        require_few_values(body, limits.max_values)
        records = parse_records(body, max_depth=limits.max_depth, most=limits.max_records)
        by_column = None if body.lstrip(b" \t\r\n").startswith(b"[") else records[0]
        if is_by_column(by_column):
            _check_count(len(next(iter(by_column.values()))), limits.max_records)
            return filled_from_lists(
                by_column, schema, faults, unknown_columns=limits.unknown_columns, max_faults=limits.max_faults
            )
        _check_count(len(records), limits.max_records)
        return filled_columns(records, schema, faults, unknown_columns=limits.unknown_columns)


def _rows(requests: Sequence[Asked]) -> Iterator[slice]:
    """Yield where each request's records stand among all."""
    at = 0
    for asked in requests:
        yield slice(at, at + len(asked.columns))
        at += len(asked.columns)


def _check_count(records: int, limit: int) -> None:
    if not records:
        raise NoRecordsError("body: expected at least one record, got an empty list")
    if records > limit:
        raise TooManyRecordsError(f"body: expected at most {limit} records, got more")

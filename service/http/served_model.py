"""The model that is served, with its limits, its options and the scoring of its records."""

from __future__ import annotations

import time
from functools import cached_property, lru_cache

from vaegis.service.artifact import Artifact
from vaegis.service.columns import Columns
from vaegis.service.http.batching import Batcher
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.score_options import ScoreOptions, ScoreQuery, parse_query
from vaegis.service.http.writers.writer import AnswerMetadata
from vaegis.service.pvalues import threshold
from vaegis.service.records.blocks import RecordLimits
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.json_document import JsonDocuments
from vaegis.service.records.unwrapping import Unwrapper
from vaegis.service.verdicts import Explain, Verdicts

_EVENT_DATA = "/data"
_KEPT_QUERIES = 256  # clients send few different ones
_LONGEST_KEPT = 100  # bytes


class ServedModel:
    """A model. Its methods may be called from several threads; its batcher only from the event loop's.

    Attributes:
        artifact: The model.
        metrics: Counts what is scored.
        limits: Limits within which records are decoded.
        documents: Decodes JSON.
        batcher: Scores small requests together.
    """

    def __init__(
        self,
        artifact: Artifact,
        metrics: Metrics,
        limits: RecordLimits,
        *,
        alpha: float,
        explain: Explain,
        max_batch_records: int,
        unwrap: str | None = None,
    ) -> None:
        """Serve ``artifact``.

        Args:
            artifact: The model.
            metrics: Counts what is scored.
            limits: Limits within which records are decoded.
            alpha: Share of normal records that may be flagged, unless a request says otherwise.
            explain: Which verdicts carry contributions, unless a request says otherwise.
            max_batch_records: Most records of small requests that are scored together.
            unwrap: JSON pointer to the record in each envelope of JSON and NDJSON; None for records without one.

        Raises:
            AlphaError: the calibration cannot promise ``alpha``.
        """
        self.artifact = artifact
        self.metrics = metrics
        self.limits = limits
        self.documents = self._documents_with(unwrap)
        self.batcher = Batcher(self.judge, max_batch_records)
        self.answer_metadata = lru_cache(_KEPT_QUERIES)(self._answer_metadata)
        self._kept_options = lru_cache(_KEPT_QUERIES)(self._options)
        self._alpha, self._explain = alpha, explain
        self.answer_metadata(alpha)

    @cached_property
    def events(self) -> JsonDocuments:
        """Decodes CloudEvents, whose data are the records."""
        return self._documents_with(_EVENT_DATA)

    @property
    def name(self) -> str:
        """The model's own name."""
        return self.artifact.contract.provenance.model_name

    def options(self, query: bytes, on_invalid: OnInvalid) -> ScoreOptions:
        """Return the options in the query of a request, with ``on_invalid`` unless it has its own.

        Raises:
            ParameterError: a parameter is unknown or has a bad value.
            AlphaError: the calibration cannot promise the alpha.
        """
        read = self._kept_options if len(query) <= _LONGEST_KEPT else self._options
        return read(query, on_invalid)

    def checked_options(self, query: ScoreQuery, on_invalid: OnInvalid) -> ScoreOptions:
        """Return the options of a parsed query; see `options`."""
        options = query.options(ScoreOptions(self._alpha, self._explain, on_invalid))
        self.answer_metadata(options.alpha)
        return options

    def judge(
        self, columns: Columns, options: ScoreOptions, run_timeout_s: float | None = None
    ) -> tuple[Verdicts, float]:
        """Return the verdicts on records, and the seconds that the model took; they are counted.

        Args:
            columns: The records.
            options: What is asked about them.
            run_timeout_s: Longest time of one run of the graph, if it is shorter than the session's.

        Raises:
            RunTimeoutError: a run took longer.
        """
        started = time.perf_counter()
        scores = self.artifact.scorer.score(columns, run_timeout_s)
        seconds = time.perf_counter() - started
        verdicts = self.artifact.judge_scored(columns, scores, alpha=options.alpha, explain=options.explain)
        self.metrics.count_scored(columns, verdicts)
        return verdicts, seconds

    def _documents_with(self, pointer: str | None) -> JsonDocuments:
        limits = self.limits
        unwrapper = None
        if pointer is not None:
            unwrapper = Unwrapper(pointer, max_depth=limits.max_depth, max_values=limits.max_values)
        return JsonDocuments(self.artifact.contract.columns, limits, unwrapper)

    def _options(self, query: bytes, on_invalid: OnInvalid) -> ScoreOptions:
        return self.checked_options(parse_query(query), on_invalid)

    def _answer_metadata(self, alpha: float) -> AnswerMetadata:
        """Return what holds for all verdicts at an alpha."""
        return AnswerMetadata.by(
            self.artifact, alpha=alpha, threshold=threshold(self.artifact.calibration_folds, alpha)
        )

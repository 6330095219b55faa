"""One version of a model that is served, with its limits, its options and the scoring of its records."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from itertools import chain
from typing import Final, NamedTuple, TypeAlias, TypedDict

from msgspec.structs import replace

from vaegis.service.artifact import Artifact, Verification
from vaegis.service.columns import Columns
from vaegis.service.errors import Fault, RecordError
from vaegis.service.generation import Generator
from vaegis.service.http.batching import Batcher
from vaegis.service.http.observability.model_metrics import ModelMetrics
from vaegis.service.http.schemas import model_answer, record_schema, rendered, shown_digest
from vaegis.service.http.score_options import ScoreOptions, ScoreQuery, parse_query
from vaegis.service.http.writers.writer import AnswerMetadata
from vaegis.service.pvalues import threshold
from vaegis.service.records.blocks import Block, RecordLimits, TooManyRecordsError
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.json_document import JsonDocuments
from vaegis.service.records.unwrapping import EventUnwrapper, Unwrapper
from vaegis.service.runtime import RunLimits
from vaegis.service.scorer import Scores
from vaegis.service.verdicts import Explain, Verdicts

_MetadataAt: TypeAlias = Callable[[float], AnswerMetadata]

_KEPT_QUERIES: Final = 256  # clients send few different ones
_LONGEST_KEPT: Final = 100  # bytes
_VERSION_DIGITS: Final = 12


class _EnvelopeLimits(TypedDict):
    max_depth: int
    max_values: int


class ShadowedBatch(NamedTuple):
    """Records with what the live version says of them."""

    columns: Columns
    scores: Scores
    verdicts: Verdicts
    alpha: float


class RecordJudge:
    """Scores records and counts them. It does not refer to the `ServedModel`, which would be a cycle.

    A replaced model must be freed when its last request ends. Cycles would wait for the garbage collector, which never
    looks at what was there when the service became ready.
    """

    def __init__(self, artifact: Artifact, metrics: ModelMetrics) -> None:
        self._artifact = artifact
        self._metrics = metrics
        self.shadow: Callable[[ShadowedBatch], None] | None = None
        """Takes what was scored, to be scored by another version too."""

    def __call__(self, columns: Columns, options: ScoreOptions) -> tuple[Verdicts, float]:
        """Return the verdicts on records, and the seconds that the model took; they are counted, except drills.

        Raises:
            RunTimeoutError: a run of the graph took longer than it may.
        """
        started = time.perf_counter()
        scores = self._artifact.scorer.score(columns)
        seconds = time.perf_counter() - started
        verdicts = self._artifact.judge_scored(columns, scores, alpha=options.alpha, explain=options.explain)
        if not options.is_drill:
            self._metrics.count_scored(self._artifact.scorer.scored(columns), verdicts)
            if self.shadow is not None:
                self.shadow(ShadowedBatch(columns, scores, verdicts, options.alpha))
        return verdicts, seconds


class ServedModel:
    """A version of a model. Its methods may be called from several threads; its batcher only from the event loop's.

    Attributes:
        artifact: The model.
        name: The name by which it is served.
        version: The name of its version; the beginning of its digest if it has none.
        alpha: Share of normal records that may be flagged, unless a request says otherwise.
        threshold: Threshold at that alpha.
        metrics: Counts what is scored.
        limits: Limits within which records are decoded.
        documents: Decodes JSON.
        bare_documents: The same for records without an envelope.
        judge: Returns verdicts on records and the seconds that the model took.
        batcher: Scores small requests together.
        answer_metadata: Returns what holds for all verdicts of an answer at an alpha; raises `AlphaError`.
        digest_header: Header that names its digest, for every answer.
        json_headers: The same with the Content-Type of JSON.
    """

    def __init__(
        self,
        artifact: Artifact,
        metrics: ModelMetrics,
        limits: RecordLimits,
        *,
        alpha: float | None,
        explain: Explain,
        max_batch_records: int,
        decoder: RunLimits,
        version: str | None = None,
    ) -> None:
        """Prepare to serve.

        A request may ask for another ``alpha``, which is the model's own if None, and for another ``explain``. At most
        ``max_batch_records`` of small requests are scored together, and ``decoder`` limits the runs of POST /generate.

        Raises:
            AlphaError: the calibration cannot promise ``alpha``.
        """
        self.artifact = artifact
        self.name = metrics.model
        self.version = version or artifact.digest[:_VERSION_DIGITS]
        self.metrics = metrics
        self.limits = limits
        self.alpha = artifact.contract.calibration.alpha if alpha is None else alpha
        self.threshold = threshold(artifact.calibration_folds, self.alpha)
        self.bare_documents = self.documents = JsonDocuments(artifact.contract.columns.of_records, limits)
        if limits.unwrap is not None:
            self.documents = self._enveloped(Unwrapper(limits.unwrap, **self._envelope_limits))
        self.judge = RecordJudge(artifact, metrics)
        self.batcher = Batcher(self.judge, max_batch_records)
        self.answer_metadata = lru_cache(_KEPT_QUERIES)(partial(AnswerMetadata.by, artifact, self.name))
        self.digest_header = (b"vaegis-model-digest", shown_digest(artifact).encode())
        self._decoder = decoder
        self._default_options = ScoreOptions(self.alpha, explain, OnInvalid.REJECT)
        self._parsed_options = partial(_parsed, self._default_options, self.answer_metadata)
        self._kept_options = lru_cache(_KEPT_QUERIES)(self._parsed_options)
        self.json_headers = ((b"content-type", b"application/json"), self.digest_header)

    def options(self, query: bytes, on_invalid: OnInvalid) -> ScoreOptions:
        """Return the options in the query of a request, with ``on_invalid`` unless it has its own.

        Raises:
            ParameterError: a parameter is unknown or has a bad value.
            AlphaError: the calibration cannot promise the alpha.
        """
        read = self._kept_options if len(query) <= _LONGEST_KEPT else self._parsed_options
        return read(query, on_invalid)

    def checked_options(self, query: ScoreQuery) -> ScoreOptions:
        """Return the options of a parsed query; faulty records reject the request unless it says otherwise."""
        return _checked(query, self._default_options, self.answer_metadata)

    def require_few_records(self, block: Block) -> None:
        """Pass if a body has no more records than allowed, up to those of a block.

        Raises:
            TooManyRecordsError: it has more.
        """
        most = self.limits.max_body_records
        if block.first_row + block.records > most:
            raise TooManyRecordsError(f"body: expected at most {most} records, got more")

    def rejecting_faults(self, block: Block, on_invalid: OnInvalid) -> list[Fault]:
        """Return the faults of a block that reject its body, if any. All faults are counted."""
        found = [*chain.from_iterable(block.faults.values())]
        self.metrics.count_refused(found)
        return found if on_invalid is OnInvalid.REJECT else []

    def rejected(self, faults: Sequence[Fault]) -> RecordError:
        """Return the error of a body that is rejected for its faults, which lists as many as the limit allows."""
        most = self.limits.max_faults
        return RecordError(tuple(faults[:most]), max(0, len(faults) - most))

    def warm_up(self, *, is_checked: bool = False) -> Verification:
        """Do once what requests will do, so that the first one is not slower, and count nothing.

        Args:
            is_checked: Whether the decoder is known to fit the schema.

        Raises:
            ArtifactError: the golden records are not reproduced, or the decoder does not fit the schema.
        """
        verification = self.artifact.verify()
        if not is_checked:  # and not kept: POST /generate loads it again at its first request
            Generator(self.artifact.contract, self._decoder)
        record = rendered(self.artifact.contract.golden.records[0])
        block = self.bare_documents.decode(record, OnInvalid.REPORT, lambda: None)
        self.artifact.judge(block.columns, alpha=self.alpha, explain=Explain.ALL)
        self.answer_metadata(self.alpha)
        return verification

    @cached_property
    def events(self) -> JsonDocuments:
        """Decodes one CloudEvent."""
        return self._enveloped(EventUnwrapper(is_batch=False, **self._envelope_limits))

    @cached_property
    def event_batches(self) -> JsonDocuments:
        """Decodes lists of CloudEvents."""
        return self._enveloped(EventUnwrapper(is_batch=True, **self._envelope_limits))

    @cached_property
    def generator(self) -> Generator:
        """The decoder, loaded at the first request so that a service that only scores never pays for it."""
        return Generator(self.artifact.contract, self._decoder)

    @cached_property
    def description(self) -> bytes:
        """The answer of GET /model."""
        answer = model_answer(self.artifact, self.name, alpha=self.alpha, threshold=self.threshold)
        return answer.model_dump_json(by_alias=True).encode()

    @cached_property
    def record_schema(self) -> bytes:
        """The answer of GET /model/schema."""
        return rendered(record_schema(self.artifact.contract, self.limits.unknown_columns))

    @property
    def _envelope_limits(self) -> _EnvelopeLimits:
        return {"max_depth": self.limits.max_depth, "max_values": self.limits.max_values}

    def _enveloped(self, unwrapper: Unwrapper | EventUnwrapper) -> JsonDocuments:
        return JsonDocuments(self.artifact.contract.columns.of_records, self.limits, unwrapper)


def _parsed(default: ScoreOptions, answer_metadata: _MetadataAt, query: bytes, on_invalid: OnInvalid) -> ScoreOptions:
    return _checked(parse_query(query), replace(default, on_invalid=on_invalid), answer_metadata)


def _checked(query: ScoreQuery, default: ScoreOptions, answer_metadata: _MetadataAt) -> ScoreOptions:
    options = query.options(default)
    answer_metadata(options.alpha)  # raises if it cannot be promised
    return options

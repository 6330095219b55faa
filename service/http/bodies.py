"""Bodies of POST /score in any format: how each is decoded, scored and answered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from service.artifact import Artifact
from service.errors import ServiceError
from service.http.admission import Ticket
from service.http.call import Call, call_of
from service.http.errors import BodyTooLargeError, IncompleteBodyError
from service.http.formats import BodyFormat, Formats
from service.http.intake import Intake
from service.http.pipeline import OnInvalid, Pipeline
from service.http.problems import answer_service_error
from service.http.score_query import ScoreQuery
from service.http.scoring import Asked, Scoring
from service.http.streaming import Stream, StreamRoom
from service.http.writers.arrow import ArrowWriter
from service.http.writers.csv import CsvWriter
from service.http.writers.document import DocumentWriter
from service.http.writers.ndjson import NdjsonWriter
from service.http.writers.writing import Judgement, Writer
from service.pvalues import threshold
from service.records.stream.arrow import ArrowDecoder
from service.records.stream.blocks import Block, Decoder, StreamLimits
from service.records.stream.csv import CsvDecoder
from service.records.stream.ndjson import NdjsonDecoder
from service.records.stream.unpacking import UNPACKERS
from service.verdicts import Explain

_LOG: Final = logging.getLogger("vaegis.http")
_PART_RECORDS: Final = 1024  # of a document, scored at a time


class DocumentDecoder:
    """Gathers a JSON body, whose records are there at its end."""

    def __init__(self, read: Callable[[bytes], Block], max_bytes: int) -> None:
        """Have a body of at most ``max_bytes`` read by ``read``."""
        self._read = read
        self._max_bytes = max_bytes
        self._held = bytearray()

    @property
    def held_bytes(self) -> int:
        """Bytes that are held."""
        return len(self._held)

    @property
    def missing_bytes(self) -> int:
        """Not known."""
        return 0

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next part of the body.

        Raises:
            BodyTooLargeError: it is longer than allowed.
        """
        self._held += data
        if len(self._held) > self._max_bytes:
            raise BodyTooLargeError(f"body: expected at most {self._max_bytes} bytes, got more")
        return iter(())

    def flush(self) -> Iterator[Block]:
        """Yield nothing."""
        return iter(())

    def end(self) -> Iterator[Block]:
        """Yield the records."""
        return self._read(bytes(self._held)).parts(_PART_RECORDS)


@dataclass(frozen=True, slots=True)
class AnyBody:
    """Answers POST /score whatever the formats are.

    Attributes:
        artifact: The model.
        intake: Lets requests in.
        scoring: Scores records, and reads JSON documents.
        limits: What is decoded at a time.
        room: What one request may take.
        alpha: Share of normal records that may be flagged, where a request does not say.
        explain: Which verdicts carry contributions, where it does not say.
    """

    artifact: Artifact
    intake: Intake
    scoring: Scoring
    limits: StreamLimits
    room: StreamRoom
    alpha: float
    explain: Explain

    async def answer(
        self, scope: Scope, receive: Receive, send: Send, ticket: Ticket, formats: Formats, query: ScoreQuery
    ) -> None:
        """Answer one request.

        An answer that has begun and cannot be ended is cut off, so that nobody takes half of it for the whole.
        """
        stream: Stream | None = None
        try:
            self.intake.readiness.require_model()
            self.intake.admission.require_room()
            pipeline, headers = self._pipeline(formats, query, call_of(scope))
            ticket.enter()
            stream = Stream(pipeline, self.room, self.intake.admission, ticket)
            await stream.run(receive, send, headers)
        except ServiceError as error:
            if stream is not None and stream.has_begun:
                _LOG.warning("answer cut off", extra={"fields": _told(error)})
                return
            ticket.hold_in_all(0)  # what is answered now, the client may take its time to read
            unread = stream is not None and stream.is_unread and not isinstance(error, IncompleteBodyError)
            response = await answer_service_error(Request(scope, receive), error, unread=unread)
            await response(scope, receive, send)

    def _pipeline(self, formats: Formats, query: ScoreQuery, call: Call) -> tuple[Pipeline, list[tuple[bytes, bytes]]]:
        """Return the work on a request's body, and the headers of the answer."""
        alpha = self.alpha if query.alpha is None else query.alpha
        explain = self.explain if query.explain is None else query.explain
        on_invalid = query.on_invalid
        if on_invalid is None:
            on_invalid = OnInvalid.REJECT if formats.body is BodyFormat.JSON else OnInvalid.REPORT
        limit = threshold(self.artifact.calibration_folds, alpha)
        judgement = Judgement.by(self.artifact, alpha=alpha, threshold=limit)
        pipeline = Pipeline(
            unpacker=UNPACKERS[formats.encoding.value](),
            decoder=self._decoder(formats.body, on_invalid),
            judge=lambda columns: self.scoring.judged_alone(Asked(columns, alpha, explain)),
            writer=_writer(formats.answer, judgement, on_invalid),
            on_invalid=on_invalid,
            max_faults=self.limits.max_faults,
            metrics=self.intake.metrics,
            call=call,
        )
        headers = [(b"content-type", formats.media_type.encode())]
        return pipeline, headers if formats.answer is BodyFormat.JSON else headers + judgement.headers()

    def _decoder(self, body: BodyFormat, on_invalid: OnInvalid) -> Decoder:
        schema, limits = self.artifact.contract.columns, self.limits
        if body is BodyFormat.NDJSON:
            return NdjsonDecoder(schema, limits, self.scoring.typed)
        if body is BodyFormat.ARROW:
            return ArrowDecoder(schema, limits)
        if body is BodyFormat.JSON:
            read = self.scoring.reported if on_invalid is OnInvalid.REPORT else self.scoring.sound
            return DocumentDecoder(read, limits.max_held_bytes)
        return CsvDecoder(schema, limits, "\t" if body is BodyFormat.TSV else ",")


def _told(error: ServiceError) -> dict[str, object]:
    """Return what a log may hold of an error: its kind, never its text."""
    code = getattr(error, "code", None)
    return {"error": type(error).__name__} | ({} if code is None else {"code": code})


def _writer(answer: BodyFormat, judgement: Judgement, on_invalid: OnInvalid) -> Writer:
    if answer is BodyFormat.NDJSON:
        return NdjsonWriter()
    if answer is BodyFormat.ARROW:
        return ArrowWriter(judgement)
    if answer is BodyFormat.JSON:
        return DocumentWriter(judgement, has_errors=on_invalid is OnInvalid.REPORT)
    return CsvWriter()

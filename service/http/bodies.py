"""Bodies of POST /score in any format: how each is decoded, scored and answered."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from starlette.types import Receive, Scope, Send

from vaegis.service.artifact import Artifact
from vaegis.service.errors import ServiceError
from vaegis.service.http.admission import Ticket
from vaegis.service.http.body import unpacked_body
from vaegis.service.http.call import Call, call_of
from vaegis.service.http.formats import BodyFormat, Formats
from vaegis.service.http.intake import Intake
from vaegis.service.http.pipeline import Pipeline
from vaegis.service.http.problems import response_to
from vaegis.service.http.score_query import ScoreQuery
from vaegis.service.http.scoring import Asked, Scoring
from vaegis.service.http.server.limits import IncompleteBodyError
from vaegis.service.http.streaming import Stream, StreamRoom
from vaegis.service.http.writers.arrow import ArrowWriter
from vaegis.service.http.writers.csv import CsvWriter
from vaegis.service.http.writers.document import DocumentWriter
from vaegis.service.http.writers.ndjson import NdjsonWriter
from vaegis.service.http.writers.writing import Judgement, Writer
from vaegis.service.pvalues import threshold
from vaegis.service.records.arrow.decoder import ArrowDecoder
from vaegis.service.records.blocks import Decoder, RecordLimits, UnpackedBytes, sound_block
from vaegis.service.records.csv import CsvDecoder
from vaegis.service.records.decompression import unpacker_of
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.ndjson import NdjsonDecoder
from vaegis.service.verdicts import Explain

_LOG: Final = logging.getLogger("vaegis.http")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks for.

    Attributes:
        judgement: What holds for all of its verdicts.
        explain: Which of them carry contributions.
        on_invalid: What becomes of faulty records, where it says so.
    """

    judgement: Judgement
    explain: Explain
    on_invalid: OnInvalid | None


@dataclass(frozen=True, slots=True)
class AnyBody:
    """Answers POST /score whatever the formats are: JSON as a whole, the others as streams.

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
    limits: RecordLimits
    room: StreamRoom
    alpha: float
    explain: Explain

    async def answer_document(
        self, scope: Scope, receive: Receive, ticket: Ticket, formats: Formats, query: ScoreQuery
    ) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Return the answer to a JSON body, and its headers."""
        body = await self.intake.read(scope, receive, ticket)
        asked = self._asked(query)

        def work() -> bytes:
            return self._document(body, formats, asked, ticket, call_of(scope))

        return await self.intake.on_thread(work, receive, ticket), _headers(formats, asked.judgement)

    async def answer_stream(
        self, scope: Scope, receive: Receive, send: Send, ticket: Ticket, formats: Formats, query: ScoreQuery
    ) -> None:
        """Answer a body that is answered while it comes.

        An answer that has begun and cannot be ended is cut off, so that nobody takes half of it for the whole.
        """
        stream: Stream | None = None
        try:
            self.intake.readiness.require_model()
            self.intake.admission.require_room()
            asked = self._asked(query)
            pipeline = self._pipeline(formats, asked, call_of(scope))
            stream = Stream(
                pipeline,
                self.room,
                self.intake.admission,
                ticket,
                is_plain_text=formats.is_plain_text,
            )
            await stream.run(receive, send, _headers(formats, asked.judgement))
        except ServiceError as error:
            if stream is not None and stream.has_begun:
                _LOG.warning("answer cut off", extra={"fields": _told(error)})
                return
            ticket.hold_in_all(0)  # what is answered now, the client may take its time to read
            unread = stream is not None and stream.is_unread and not isinstance(error, IncompleteBodyError)
            await response_to(scope, error, unread=unread)(scope, receive, send)

    def _asked(self, query: ScoreQuery) -> _Asked:
        alpha = self.alpha if query.alpha is None else query.alpha
        limit = threshold(self.artifact.calibration_folds, alpha)
        return _Asked(
            Judgement.by(self.artifact, alpha=alpha, threshold=limit),
            self.explain if query.explain is None else query.explain,
            query.on_invalid,
        )

    def _document(self, body: bytes, formats: Formats, asked: _Asked, ticket: Ticket, call: Call) -> bytes:
        with call.step("decode"):
            call.unpacked = UnpackedBytes(self.limits.max_held_bytes)
            body = unpacked_body(body, formats.encoding, call.unpacked, ticket.check)
            if asked.on_invalid is OnInvalid.REPORT:
                block = self.scoring.reported(body, ticket.check)
            else:
                block = sound_block(self.scoring.columns(body, ticket.check))
        ticket.hold_records(block.records)
        call.charge(block.records)
        writer = _writer(formats.answer, asked.judgement, asked.on_invalid)
        alpha, explain = asked.judgement.alpha, asked.explain
        parts = self.scoring.judged_in_parts(block, alpha, explain, call, ticket.check)
        return b"".join((writer.start(), *(writer.part(part, verdicts) for part, verdicts in parts), writer.end()))

    def _pipeline(self, formats: Formats, asked: _Asked, call: Call) -> Pipeline:
        """Return the work on the body of a stream."""
        on_invalid = OnInvalid.REPORT if asked.on_invalid is None else asked.on_invalid
        alpha, explain = asked.judgement.alpha, asked.explain
        call.unpacked = UnpackedBytes(self.limits.max_held_bytes)
        return Pipeline(
            unpacker=unpacker_of(formats.encoding.value, call.unpacked),
            decoder=self._decoder(formats.body, call.unpacked),
            judge=lambda columns: self.scoring.judged(Asked(columns, alpha, explain)),
            writer=_writer(formats.answer, asked.judgement, on_invalid),
            on_invalid=on_invalid,
            max_faults=self.limits.max_faults,
            metrics=self.intake.metrics,
            call=call,
            max_bytes=self.room.max_bytes,
        )

    def _decoder(self, body: BodyFormat, unpacked: UnpackedBytes) -> Decoder:
        schema, limits = self.artifact.contract.columns, self.limits
        if body is BodyFormat.NDJSON:
            return NdjsonDecoder(schema, limits, self.scoring.typed)
        if body is BodyFormat.ARROW:
            return ArrowDecoder(schema, limits, unpacked)
        return CsvDecoder(schema, limits, "\t" if body is BodyFormat.TSV else ",")


def _headers(formats: Formats, judgement: Judgement) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer."""
    content_type = (b"content-type", formats.media_type.encode())
    return [content_type] if formats.answer is BodyFormat.JSON else [content_type, *judgement.headers()]


def _told(error: ServiceError) -> dict[str, object]:
    """Return what a log may hold of an error: its kind, never its text."""
    code = getattr(error, "code", None)
    return {"error": type(error).__name__} | ({} if code is None else {"code": code})


def _writer(answer: BodyFormat, judgement: Judgement, on_invalid: OnInvalid | None) -> Writer:
    if answer is BodyFormat.NDJSON:
        return NdjsonWriter()
    if answer is BodyFormat.ARROW:
        return ArrowWriter(judgement)
    if answer is BodyFormat.JSON:
        return DocumentWriter(judgement, has_errors=on_invalid is OnInvalid.REPORT)
    return CsvWriter()

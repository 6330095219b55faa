"""POST /score: records in any format, read to their end, and their verdicts in the format that Accept asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Final

import msgspec
import numpy as np
from starlette.types import Receive, Scope, Send

from vaegis.service.errors import RecordError, ServiceError
from vaegis.service.http.admission import Admission, Slot
from vaegis.service.http.block_scoring import BlockScoring
from vaegis.service.http.endpoints import MODEL_PARAMETER, json_content, operation
from vaegis.service.http.models.registry import ModelEntry, ModelRegistry
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.negotiation import (
    ANSWER_TYPES,
    BODY_TYPES,
    EVENT_BATCH,
    EVENT_ID,
    BodyFormat,
    Formats,
    header,
    negotiated,
)
from vaegis.service.http.routes import path_parameters
from vaegis.service.http.schemas import ScoreAnswer, reference
from vaegis.service.http.score_options import ScoreOptions, query_parameters
from vaegis.service.http.writers.arrow import arrow_writer
from vaegis.service.http.writers.csv import csv_writer
from vaegis.service.http.writers.json import (
    EVENT_TYPE,
    SPECVERSION,
    event_source,
    events_writer,
    json_writer,
    ndjson_writer,
)
from vaegis.service.http.writers.writer import Writer, json_document, rows_of
from vaegis.service.records.arrow.decoder import ArrowDecoder
from vaegis.service.records.blocks import BLOCK_BYTES, Block, Decoder, merged
from vaegis.service.records.csv import CsvDecoder
from vaegis.service.records.decompression import UnpackedBytes, Unpacker
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.json_document import JsonDecoder, JsonDocuments
from vaegis.service.records.ndjson import NdjsonDecoder
from vaegis.service.records.python_records import columns_from_records

SCORE_BY_NAME: Final = "/models/{model}/score"
"""Template of the route that names its model."""


@dataclass(frozen=True, slots=True)
class ScoreEndpoint:
    """Answers POST /score, and the route that names a model.

    Attributes:
        models: The models.
        model: The one to score with; None for the one that the path names.
        admission: Admits requests.
        inline_body_bytes: Bodies up to this size, with no more records than a batch may have, are scored on the event
            loop, because handing them to a thread would take about as long.
    """

    models: ModelRegistry
    model: ModelEntry | None
    admission: Admission
    inline_body_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self.admission.slot(scope, receive) as slot:
            model = (self.model or self.models.entry(path_parameters(scope["path"])["model"])).live()
            formats = negotiated(scope["headers"])
            options = model.options(scope["query_string"], formats.on_invalid)
            request = _Request(model, slot, formats, options, header(scope["headers"], EVENT_ID))
            body = await slot.read(at_least=self.inline_body_bytes + 1)
            if slot.is_whole and formats.is_plain_text and len(body) <= self.inline_body_bytes:
                slot.start_computing()
                block = request.decode(body)
                if block.records <= model.batcher.most_records:
                    answer = await request.answer_in_batch(block)
                    await slot.send(send, [answer], len(answer), request.headers())
                    return
                scoring = request.block_scoring()
                await slot.run(partial(scoring.score, block))
            else:
                scoring = await request.score_blocks(body)
            slot.hold_answer(scoring.answer.held_bytes)
            await slot.send(send, scoring.answer.parts(), scoring.answer.length, request.headers())

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        model = self.models.default.live()
        record, most = model.artifact.contract.golden.records[0], model.limits.max_records
        records = {"type": "array", "items": reference("Record"), "minItems": 1, "maxItems": most}
        json_body = {
            "schema": {"anyOf": [reference("Record"), records, reference("RecordsByColumn")]},
            "examples": {
                "one": {"summary": "One record", "value": record},
                "list": {"summary": "A list of records", "value": [record]},
                "columns": {"summary": "By column", "value": {key: [value] for key, value in record.items()}},
            },
        }
        others = {
            name: {"schema": {"type": "string", "contentMediaType": name, "description": "See docs/formats.md."}}
            for name in BODY_TYPES
            if name != "application/json"
        }
        written = {name: others[name] for name in ANSWER_TYPES if name in others}
        by_name = self.model is None
        return operation(
            "score_with_model" if by_name else "score",
            "Score records with a model" if by_name else "Score records",
            "Score one record or a list: how unlikely each is, whether it is an anomaly, and which columns did it.",
            takes={"application/json": json_body, **others},
            gives=json_content(ScoreAnswer, _example_answer(model)) | written,
            parameters=[*([MODEL_PARAMETER] if by_name else []), *query_parameters()],
        )


class _Request(msgspec.Struct, frozen=True, eq=False):
    """One request, with its formats and options."""

    model: ServedModel
    slot: Slot
    formats: Formats
    options: ScoreOptions
    event_id: bytes
    """Of a CloudEvent in binary mode, whose attributes are in headers; blank if the request is none."""

    @property
    def documents(self) -> JsonDocuments:
        """What decodes the JSON of this request."""
        if self.formats.events:
            return self.model.event_batches if self.formats.events == EVENT_BATCH else self.model.events
        return self.model.documents

    def decode(self, body: bytes) -> Block:
        """Return the records of a small body."""
        with self.slot.context.step("decode"):
            try:
                block = self._block(body)
            except RecordError as error:
                self.model.metrics.count_refused(error.faults)
                raise
        self.model.require_few_records(block)
        if block.faults and (faults := self.model.rejecting_faults(block, self.options.on_invalid)):
            raise self.model.rejected(faults)
        return block

    async def answer_in_batch(self, block: Block) -> bytes:
        """Return the answer to few records, which are scored together with those of other requests."""
        model, context, records = self.model, self.slot.context, block.records - len(block.faults)

        def begin() -> None:
            self.slot.begin()
            context.charge(block.records)

        with context.step("infer"):
            judged = await model.batcher.judge(block.columns, self.options, begin)
        model.metrics.count_batch(records, judged.seconds)
        context.records = records
        if self.formats.answer is BodyFormat.JSON and self.options.on_invalid is OnInvalid.REJECT:
            rows = judged.verdict_rows()
            context.flagged = sum([row.is_anomaly for row in rows])
            return json_document(model.answer_metadata(self.options.alpha), rows)
        verdicts = judged.verdicts()
        context.flagged = int(np.count_nonzero(verdicts.is_anomaly))
        writer = self._writer()
        return writer.whole([writer.part(block, verdicts)])

    def block_scoring(self) -> BlockScoring:
        """Return the scoring of a body that is scored on threads."""
        return BlockScoring(self.model, self.options, self._writer(), self.slot)

    async def score_blocks(self, first: bytes) -> BlockScoring:
        """Score a body that begins with ``first`` on threads, as it arrives."""
        slot, scoring = self.slot, self.block_scoring()
        unpacked = UnpackedBytes(slot.max_body_bytes)
        decompressor, decoder = Unpacker(self.formats.encoding.value, unpacked), self._decoder(unpacked)
        data = first
        try:
            while True:
                is_last = slot.is_whole
                await slot.run(partial(scoring.score_bytes, data, decompressor, decoder, is_last=is_last))
                slot.hold_answer(scoring.answer.held_bytes, decoder.held_bytes)
                if is_last:
                    return scoring
                data = await slot.read(at_least=BLOCK_BYTES)
        finally:
            slot.context.charge_unpacked(unpacked.total)

    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers of the answer."""
        event = self._event_headers() if self.event_id else ()
        if self.formats.answer is BodyFormat.JSON:
            return [*self.model.json_headers, *event] if event else self.model.json_headers
        content_type = (b"content-type", self.formats.media_type.encode())
        return [content_type, *self.model.answer_metadata(self.options.alpha).headers, *event]

    def _event_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Return what makes the answer to a CloudEvent in binary mode one as well."""
        return [
            (b"ce-specversion", SPECVERSION.encode()),
            (EVENT_ID, self.event_id),
            (b"ce-source", event_source(self.model.name).encode()),
            (b"ce-type", EVENT_TYPE.encode()),
        ]

    def _block(self, body: bytes) -> Block:
        if self.formats.body is BodyFormat.JSON:
            return self.documents.decode(body, self.options.on_invalid, self.slot.check)
        decoder = self._decoder(UnpackedBytes(len(body)))
        blocks: list[Block] = []
        try:
            for block in chain(decoder.feed(body), decoder.finish()):
                blocks.append(block)  # noqa: PERF402 - those before an error count
        except ServiceError:
            if self.options.on_invalid is OnInvalid.REPORT or not any(block.faults for block in blocks):
                raise  # otherwise the faults are reported, whatever else is wrong with the body
        return merged(blocks)

    def _decoder(self, unpacked: UnpackedBytes) -> Decoder:
        schema, limits = self.model.artifact.contract.columns.of_records, self.model.limits
        if self.formats.body is BodyFormat.JSON:
            return JsonDecoder(self.documents, limits.max_held_bytes, self.options.on_invalid, self.slot.check)
        if self.formats.body is BodyFormat.NDJSON:
            return NdjsonDecoder(schema, limits, self.documents.typed, self.documents.unwrapper)
        if self.formats.body is BodyFormat.ARROW:
            return ArrowDecoder(schema, limits, unpacked)
        return CsvDecoder(schema, limits, "\t" if self.formats.body is BodyFormat.TSV else ",")

    def _writer(self) -> Writer:
        metadata = self.model.answer_metadata(self.options.alpha)
        if self.formats.answer is BodyFormat.NDJSON:
            return ndjson_writer()
        if self.formats.answer is BodyFormat.ARROW:
            return arrow_writer(metadata)
        if self.formats.answer is BodyFormat.CSV:
            return csv_writer()
        has_errors = self.options.on_invalid is OnInvalid.REPORT
        if self.formats.answer is BodyFormat.EVENTS:
            return events_writer(metadata, is_batch=self.formats.events == EVENT_BATCH, has_errors=has_errors)
        return json_writer(metadata, has_errors=has_errors)


def _example_answer(model: ServedModel) -> object:
    artifact = model.artifact
    options = model.options(b"explain=all", OnInvalid.REJECT)
    columns = columns_from_records(artifact.contract.golden.records[:1], artifact.contract.columns.of_records)
    verdicts = artifact.judge(columns, alpha=options.alpha, explain=options.explain)
    return msgspec.json.decode(json_document(model.answer_metadata(options.alpha), rows_of(verdicts)))

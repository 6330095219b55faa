"""POST /score: records in any format, read to their end, and their verdicts in the format that Accept asks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import msgspec
import numpy as np
from starlette.types import Receive, Scope, Send

from vaegis.service.errors import RecordError, ServiceError
from vaegis.service.http.admission import Admission, Slot
from vaegis.service.http.block_scoring import BlockScoring, rejected, rejecting_faults
from vaegis.service.http.negotiation import ANSWER_TYPES, BODY_TYPES, BodyFormat, Formats, negotiated
from vaegis.service.http.request_context import RequestContext, request_context
from vaegis.service.http.responses import send_answer
from vaegis.service.http.schemas import REFERENCE_PREFIX, ScoreAnswer, reference
from vaegis.service.http.score_options import ScoreOptions, ScoreQuery
from vaegis.service.http.served_model import ServedModel
from vaegis.service.http.writers.arrow import ArrowWriter
from vaegis.service.http.writers.csv import CsvWriter
from vaegis.service.http.writers.json import JSON_END, JsonWriter, json_rows, json_start, rows_of
from vaegis.service.http.writers.ndjson import NdjsonWriter
from vaegis.service.http.writers.writer import Writer
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.json import columns_from_records
from vaegis.service.records.json_document import JsonDecoder
from vaegis.service.records.stream.arrow import ArrowDecoder
from vaegis.service.records.stream.blocks import BLOCK_BYTES, Block, Decoder, UnpackedBytes, merged
from vaegis.service.records.stream.csv import CsvDecoder
from vaegis.service.records.stream.ndjson import NdjsonDecoder
from vaegis.service.records.stream.unpacking import unpacker_of

_Headers = Sequence[tuple[bytes, bytes]]


class ScoreEndpoint:
    """Answers POST /score, as an ASGI app."""

    def __init__(self, model: ServedModel, admission: Admission, inline_body_bytes: int) -> None:
        """Score with ``model``.

        Args:
            model: The model.
            admission: Admits requests.
            inline_body_bytes: Bodies up to this size, of no more records than a batch may have, are scored on the event
                loop, which takes little longer than handing them to a thread.
        """
        self._model = model
        self._admission = admission
        self._inline_body_bytes = inline_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self._admission.slot(scope, receive) as slot:
            formats = negotiated(scope["headers"])
            options = self._model.options(scope["query_string"], formats.on_invalid)
            body = await slot.read(at_least=self._inline_body_bytes + 1)
            if slot.is_whole and formats.is_plain_text and len(body) <= self._inline_body_bytes:
                slot.take_place()
                block = self._decode(body, formats, options, slot, request_context(scope))
                if block.records <= self._model.batcher.most_records:
                    answer = await self._answer_in_batch(block, formats, options, slot, request_context(scope))
                    slot.release_place()
                    await send_answer(send, [answer], len(answer), self._headers(formats, options))
                    return
                scoring = self._block_scoring(formats, options, slot, request_context(scope))
                await slot.run(lambda: scoring.score(block))
            else:
                scoring = self._block_scoring(formats, options, slot, request_context(scope))
                await self._score_blocks(scoring, body, formats, options, slot)
            slot.hold_answer(scoring.answer.held_bytes)
            await send_answer(send, scoring.answer.parts(), scoring.answer.length, self._headers(formats, options))

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        model = self._model
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
        json_answer = {"schema": reference(ScoreAnswer.__name__), "example": self._example_answer()}
        others = {
            name: {"schema": {"type": "string", "contentMediaType": name, "description": "See docs/formats.md."}}
            for name in BODY_TYPES
            if name != "application/json"
        }
        written = {name: others[name] for name in ANSWER_TYPES if name in others}
        return {
            "summary": "Score",
            "description": "Score one record or a list: how unlikely each is, whether it is an anomaly, and which "
            "columns did it.",
            "operationId": "score",
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema}
                for name, schema in ScoreQuery.model_json_schema(ref_template=REFERENCE_PREFIX + "{model}")[
                    "properties"
                ].items()
            ],
            "requestBody": {"required": True, "content": {"application/json": json_body, **others}},
            "responses": {"200": {"description": "Verdicts", "content": {"application/json": json_answer, **written}}},
        }

    def _example_answer(self) -> object:
        artifact = self._model.artifact
        options = self._model.options(b"explain=all", OnInvalid.REJECT)
        columns = columns_from_records(artifact.contract.golden.records[:1], artifact.contract.columns)
        verdicts = self._model.verdicts(columns, options)
        start = json_start(self._model.answer_metadata(options.alpha))
        return msgspec.json.decode(start + json_rows(rows_of(verdicts)) + JSON_END)

    def _decode(
        self, body: bytes, formats: Formats, options: ScoreOptions, slot: Slot, context: RequestContext
    ) -> Block:
        """Return the records of a small body."""
        with context.step("decode"):
            try:
                block = self._block(body, formats, options, slot)
            except RecordError as error:
                self._model.metrics.count_refused(error.faults)
                raise
        if faults := rejecting_faults(self._model, block, options.on_invalid):
            raise rejected(self._model, faults)
        return block

    def _block(self, body: bytes, formats: Formats, options: ScoreOptions, slot: Slot) -> Block:
        if formats.body is BodyFormat.JSON:
            return self._model.documents.decode(body, options.on_invalid, slot.check)
        decoder = self._decoder(formats, options, slot, UnpackedBytes(len(body)))
        blocks: list[Block] = []
        try:
            for block in chain(decoder.feed(body), decoder.end()):
                blocks.append(block)  # noqa: PERF402 - those before an error count
        except ServiceError:
            if options.on_invalid is OnInvalid.REPORT or not any(block.faults for block in blocks):
                raise  # otherwise the faults are told, whatever else is wrong with the body
        return merged(blocks)

    async def _answer_in_batch(
        self, block: Block, formats: Formats, options: ScoreOptions, slot: Slot, context: RequestContext
    ) -> bytes:
        """Return the answer to few records, which are scored together with those of other requests."""
        model, records = self._model, len(block.columns)

        def begin() -> None:
            slot.begin()
            context.charge(block.records)

        with context.step("infer"):
            judged = await model.batcher.judge(block.columns, options, begin)
        model.metrics.count_batch(records, judged.seconds)
        context.records = records
        metadata = model.answer_metadata(options.alpha)
        if formats.answer is BodyFormat.JSON and not block.faults and options.on_invalid is OnInvalid.REJECT:
            rows = judged.rows()
            context.flagged = sum([row.is_anomaly for row in rows])
            return b"".join((json_start(metadata), json_rows(rows), JSON_END))
        verdicts = judged.verdicts()
        context.flagged = int(np.count_nonzero(verdicts.is_anomaly))
        writer = self._writer(formats, options)
        return b"".join((writer.start(), writer.part(block, verdicts), writer.end()))

    def _block_scoring(
        self, formats: Formats, options: ScoreOptions, slot: Slot, context: RequestContext
    ) -> BlockScoring:
        return BlockScoring(self._model, options, self._writer(formats, options), context, slot.check)

    async def _score_blocks(
        self, scoring: BlockScoring, first: bytes, formats: Formats, options: ScoreOptions, slot: Slot
    ) -> None:
        """Score a body on threads, as it arrives, and leave the answer in ``scoring``."""
        unpacked = slot.context.unpacked = UnpackedBytes(self._admission.limits.max_body_bytes)
        decompressor = unpacker_of(formats.encoding.value, unpacked)
        decoder = self._decoder(formats, options, slot, unpacked)
        data = first
        while True:
            is_last = slot.is_whole
            await slot.run(partial(scoring.feed, data, decompressor, decoder, is_last=is_last))
            slot.hold_answer(scoring.answer.held_bytes, decoder.held_bytes)
            if is_last:
                return
            slot.context.require_key()  # it may have been revoked meanwhile
            data = await slot.read(at_least=max(BLOCK_BYTES, decoder.missing_bytes))

    def _decoder(self, formats: Formats, options: ScoreOptions, slot: Slot, unpacked: UnpackedBytes) -> Decoder:
        schema, limits = self._model.artifact.contract.columns, self._model.limits
        if formats.body is BodyFormat.JSON:
            return JsonDecoder(self._model.documents, limits.max_held_bytes, options.on_invalid, slot.check)
        if formats.body is BodyFormat.NDJSON:
            return NdjsonDecoder(schema, limits, self._model.documents.typed)
        if formats.body is BodyFormat.ARROW:
            return ArrowDecoder(schema, limits, unpacked)
        return CsvDecoder(schema, limits, "\t" if formats.body is BodyFormat.TSV else ",")

    def _writer(self, formats: Formats, options: ScoreOptions) -> Writer:
        metadata = self._model.answer_metadata(options.alpha)
        if formats.answer is BodyFormat.NDJSON:
            return NdjsonWriter()
        if formats.answer is BodyFormat.ARROW:
            return ArrowWriter(metadata)
        if formats.answer is BodyFormat.CSV:
            return CsvWriter()
        return JsonWriter(metadata, has_errors=options.on_invalid is OnInvalid.REPORT)

    def _headers(self, formats: Formats, options: ScoreOptions) -> _Headers:
        content_type = (b"content-type", formats.media_type.encode())
        if formats.answer is BodyFormat.JSON:
            return [content_type]
        return [content_type, *self._model.answer_metadata(options.alpha).headers()]

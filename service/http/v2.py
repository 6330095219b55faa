"""Inference by the Open Inference Protocol, version 2: from the bytes of a request to those of its answer."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vaegis.service.artifact import Artifact
from vaegis.service.errors import RecordError
from vaegis.service.http.admission import Ticket
from vaegis.service.http.body import require_few_values, unpacked_body
from vaegis.service.http.call import Call, call_of
from vaegis.service.http.errors import (
    MediaTypeError,
    NoRecordsError,
    ParameterError,
    TooManyRecordsError,
)
from vaegis.service.http.formats import Headers, encoding_of, media_type_of
from vaegis.service.http.intake import Intake
from vaegis.service.http.problems import parameter_messages
from vaegis.service.http.score_query import ScoreQuery
from vaegis.service.http.scoring import Scoring
from vaegis.service.http.v2_answer import asked_outputs, written_answer
from vaegis.service.http.writers.writing import Judgement
from vaegis.service.pvalues import threshold
from vaegis.service.records.blocks import Block, RecordLimits, UnpackedBytes, block_of, sound_block
from vaegis.service.records.faults import FaultList, FaultsByRow, OnInvalid
from vaegis.service.records.open_inference import InferRequest, columns_of, read_request
from vaegis.service.verdicts import Explain

HEADER_LENGTH: Final = "inference-header-content-length"
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"

_VERSION_DIGITS: Final = 12
_MAX_LENGTH_DIGITS: Final = 20
_OURS: Final = tuple(ScoreQuery.model_fields)  # parameters that say what the query of POST /score says


@dataclass(frozen=True, slots=True)
class Inference:
    """Answers inference requests with one model.

    Attributes:
        artifact: The model.
        intake: Lets requests in.
        scoring: Scores records.
        limits: What is decoded.
        alpha: Share of normal records that may be flagged, where a request does not say.
        explain: Which verdicts carry contributions, where it does not say.
    """

    artifact: Artifact
    intake: Intake
    scoring: Scoring
    limits: RecordLimits
    alpha: float
    explain: Explain

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.artifact.contract.provenance.model_name

    @property
    def version(self) -> str:
        """Version of the model: the beginning of its digest."""
        return self.artifact.digest[:_VERSION_DIGITS]

    def require_model(self, name: str, version: str | None) -> None:
        """Pass if this model is meant.

        Raises:
            HTTPException: another is.
        """
        if name != self.model or version not in (None, self.version):
            known = f"the model {self.model!r} of version {self.version}"
            raise HTTPException(404, f"models: expected {known}, got another")

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        scope = request.scope
        with closing(Ticket(self.intake.admission)) as ticket:
            _require_tensors(scope["headers"])
            encoding = encoding_of(scope["headers"])
            body = await self.intake.read(scope, request.receive, ticket)
            call = call_of(scope)
            call.unpacked = unpacked = UnpackedBytes(self.limits.max_held_bytes)
            length = request.headers.get(HEADER_LENGTH)

            header: int | None = None

            def work() -> bytes:
                nonlocal header
                whole = unpacked_body(body, encoding, unpacked, ticket.check)
                answer, header = self._answered(whole, length, ticket, call)
                return answer

            answer = await self.intake.on_thread(work, request.receive, ticket)
        if header is None:
            return Response(answer, media_type=JSON)
        return Response(answer, headers={HEADER_LENGTH: str(header)}, media_type=BINARY)

    def _answered(self, body: bytes, header_length: str | None, ticket: Ticket, call: Call) -> tuple[bytes, int | None]:
        with call.step("decode"):
            request = self._read(body, header_length)
            query = _query(request)
            alpha = self.alpha if query.alpha is None else query.alpha
            explain = self.explain if query.explain is None else query.explain
            reports = query.on_invalid is OnInvalid.REPORT
            limit = threshold(self.artifact.calibration_folds, alpha)
            outputs = asked_outputs(request, explain=explain, has_errors=reports)
            block = self._block(request, reports=reports)
        ticket.hold_records(block.records)
        call.charge(block.records)
        parts = list(self.scoring.judged_in_parts(block, alpha, explain, call, ticket.check))
        judgement = Judgement.by(self.artifact, alpha=alpha, threshold=limit)
        return written_answer(request, outputs, parts, judgement, self.version)

    def _read(self, body: bytes, header_length: str | None) -> InferRequest:
        length = len(body)
        if header_length is not None:
            # Python converts no number of thousands of digits, and its error would be taken for a fault of ours.
            is_number = len(header_length) <= _MAX_LENGTH_DIGITS and header_length.isdecimal()
            if not is_number or int(header_length) > length:
                raise ParameterError(f"{HEADER_LENGTH}: expected a number of at most {length}, got another value")
            length = int(header_length)
        header = body[:length]
        require_few_values(header, self.limits.max_values)
        request = read_request(header, body[length:], max_depth=self.limits.max_depth)
        if not request.records:
            raise NoRecordsError("inputs: expected at least one record, got none")
        if request.records > self.limits.max_records:
            most = self.limits.max_records
            raise TooManyRecordsError(f"inputs: expected at most {most} records, got {request.records}")
        return request

    def _block(self, request: InferRequest, *, reports: bool) -> Block:
        schema, limits = self.artifact.contract.columns, self.limits
        faults = FaultsByRow(limits.max_faults, 0) if reports else FaultList(limits.max_faults)
        try:
            columns = columns_of(
                request, schema, faults, unknown_columns=limits.unknown_columns, max_faults=limits.max_faults
            )
            if isinstance(faults, FaultsByRow):
                block = block_of(columns, faults, 0)
                self.intake.metrics.count_refused(fault for found in block.faults.values() for fault in found)
                return block
            faults.raise_any()
        except RecordError as error:
            self.intake.metrics.count_refused(error.faults)
            raise
        return sound_block(columns)


def _query(request: InferRequest) -> ScoreQuery:
    """Return what the request's parameters say of what the query of POST /score says."""
    try:
        return ScoreQuery.model_validate(
            {name: request.parameters[name] for name in _OURS if name in request.parameters}
        )
    except ValidationError as error:
        raise ParameterError(*parameter_messages(error.errors(include_url=False))) from error


def _require_tensors(headers: Headers) -> None:
    declared = media_type_of(headers)
    if declared not in ("", JSON, BINARY):
        raise MediaTypeError(f"Content-Type: expected {JSON} or {BINARY}, got {declared!r}")

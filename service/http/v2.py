"""The Open Inference Protocol, version 2, with the extension for binary tensors: metadata, health and inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from vaegis.service.errors import RecordError
from vaegis.service.http.admission import Admission, Readiness, Slot
from vaegis.service.http.block_scoring import judged_in_parts
from vaegis.service.http.endpoints import MODEL_PARAMETER, json_content, operation, validated
from vaegis.service.http.errors import MediaTypeError, ParameterError
from vaegis.service.http.models.registry import ModelRegistry
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.negotiation import HEADER_LENGTH, Encoding, Headers, encoding_of, header, media_type_of
from vaegis.service.http.routes import path_parameters
from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, with_example
from vaegis.service.http.score_options import ScoreQuery
from vaegis.service.http.writers.v2 import OUTPUTS, asked_outputs, written_answer
from vaegis.service.records.blocks import Block, NoRecordsError, TooManyRecordsError, block_of
from vaegis.service.records.decompression import UnpackedBytes, decompressed
from vaegis.service.records.faults import Faults, OnInvalid
from vaegis.service.records.json import require_few_values
from vaegis.service.records.kinds import kind_of
from vaegis.service.records.open_inference import InferRequest, columns_of, read_request

INFER: Final = "/v2/models/{model}/infer"
"""Template of the route that scores."""
JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"

_TENSORS: Final = {BINARY: {"schema": {"type": "string", "contentMediaType": BINARY}}}
_MAX_LENGTH_DIGITS: Final = 20
_OURS: Final = tuple(ScoreQuery.model_fields)  # parameters that say what the query of POST /score says
_LENGTH: Final = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "description": "Where binary tensors follow the JSON: the length of the JSON, in bytes.",
    "schema": {"type": "integer", "minimum": 0},
}


class ServerLive(Answer):
    """The answer of the liveness probe."""

    model_config = with_example(live=True)

    live: bool


class ServerReady(Answer):
    """The answer of the readiness probe."""

    model_config = with_example(ready=True)

    ready: bool


class ServerMetadata(Answer):
    """What the server is."""

    model_config = with_example(name="vaegis", version="0.1.0", extensions=["binary_tensor_data"])

    name: str
    version: str
    extensions: list[str]


class ModelReady(Answer):
    """Whether a model can be asked."""

    model_config = with_example(name="orders", ready=True)

    name: str
    ready: bool


class TensorMetadata(Answer):
    """An input or an output; a shape of -1 stands for any number of records."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Answer):
    """What a model takes and gives."""

    model_config = with_example(
        name="orders",
        versions=["85a9ec465059"],
        platform="onnx_onnxv1",
        inputs=[{"name": "amount", "datatype": "FP64", "shape": [-1, 1]}],
        outputs=[{"name": "is_anomaly", "datatype": "BOOL", "shape": [-1]}],
    )

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InputTensor(BaseModel):
    """Values of one column, or of all columns in the order of the schema; binary values follow the JSON."""

    name: str
    shape: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, max_length=2, description="[N] or [N, 1] for one column, [N, D] for all of them."
    )
    datatype: str = Field(description="BOOL, BYTES, FP64 and the other names of the Open Inference Protocol.")
    parameters: dict[str, Any] | None = None
    data: list[Any] = Field(default=[])


class RequestedOutput(BaseModel):
    """An output that the answer should have."""

    name: str
    parameters: dict[str, Any] | None = None


class InferBody(BaseModel):
    """The body of an inference request."""

    id: str | None = None
    parameters: dict[str, Any] | None = Field(
        default=None, description="alpha, explain and on_invalid, as in the query of POST /score."
    )
    inputs: list[InputTensor] = Field(min_length=1)
    outputs: list[RequestedOutput] | None = Field(default=None, description="All if there is none.")


class OutputTensor(Answer):
    """An output of inference; its values follow the JSON instead where `binary_data_size` says how many bytes."""

    name: str
    datatype: str
    shape: list[int]
    parameters: dict[str, int] | None = None
    data: list[bool | float | str | None] | None = None


class InferAnswer(Answer):
    """The answer of an inference request."""

    model_config = with_example(
        model_name="orders",
        model_version="85a9ec465059",
        id="a-1",
        parameters={"model_digest": EXAMPLE_DIGEST, "alpha": 0.01, "threshold": 12.89, "guarantee": "split-conformal"},
        outputs=[{"name": "is_anomaly", "shape": [1], "datatype": "BOOL", "data": [False]}],
    )

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, str | float]
    outputs: list[OutputTensor]


class InferenceError(Answer):
    """Any error below /v2."""

    model_config = with_example(error="no such path; GET /openapi.json lists all")

    error: str


@dataclass(frozen=True, slots=True)
class InferEndpoint:
    """Answers inference requests with the models that they name."""

    models: ModelRegistry
    admission: Admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        parameters = path_parameters(scope["path"])
        self.models.entry(parameters["model"])  # an unknown one is refused before anything else
        async with self.admission.slot(scope, receive) as slot:
            model = self.models.with_version(parameters["model"], parameters.get("version"))
            _require_tensors(scope["headers"])
            encoding = encoding_of(scope["headers"])
            length = header(scope["headers"], HEADER_LENGTH).decode("latin-1") or None
            body = await slot.read_document(model.limits.max_held_bytes)
            work = partial(_answered, model, body, encoding, length, slot)
            answer, json_bytes = await slot.run(work)
            headers = [(b"content-type", JSON.encode())]
            if json_bytes is not None:
                headers = [(HEADER_LENGTH, b"%d" % json_bytes), (b"content-type", BINARY.encode())]
            await slot.send(send, [answer], len(answer), [*headers, model.digest_header])

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        return operation(
            "infer",
            "Score tensors",
            "Score records that come as tensors, one for each column.",
            takes=json_content(InferBody, _example(self.models.default.live())) | _TENSORS,
            gives=json_content(InferAnswer) | _TENSORS,
            parameters=[MODEL_PARAMETER, _LENGTH],
        )


def v2_endpoints(models: ModelRegistry, readiness: Readiness) -> dict[str, Callable[..., Any]]:
    """Return the endpoints of the protocol that answer GET, by template."""

    async def server_metadata() -> ServerMetadata:
        """Tell what is served here, and by which extensions of the protocol."""
        return ServerMetadata(name="vaegis", version=version("vaegis"), extensions=["binary_tensor_data"])

    async def server_live() -> ServerLive:
        """Tell that the process answers."""
        return ServerLive(live=True)

    async def server_ready() -> ServerReady:
        """Tell whether requests should be sent here."""
        readiness.require_ready()
        return ServerReady(ready=True)

    async def model_metadata(model: str, version: str | None = None) -> ModelMetadata:
        """Describe the inputs and outputs of the model."""
        return _metadata(models.with_version(model, version))

    async def model_ready(model: str, version: str | None = None) -> ModelReady:
        """Tell whether the model can be asked."""
        served = models.with_version(model, version)
        readiness.require_ready()
        return ModelReady(name=served.name, ready=True)

    return {
        "/v2": server_metadata,
        "/v2/health/live": server_live,
        "/v2/health/ready": server_ready,
        "/v2/models/{model}": model_metadata,
        "/v2/models/{model}/ready": model_ready,
    }


def _answered(
    model: ServedModel, body: bytes, encoding: Encoding, header_length: str | None, slot: Slot
) -> tuple[bytes, int | None]:
    unpacked = UnpackedBytes(model.limits.max_held_bytes)
    try:
        body = decompressed(body, encoding.value, unpacked, slot.check)
        return _answered_plain(model, body, header_length, slot)
    finally:
        slot.context.charge_unpacked(unpacked.total)


def _answered_plain(model: ServedModel, body: bytes, header_length: str | None, slot: Slot) -> tuple[bytes, int | None]:
    with slot.context.step("decode"):
        request = _read(model, body, header_length)
        parameters = {name: request.parameters[name] for name in _OURS if name in request.parameters}
        options = model.checked_options(validated(ScoreQuery, parameters))
        reports = options.on_invalid is OnInvalid.REPORT
        outputs = asked_outputs(request, explain=options.explain, has_errors=reports)
        block = _block(model, request, reports=reports)
    slot.context.charge(block.records)
    parts = list(judged_in_parts(model, block, options, slot))
    return written_answer(request, outputs, parts, model.answer_metadata(options.alpha), model.version)


def _read(model: ServedModel, body: bytes, header_length: str | None) -> InferRequest:
    length = len(body)
    if header_length is not None:
        # int() raises ValueError for thousands of digits, which would be answered 500.
        is_number = len(header_length) <= _MAX_LENGTH_DIGITS and header_length.isdecimal()
        if not is_number or int(header_length) > length:
            raise ParameterError(
                f"{HEADER_LENGTH.decode()}: expected a number of at most {length}, got {header_length[:100]!r}"
            )
        length = int(header_length)
    header = body[:length]
    require_few_values(header, model.limits.max_values)
    request = read_request(header, body[length:], max_depth=model.limits.max_depth)
    if not request.records:
        raise NoRecordsError("inputs: expected at least one record, got none")
    if request.records > model.limits.max_records:
        most = model.limits.max_records
        raise TooManyRecordsError(f"inputs: expected at most {most} records, got {request.records}")
    return request


def _block(model: ServedModel, request: InferRequest, *, reports: bool) -> Block:
    schema, limits = model.artifact.contract.columns.of_records, model.limits
    faults = Faults(limits.max_faults)
    try:
        columns = columns_of(
            request, schema, faults, unknown_columns=limits.unknown_columns, max_faults=limits.max_faults
        )
        if not reports:
            faults.raise_any()
    except RecordError as error:
        model.metrics.count_refused(error.faults)
        raise
    block = block_of(columns, faults, 0)
    model.metrics.count_refused(fault for found in block.faults.values() for fault in found)
    return block


def _require_tensors(headers: Headers) -> None:
    declared = media_type_of(headers)
    if declared not in ("", JSON, BINARY):
        raise MediaTypeError(f"Content-Type: expected {JSON} or {BINARY}, got {declared!r}")


def _example(model: ServedModel) -> dict[str, Any]:
    """Return a request with one record."""
    columns, record = model.artifact.contract.columns.columns, model.artifact.contract.golden.records[0]
    return {
        "inputs": [
            {"name": column.name, "datatype": kind_of(column).datatype, "shape": [1], "data": [record[column.name]]}
            for column in columns
            if record.get(column.name) is not None
        ]
    }


def _metadata(model: ServedModel) -> ModelMetadata:
    columns = model.artifact.contract.columns.of_records.columns
    return ModelMetadata(
        name=model.name,
        versions=[model.version],
        platform="onnx_onnxv1",
        inputs=[TensorMetadata(name=c.name, datatype=kind_of(c).datatype, shape=[-1, 1]) for c in columns],
        outputs=[TensorMetadata(name=name, datatype=kind, shape=[-1]) for name, kind in OUTPUTS.items()],
    )

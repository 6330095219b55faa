"""The routes of the Open Inference Protocol, version 2, with the extension for binary tensors."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from vaegis.service.contract import BooleanColumn, CategoricalColumn, Column, TimestampColumn
from vaegis.service.http.readiness import Readiness
from vaegis.service.http.v2 import BINARY, JSON, Inference
from vaegis.service.http.v2_answer import OUTPUTS

PREFIX: Final = "/v2"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ServerLive(_Answer):
    """The answer of the liveness probe."""

    live: bool


class ServerReady(_Answer):
    """The answer of the readiness probe."""

    ready: bool


class ServerMetadata(_Answer):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class ModelReady(_Answer):
    """Whether a model can be asked."""

    name: str
    ready: bool


class TensorMetadata(_Answer):
    """An input or an output; a shape of -1 stands for any number of records."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(_Answer):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class InferenceError(_Answer):
    """Any error below /v2."""

    error: str


_TENSOR: Final = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
_REQUEST: Final = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {"type": "object"},
                        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1},
                        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                    },
                }
            },
            BINARY: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
_INFER_ERRORS: Final = (400, 404, 408, 413, 415, 422, 429, 500, 503, 504)


def v2_routes(inference: Inference, readiness: Readiness) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix=PREFIX)
    metadata = _metadata(inference)

    @router.get("")
    async def get_server() -> ServerMetadata:
        """Tell what is served here, and by which extensions of the protocol."""
        return ServerMetadata(name="vaegis", version=version("vaegis"), extensions=["binary_tensor_data"])

    @router.get("/health/live")
    async def live() -> ServerLive:
        """Tell that the process answers."""
        return ServerLive(live=True)

    @router.get("/health/ready", responses=_errors(503))
    async def ready() -> ServerReady:
        """Tell whether requests should be sent here."""
        readiness.require_ready()
        return ServerReady(ready=True)

    @router.get("/models/{model}", responses=_errors(404, 422))
    @router.get("/models/{model}/versions/{version}", include_in_schema=False)
    async def get_model(model: str, version: str | None = None) -> ModelMetadata:
        """Describe the inputs and outputs of the model."""
        inference.require_model(model, version)
        return metadata

    @router.get("/models/{model}/ready", responses=_errors(404, 422, 503))
    @router.get("/models/{model}/versions/{version}/ready", include_in_schema=False)
    async def model_ready(model: str, version: str | None = None) -> ModelReady:
        """Tell whether the model can be asked."""
        inference.require_model(model, version)
        readiness.require_ready()
        return ModelReady(name=inference.model, ready=True)

    @router.post("/models/{model}/infer", openapi_extra=_REQUEST, responses=_errors(*_INFER_ERRORS))
    @router.post("/models/{model}/versions/{version}/infer", include_in_schema=False)
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        """Score records that come as tensors, one for each column."""
        inference.require_model(model, version)
        return await inference.answer(request)

    return router


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": InferenceError} for status in statuses}


def _metadata(inference: Inference) -> ModelMetadata:
    columns = inference.artifact.contract.columns.columns
    return ModelMetadata(
        name=inference.model,
        versions=[inference.version],
        platform="onnx_onnxv1",
        inputs=[TensorMetadata(name=c.name, datatype=_datatype(c), shape=[-1, 1]) for c in columns],
        outputs=[TensorMetadata(name=name, datatype=kind, shape=[-1]) for name, kind in OUTPUTS.items()],
    )


def _datatype(column: Column) -> str:
    if isinstance(column, (CategoricalColumn, TimestampColumn)):
        return "BYTES"
    return "BOOL" if isinstance(column, BooleanColumn) and not column.as_number else "FP64"

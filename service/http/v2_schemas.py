"""The documents of the Open Inference Protocol, version 2."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, with_example


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

"""What must hold of any model file: it opens or is refused, in bounded time and memory, and reads no other file.

A body is fields of a graph. They are added to a small graph with the golden model's inputs, outputs and documents,
under a digest that fits, because whoever writes a file can write that too.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

sys.path.insert(0, str(Path(__file__).parents[1] / "attacks"))

import hostile_models
import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

from vaegis.service.artifact import open_artifact
from vaegis.service.columns import Columns
from vaegis.service.errors import ArtifactError, RunTimeoutError
from vaegis.service.model_file import digest_entry
from vaegis.service.onnx_model import read_model
from vaegis.service.protobuf import field, fields
from vaegis.service.runtime import RunLimits

MODEL: Final = Path(__file__).parent.parent / "golden" / "orders-v2.onnx"
_GRAPH: Final = 7
_INPUTS_AND_OUTPUTS: Final = (11, 12)
_RUN_TIMEOUT_S: Final = 5.0


_RUNTIME_ERRORS: Final = (Fail, InvalidArgument, RuntimeException)
"""What onnxruntime raises where the nodes of a body do not fit the record, which no other check can know."""


class BrokenPromiseError(Exception):
    """Something that must hold of every file, and does not of this one."""


class ModelFiles:
    """Opens files made of the golden model's metadata and of fields of its graph."""

    def __init__(self) -> None:
        """Read the golden model."""
        whole = MODEL.read_bytes()
        body = whole[: -len(digest_entry(b""))]
        self._metadata = b"".join(
            field(number, value) for number, value in fields(memoryview(body)) if number != _GRAPH
        )
        graph = next(value for number, value in fields(memoryview(body)) if number == _GRAPH)
        values = b"".join(field(number, value) for number, value in fields(graph) if number in _INPUTS_AND_OUTPUTS)
        self._graph = values + b"".join(_small_nodes())

    def check(self, body: bytes) -> None:
        """Open a file with the fields of ``body`` in its graph, and one with them beside its documents.

        Raises:
            BrokenPromiseError: another error than `ArtifactError`, or a graph that is not what was checked.
        """
        self._open(self._metadata + field(_GRAPH, self._graph + body))
        self._open(self._metadata + body)

    def _open(self, model: bytes) -> None:
        try:
            written = read_model(memoryview(model)).serialized()
        except ValueError:
            written = None
        if written is not None and read_model(memoryview(written)).serialized() != written:
            raise BrokenPromiseError("expected what was written to be read as the same")
        try:
            artifact = open_artifact(model + digest_entry(model), "fuzzed", RunLimits(timeout_s=_RUN_TIMEOUT_S))
        except ArtifactError:
            return
        if written is None:
            raise BrokenPromiseError("expected a file that is not read to be refused")
        strings, observed = np.full((1, 1), "DE", dtype=object), np.ones((1, 1), dtype=np.bool_)
        with contextlib.suppress(ArtifactError):
            artifact.verify()
        with contextlib.suppress(RunTimeoutError, *_RUNTIME_ERRORS):
            artifact.scorer.score(Columns(np.array([[22.5, 0.0, 0.0]]), strings, observed))


def _small_nodes() -> Iterator[bytes]:
    """Yield fields of a graph that gives each output from the input of numbers, in the shapes that it must have."""
    sums = hostile_models.integer("keepdims", 1)
    yield hostile_models.tensor("axis", [1], hostile_models.INT64)
    yield hostile_models.tensor("columns", [0.0] * 5, dims=(1, 5))
    yield hostile_models.tensor("widths", [0.0] * 4, dims=(1, 4))
    yield hostile_models.node("ReduceSum", ["numbers", "axis"], ["fold_scores"], sums)
    yield hostile_models.node("Squeeze", ["fold_scores", "axis"], ["score"])
    yield hostile_models.node("Add", ["fold_scores", "columns"], ["contributions"])
    yield hostile_models.node("Add", ["fold_scores", "widths"], ["expected"])
    for name in ("reconstruction_error", "kl"):
        yield hostile_models.node("Identity", ["score"], [name])

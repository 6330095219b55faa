"""Open a graph from a model file: parse it strictly, write it anew, test it within limits, then load it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from vaegis.service.errors import RunTimeoutError
from vaegis.service.onnx_model import more_outputs, read_model
from vaegis.service.runtime import DEFAULT_LIMITS, GraphError, RunLimits, Session, open_session

SETTLED_BYTES: Final = 64 * 2**20
"""What a graph may compute from constants alone, beyond eight times its own size."""
_SETTLED_PER_BYTE: Final = 8
_TENSORS_PER_BYTE: Final = 128
_TYPES: Final[dict[str, Any]] = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def open_graph(data: memoryview, limits: RunLimits = DEFAULT_LIMITS) -> Session:
    """Load the graph of a model file that may be hostile.

    Args:
        data: A serialised ONNX model.
        limits: Limits of its runs.

    Raises:
        ValueError: it holds something that vaegis-train does not write.
        GraphError: onnxruntime does not load it, or it computes too much from constants.
    """
    model = read_model(data)
    written = model.serialized()
    if settled := model.settled():
        _try_constants(written, settled, limits)
    return _session(written, len(data), limits)


def write_optimized(data: memoryview, path: str) -> None:
    """Write the graph of a model file that `open_graph` has loaded, as onnxruntime rewrites it for this machine."""
    open_session(read_model(data).serialized(), optimized_path=path)


def open_optimized(graph: bytes, data: memoryview, limits: RunLimits = DEFAULT_LIMITS) -> Session:
    """Load a graph that `write_optimized` wrote on this machine from the model file ``data``; see `open_graph`.

    Raises:
        GraphError: onnxruntime does not load it.
    """
    return _session(graph, len(data), limits, optimize=False)


def _session(graph: bytes, model_bytes: int, limits: RunLimits, *, optimize: bool = True) -> Session:
    most = limits.tensor_bytes + _TENSORS_PER_BYTE * model_bytes
    return open_session(
        graph, threads=limits.threads, run_timeout_s=limits.timeout_s, max_tensor_bytes=most, optimize=optimize
    )


def _try_constants(model: bytes, settled: Sequence[str], limits: RunLimits) -> None:
    """Compute what onnxruntime may compute when it loads, where no time and no memory would bound it, within both."""
    most = min(SETTLED_BYTES, limits.tensor_bytes) + _SETTLED_PER_BYTE * len(model)
    session = open_session(
        model + more_outputs(settled), run_timeout_s=limits.timeout_s, max_tensor_bytes=2 * most, optimize=False
    )
    try:
        values = session.run(settled, _one_record(session))
    except RunTimeoutError as error:
        raise GraphError(f"its constants: {error}") from error
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        raise GraphError(f"its constants: {' '.join(str(error).split())}") from error
    given = sum(value.nbytes for value in values)
    if given > most:
        raise GraphError(f"expected at most {most} bytes computed from constants, got {given}")


def _one_record(session: Session) -> dict[str, Any]:
    """Return zeros for each input, one where a dimension has a name."""
    feeds = {}
    for name, (kind, shape) in session.inputs().items():
        sizes = [size if isinstance(size, int) else 1 for size in shape]
        feeds[name] = np.full(sizes, "" if kind == "tensor(string)" else 0, dtype=_TYPES[kind])
    return feeds

"""Open a graph from a model file: parse it strictly, write it anew, test it within limits, then load it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from vaegis.service.errors import RunTimeoutError
from vaegis.service.onnx_model import more_outputs, read_model
from vaegis.service.runtime import RUN_TIMEOUT_S, GraphError, Session, open_session

SETTLED_BYTES: Final = 64 * 2**20
"""What a graph may compute from constants alone, beyond eight times its own size."""
_SETTLED_PER_BYTE: Final = 8
TENSOR_BYTES: Final = 2**30
"""Memory that tensors may take while a graph runs, beyond 128 times its own size, where no limit is given."""
_TENSORS_PER_BYTE: Final = 128
_TYPES: Final[dict[str, Any]] = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def open_graph(
    data: memoryview, *, threads: int = 1, run_timeout_s: float = RUN_TIMEOUT_S, tensor_bytes: int = TENSOR_BYTES
) -> Session:
    """Load the graph of a model file that may be hostile.

    Args:
        data: A serialised ONNX model.
        threads: Threads that one run may use.
        run_timeout_s: Longest time of one run.
        tensor_bytes: Most memory of its tensors while it runs, beyond 128 times its own size.

    Raises:
        ValueError: it holds something that vaegis-train does not write.
        GraphError: onnxruntime does not load it, or it computes too much from constants.
    """
    model = read_model(data)
    written = model.serialized()
    if settled := model.settled():
        _try_constants(written, settled, run_timeout_s, tensor_bytes)
    return open_session(
        written, threads=threads, run_timeout_s=run_timeout_s, max_tensor_bytes=_most_bytes(len(data), tensor_bytes)
    )


def write_optimized(data: memoryview, path: str) -> None:
    """Write the graph of a model file that `open_graph` has loaded, as onnxruntime rewrites it for this machine."""
    open_session(read_model(data).serialized(), optimized_path=path)


def open_optimized(
    graph: bytes,
    data: memoryview,
    *,
    threads: int = 1,
    run_timeout_s: float = RUN_TIMEOUT_S,
    tensor_bytes: int = TENSOR_BYTES,
) -> Session:
    """Load a graph that `write_optimized` wrote on this machine from the model file ``data``; see `open_graph`.

    Raises:
        GraphError: onnxruntime does not load it.
    """
    return open_session(
        graph,
        threads=threads,
        run_timeout_s=run_timeout_s,
        max_tensor_bytes=_most_bytes(len(data), tensor_bytes),
        optimize=False,
    )


def _most_bytes(model_bytes: int, tensor_bytes: int) -> int:
    return tensor_bytes + _TENSORS_PER_BYTE * model_bytes


def _try_constants(model: bytes, settled: Sequence[str], timeout_s: float, tensor_bytes: int) -> None:
    """Compute what onnxruntime may compute when it loads, where no time and no memory would bound it, within both."""
    most = min(SETTLED_BYTES, tensor_bytes) + _SETTLED_PER_BYTE * len(model)
    session = open_session(
        model + more_outputs(settled), run_timeout_s=timeout_s, max_tensor_bytes=2 * most, optimize=False
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

"""onnxruntime, the only place where it is imported and configured."""

import os
from typing import Any, TypeAlias

# onnxruntime's wheels send telemetry unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

VERSION: str = ort.__version__
Session: TypeAlias = Any  # ort.InferenceSession, which publishes no type


class GraphError(Exception):
    """A graph that onnxruntime does not load."""


def open_session(model: bytes, *, threads: int = 1) -> Session:
    """Load an ONNX model from memory, for the CPU.

    Args:
        model: The file's bytes, checked to refer to no other file.
        threads: Threads that one call may use.

    Raises:
        GraphError: onnxruntime refuses the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Never its own second format, into which the checks of `vaegis.service.artifact` do not look.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4  # failures come back as exceptions, in our own words
    try:
        # Without the fallback: it prints, and tries the same again.
        return ort.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        raise GraphError(" ".join(str(error).split())) from error

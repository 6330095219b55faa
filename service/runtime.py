"""The only module that imports and configures onnxruntime."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

# onnxruntime's wheels send telemetry unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from vaegis.service.errors import RunTimeoutError

VERSION: str = ort.__version__

RUN_TIMEOUT_S: Final = 60.0
"""Longest time of one run of a graph, where nobody says otherwise."""

TENSOR_BYTES: Final = 2**30
"""Memory that tensors may take while a graph runs, beyond 128 times its own size, by default."""

_CHECK_S: Final = 0.1
_LATE_S: Final = 1.0  # after its time: a run that is ended stops much sooner, except within one long node
_NO_FOLDER: Final = "/nonexistent"  # by the Filesystem Hierarchy Standard and by Debian's policy, no such folder exists


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Limits of the runs of a graph.

    Attributes:
        threads: Threads that one run may use.
        timeout_s: Longest time of one run.
        tensor_bytes: Most memory of its tensors meanwhile, beyond 128 times the graph's own size.
    """

    threads: int = 1
    timeout_s: float = RUN_TIMEOUT_S
    tensor_bytes: int = TENSOR_BYTES


DEFAULT_LIMITS: Final = RunLimits()


class GraphError(Exception):
    """A graph that onnxruntime does not load."""


class Session:
    """A graph that onnxruntime has loaded; every run of it ends within a time. Several threads may run it."""

    def __init__(self, session: Any, run_timeout_s: float) -> None:  # noqa: ANN401 - onnxruntime publishes no type
        """Wrap an `onnxruntime.InferenceSession`."""
        self.inference = session
        self._run_timeout_s = run_timeout_s

    def inputs(self) -> dict[str, tuple[str, list[int | str]]]:
        """Return the type and the shape of each input, by name."""
        return {node.name: (node.type, node.shape) for node in self.inference.get_inputs()}

    def outputs(self) -> list[str]:
        """Return the name of each output."""
        return [node.name for node in self.inference.get_outputs()]

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        """Return the values of ``outputs``; of all outputs if None.

        Args:
            outputs: Names of outputs.
            feeds: The value of each input.

        Raises:
            RunTimeoutError: the run did not end in its time; it was ended after the node it was at.
        """
        options = ort.RunOptions()
        _RUNS.begin(options, self._run_timeout_s)
        try:
            return self.inference.run(outputs, feeds, options)  # type: ignore[no-any-return]
        except Exception as error:  # onnxruntime's exceptions share no base below Exception
            if options.terminate:
                raise RunTimeoutError(
                    f"the model took longer than {self._run_timeout_s:g} s for one run of its graph"
                ) from error
            raise
        finally:
            _RUNS.end(options)


def has_late_run() -> bool:
    """Return whether a run of any session continues after its time, within a node that cannot be interrupted."""
    return _RUNS.has_late()


def end_runs(within_s: float) -> bool:
    """End all runs of all sessions; return whether they did in time. One within a long node does not."""
    return _RUNS.end_all(within_s)


def open_session(
    model: bytes,
    *,
    threads: int = 1,
    run_timeout_s: float = RUN_TIMEOUT_S,
    max_tensor_bytes: int | None = None,
    optimize: bool = True,
    optimized_path: str | None = None,
) -> Session:
    """Load an ONNX model from memory, for the CPU.

    Args:
        model: A serialised model that refers to no other file.
        threads: Threads that one call may use.
        run_timeout_s: Longest time of one run.
        max_tensor_bytes: Most memory that tensors may take, over all runs at a time; None for any. onnxruntime 1.17
            keeps to it for the first session of a process alone.
        optimize: Whether onnxruntime may rewrite the graph, and compute what it can when it loads.
        optimized_path: Where it writes the graph as it has rewritten it; None for nowhere.

    Raises:
        GraphError: onnxruntime refuses the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Never its own second format, which `service.onnx_model` does not write.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # Where it would look for the data of a tensor outside the model, of which there is none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", _NO_FOLDER)
    options.log_severity_level = 4  # failures come back as exceptions, in our own words
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if optimized_path is not None:
        options.optimized_model_filepath = optimized_path
    if max_tensor_bytes is not None and _limit_tensor_bytes(max_tensor_bytes):
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        # Without the fallback: it prints, and tries the same again.
        session = ort.InferenceSession(
            model, sess_options=options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
    except Exception as error:  # onnxruntime's exceptions share no base below Exception
        raise GraphError(" ".join(str(error).split())) from error
    return Session(session, run_timeout_s)


def _limit_tensor_bytes(most: int) -> bool:
    """Have the sessions opened next take no more memory for tensors; return whether this runtime does so."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    try:
        ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": most}))
    except Exception:  # noqa: BLE001 - an older runtime takes one limit for each process, and has one
        return False
    return True


class _Runs:
    """The runs at this moment, each with the time at which it is ended."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[Any, float]] = {}
        self._has_run = threading.Event()
        self._lock = threading.Lock()
        self._watch: threading.Thread | None = None

    def begin(self, options: Any, timeout_s: float) -> None:  # noqa: ANN401 - ort.RunOptions, which has no type
        self._ends[id(options)] = (options, time.monotonic() + timeout_s)
        if not self._has_run.is_set():
            self._has_run.set()
            self._start()

    def end(self, options: Any) -> None:  # noqa: ANN401 - the same
        del self._ends[id(options)]

    def has_late(self) -> bool:
        most = time.monotonic() - _LATE_S
        return any(end < most for _, end in tuple(self._ends.values()))

    def end_all(self, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while self._ends and time.monotonic() < deadline:
            for options, _ in tuple(self._ends.values()):
                options.terminate = True
            time.sleep(_CHECK_S / 10)  # a run that begins meanwhile has to be ended too
        return not self._ends

    def _start(self) -> None:
        with self._lock:
            if self._watch is None or not self._watch.is_alive():  # none lives in a process that was forked off
                self._watch = threading.Thread(target=self._end_late_ones, name="vaegis-run-timeout", daemon=True)
                self._watch.start()

    def _end_late_ones(self) -> None:
        while self._has_run.wait():
            time.sleep(_CHECK_S)
            self._has_run.clear()  # a run that begins from here on sets it again
            now = time.monotonic()
            for options, end in tuple(self._ends.values()):
                self._has_run.set()
                if end <= now:
                    options.terminate = True


_RUNS: Final = _Runs()

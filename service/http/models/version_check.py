"""Checks a version of a model in a process of its own, so that the process that serves only has to open it.

A check takes a tenth of a second or more, most of it in Python, and requests would wait for the interpreter as long.
The process of its own has a low priority, may crash or hang without harm to requests, and hands back the graph as
onnxruntime has rewritten it for this machine, which loads several times as fast.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vaegis.service.artifact import open_artifact
from vaegis.service.errors import ArtifactError
from vaegis.service.generation import Generator
from vaegis.service.graph import write_optimized
from vaegis.service.memory_files import content_of, memory_file, write_at
from vaegis.service.model_file import content_digest
from vaegis.service.runtime import RunLimits

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaegis.service.settings import Settings

_KILLED_FIRST: Final = "1000"  # of all processes, if memory runs out
_DIGEST_BYTES: Final = 64
_REFUSED: Final = 3  # as `vaegis verify` ends; an exception that nobody expected ends Python with 1
_LIMITS: Final = ("run_timeout_s", "max_tensor_bytes", "model_timeout_s")


class VersionChecks:
    """Checks versions, one at a time. Workers that share a file check each version once between them."""

    def __init__(self, settings: Settings, shared: int | None = None) -> None:
        """Check by ``settings``; ``shared`` is a file in memory that all workers have open, None for a single one."""
        self._limits = {name: getattr(settings, name) for name in _LIMITS}
        self._shared = shared
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def optimized(self, data: bytes, name: str) -> bytes:
        """Return the graph of a model file as onnxruntime has rewritten it, after every check of the file.

        Raises:
            ArtifactError: it cannot be used, or its check crashed or took too long.
        """
        if self._shared is None:
            return self._checked(data, name)
        digest = content_digest(data).encode()
        with _locked(self._shared):
            kept = content_of(self._shared)
            if kept[:_DIGEST_BYTES] == digest:
                return kept[_DIGEST_BYTES:]
            graph = self._checked(data, name)
            os.ftruncate(self._shared, 0)
            write_at(self._shared, graph, _DIGEST_BYTES)
            write_at(self._shared, digest, 0)  # last: if this worker is killed, nothing half written counts
            return graph

    def close(self) -> None:
        """End the check that runs, and begin no other."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()

    def _checked(self, data: bytes, name: str) -> bytes:
        timeout_s = self._limits["model_timeout_s"]
        header = json.dumps({"name": name, **self._limits}).encode() + b"\n"
        with _process(name) as process:
            self._process = process
            if self._is_closed:
                process.kill()
            try:
                graph, failure = process.communicate(header + data, timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ArtifactError(
                    f"{name}: checking took too long (limit {timeout_s:g} s); VAEGIS_MODEL_TIMEOUT_S gives it longer"
                ) from None
            finally:
                self._process = None
        if process.returncode == 0:
            return graph
        if process.returncode == _REFUSED:
            raise ArtifactError(failure.decode(errors="replace"))
        ended = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
        raise ArtifactError(f"{name}: its check ended with {ended}; memory may be short, or onnxruntime crashed")


def _process(name: str) -> subprocess.Popen[bytes]:
    """Start the process that checks the version ``name``."""
    # The priority is lowered first, because the imports of this module take longer than most checks.
    command = "import os; os.nice(10); from vaegis.service.http.models.version_check import main; exit(main())"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        # numpy's library for matrices would start a thread for each core, and a fifth of the work is to start them.
        "OPENBLAS_NUM_THREADS": "1",
    }
    try:
        return subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=0,  # a terminal's Ctrl-C is for the process that serves
        )
    except OSError as error:
        raise ArtifactError(f"{name}: the process that checks it could not be started: {error.strerror}") from error


def main() -> int:
    """Check the model on standard input; write its graph to standard output, or what is wrong to standard error.

    Returns:
        The exit code: 0, or 3 if the model cannot be used.
    """
    header = json.loads(sys.stdin.buffer.readline())
    _end_before_others(header["model_timeout_s"])
    data = sys.stdin.buffer.read()
    limits = RunLimits(1, header["run_timeout_s"], header["max_tensor_bytes"])
    try:
        artifact = open_artifact(data, header["name"], limits)
        artifact.verify()
        Generator(artifact.contract, limits)
    except ArtifactError as error:
        sys.stderr.write(str(error))
        return _REFUSED
    file = memory_file("graph")
    write_optimized(memoryview(data), f"/dev/fd/{file}")
    sys.stdout.buffer.write(content_of(file))
    return 0


def _end_before_others(timeout_s: float) -> None:
    """Have this process killed first if memory runs out, and end by itself should nobody wait for it any more."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
    signal.alarm(math.ceil(timeout_s) + 1)


@contextmanager
def _locked(file: int) -> Iterator[None]:
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)

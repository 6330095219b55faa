"""Servers under load: started on a core of their own, and measured from outside."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.conditions import COMMANDS, ROOT
from benchmarks.serving.exported import WHOLE

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_START_S: Final = 60.0
_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens.

    Attributes:
        name: How it is called in tables.
        pid: Of its first process.
        url: Where it listens.
        one_path: Where it takes one record.
        list_path: Where it takes a list.
        ready_s: Seconds from its start until it could answer.
    """

    name: str
    pid: int
    url: str
    one_path: str = "/score"
    list_path: str = "/score"
    ready_s: float = field(default=0.0, kw_only=True)

    def target(self, records: int) -> str:
        """Return the URL for bodies of so many records."""
        return self.url + (self.one_path if records == 1 else self.list_path)

    def cpu_seconds(self) -> float:
        """Return the processor time used so far by its processes, to a hundredth of a second."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in self.pids()) / _TICKS_PER_SECOND

    def resident_bytes(self) -> dict[int, int]:
        """Return the resident memory of each of its processes, by pid."""
        return {pid: int(fields[21]) * _PAGE_BYTES for pid in self.pids() if (fields := _stat(pid))}

    def pids(self) -> list[int]:
        """Return its processes, the first one first."""
        parents = {pid: int(fields[1]) for pid in _all_pids() if (fields := _stat(pid))}
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found


@contextmanager
def service(model: Path, *flags: str, core: int | None = SERVER_CORE, name: str = "vaegis serve") -> Iterator[Server]:
    """Run the project's service as its users do, with one worker unless ``flags`` say otherwise."""
    flags = (*(() if "--workers" in flags else _one_worker()), *flags)
    command = [COMMANDS / "vaegis", "serve", model, "--port", "0", *flags]
    begin = time.perf_counter()
    with _running(command, {}, core, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline() if process.stdout else ""
        seconds = time.perf_counter() - begin
        address = re.search(r"http://\S+$", line.strip())
        if address is None:
            raise SystemExit(f"expected the service to name its address, got {line!r}")
        yield Server(name, process.pid, address[0], ready_s=seconds)


@contextmanager
def uvicorn_app(name: str, app: str, model: Path, *, chunk_records: int = WHOLE, one_path: str) -> Iterator[Server]:
    """Run an app factory of this package on uvicorn."""
    command = ["uvicorn", "--factory", app, "--loop", "uvloop", "--http", "httptools"]
    command += ["--no-access-log", "--log-level", "warning", "--port"]
    variables = {"SERVING_MODEL": str(model), "SERVING_CHUNK_RECORDS": str(chunk_records)}
    with listening(name, lambda port: [sys.executable, "-m", *command, str(port)], variables, one_path) as server:
        yield server


@contextmanager
def constant(name: str) -> Iterator[Server]:
    """Run the server of `benchmarks.serving.constant`."""
    module = "benchmarks.serving.constant"
    with listening(name, lambda port: [sys.executable, "-m", module, str(port)], {}, "/score") as server:
        yield server


@contextmanager
def listening(
    name: str,
    command: Callable[[int], Sequence[str | Path]],
    variables: Mapping[str, str],
    one_path: str,
    list_path: str = "/score",
) -> Iterator[Server]:
    """Run the command for a free port, and wait until something listens there."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    begin = time.perf_counter()
    with _running(command(port), variables, SERVER_CORE) as process:
        while not _accepts(port):
            if process.poll() is not None or time.perf_counter() - begin > _START_S:
                raise SystemExit(f"expected {name} to listen, got nothing")
            time.sleep(0.05)
        seconds = time.perf_counter() - begin
        yield Server(name, process.pid, f"http://127.0.0.1:{port}", one_path, list_path, ready_s=seconds)


def _one_worker() -> tuple[str, ...]:
    done = subprocess.run([COMMANDS / "vaegis", "serve", "--help"], capture_output=True, text=True, check=True)
    return ("--workers", "1") if "--workers" in done.stdout else ()


@contextmanager
def _running(
    command: Sequence[str | Path], variables: Mapping[str, str], core: int | None, stdout: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
    # Logs are written, as they cost time, but not kept: a file would grow by gigabytes, and a pipe nobody reads fills.
    process = subprocess.Popen(
        [*pinned, *command],
        env=os.environ | variables,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_START_S)
        finally:
            process.kill()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on, nothing where the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()

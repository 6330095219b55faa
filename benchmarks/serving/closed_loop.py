"""A few seconds of load on a server, and what it cost both sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from benchmarks.conditions import ROOT
from benchmarks.serving.bodies import Bodies
from benchmarks.serving.servers import LOAD_CORE, Server

CONNECTIONS: Final = 16
TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Slice:
    """A few seconds of load.

    Attributes:
        requests: Answered.
        seconds: That they took, until the last answer.
        p50_s: Median time of a request; None where there was none to wait for.
        p99_s: Its 99th percentile.
        server_cpu_s: Processor time of the server.
        load_cpu_s: Processor time of the load generator; None where there was none.
    """

    requests: int
    seconds: float
    p50_s: float | None
    p99_s: float | None
    server_cpu_s: float
    load_cpu_s: float | None

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def cpu_rate(self) -> float:
        """Requests a second of the server's processor time, which other work on the machine cannot lower much."""
        return self.requests / self.server_cpu_s


@dataclass(frozen=True, slots=True)
class Driven:
    """What came of some load, whatever was answered.

    Attributes:
        requests: Answered.
        seconds: Until the last answer.
        statuses: Answers by status.
        failed: Requests without an answer.
        p50_s: Median time of a request.
        p99_s: Its 99th percentile.
        cpu_s: Processor time of the load generator.
    """

    requests: int
    seconds: float
    statuses: dict[int, int]
    failed: int
    p50_s: float
    p99_s: float
    cpu_s: float


class Load:
    """A load generator at work."""

    def __init__(self, url: str, bodies: Bodies, *, seconds: float, connections: int) -> None:
        """Start it, on its own core."""
        command = ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "benchmarks.serving.load", url]
        command += ["--media-type", bodies.media_type, "--seconds", str(seconds), "--connections", str(connections)]
        self._process = subprocess.Popen(
            [*command, *map(str, bodies.files)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def result(self) -> Driven:
        """Wait for its end.

        Raises:
            SystemExit: it did not go well.
        """
        process = self._process
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"expected the load generator to end with 0, got {process.returncode}")
        told = json.loads(output)
        told["statuses"] = {int(status): count for status, count in told["statuses"].items()}
        return Driven(**told, cpu_s=usage.ru_utime + usage.ru_stime)


def loaded(server: Server, bodies: Bodies, *, seconds: float, connections: int = CONNECTIONS) -> Slice:
    """Load a server for some seconds, and return what it did.

    Raises:
        SystemExit: it refused or lost a request.
    """
    before = server.cpu_seconds()
    driven = Load(server.target(bodies.records), bodies, seconds=seconds, connections=connections).result()
    cpu = server.cpu_seconds() - before
    if driven.failed or set(driven.statuses) != {HTTPStatus.OK}:
        raise SystemExit(f"{server.name}, {bodies.name}: expected every request to be answered with 200, got {driven}")
    return Slice(driven.requests, driven.seconds, driven.p50_s, driven.p99_s, cpu, driven.cpu_s)

"""A service in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

COMMAND = (sys.executable, "-c", "import sys; from vaegis.service.cli import main; sys.exit(main())", "serve")
TIMEOUT_S = 60
ORPHANS_S = 60
"""How long workers may outlive a service that was killed."""


@pytest.fixture(scope="session")
def unmeasured() -> dict[str, str]:
    """Return the environment for a process without coverage."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


@dataclass(frozen=True)
class Served:
    """A service that listens."""

    process: subprocess.Popen[str]
    banner: str
    url: str

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.partition("://")[2].split(":")
        return host, int(port)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=TIMEOUT_S)

    def workers(self) -> list[int]:
        """Return the processes that it started."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]

    def peak_bytes(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024

    def cpu_s(self) -> float:
        """Return the processor time that it has used, without that of its workers."""
        *_, user, system = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").split()[:15]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=TIMEOUT_S)


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Ask again until something holds. A worker that was killed may not answer meanwhile."""

    def wait(holds: Callable[[], bool]) -> None:
        deadline, pause = time.monotonic() + TIMEOUT_S, threading.Event()
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if holds():
                    return
            pause.wait(0.02)
        raise AssertionError(f"expected to see it come true within {TIMEOUT_S} s")

    return wait


def _services(golden_model: Path) -> Iterator[Callable[..., Served]]:
    """Start a service on a free port, with the given flags."""
    processes = []

    def start(*flags: str, model: Path = golden_model) -> Served:
        process = subprocess.Popen(
            [*COMMAND, str(model), "--port", "0", "--workers", "1", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        processes.append(process)
        banner = process.stdout.readline()
        assert banner, process.stderr.read()
        return Served(process, banner, banner.rsplit(maxsplit=1)[1])

    yield start
    for process in processes:
        process.kill()
        try:
            process.communicate(timeout=ORPHANS_S)
        except subprocess.TimeoutExpired:  # a signal met a worker while coverage held its lock, which stays locked
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def serve(golden_model: Path) -> Iterator[Callable[..., Served]]:
    """Start services, which end with the test."""
    yield from _services(golden_model)


@pytest.fixture(scope="module")
def serve_for_all(golden_model: Path) -> Iterator[Callable[..., Served]]:
    """Start services, which end with the module's tests."""
    yield from _services(golden_model)

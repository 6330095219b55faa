"""What the tests of containers share: podman, free ports, and patience."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

DEADLINE_S = 180.0

Podman = Callable[..., str]
WaitUntil = Callable[[Callable[[], object], str], None]


@pytest.fixture(scope="session")
def podman() -> Podman:
    """Run podman and return what it prints."""

    def run(*arguments: str) -> str:
        finished = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
        assert finished.returncode == 0, f"podman {' '.join(arguments)}: {finished.stdout}{finished.stderr}"
        return finished.stdout.strip()

    return run


@pytest.fixture(scope="session")
def wait_until() -> WaitUntil:
    """Ask again until a function returns something true; an error of the connection counts as not yet."""

    def wait(holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        pause = threading.Event()
        while True:
            try:
                if holds():
                    return
                seen = "not so"
            except OSError as error:
                seen = str(error)
            assert time.monotonic() < deadline, f"expected within {DEADLINE_S:g} s: {what}; last: {seen}"
            pause.wait(0.2)

    return wait


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Return a port that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find

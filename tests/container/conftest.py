"""What the tests of containers share: podman, processes beside it, free ports, and patience."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 180.0

Podman = Callable[..., str]
WaitUntil = Callable[[Callable[[], object], str], None]
PIPELINES = Path(__file__).parents[2] / "deploy" / "pipelines"


class Processes:
    """Processes by name, which a test starts and kills. They run beside the programs of deploy/pipelines."""

    def __init__(
        self, folder: Path, commands: Mapping[str, Sequence[str | Path]], environment: Mapping[str, str]
    ) -> None:
        self._folder, self._commands, self._environment = folder, commands, {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                self._commands[name], cwd=PIPELINES, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def kill(self, name: str) -> None:
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)


NewProcesses = Callable[[Mapping[str, Sequence[str | Path]], Mapping[str, str]], Processes]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give Chromium, of the system's packages, driven by Playwright, of the extra `containers`."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright, of the extra containers")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium, of the system's packages")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=chromium, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def new_processes(tmp_path: Path) -> Iterator[NewProcesses]:
    """Make processes of these commands and environment; all are killed at the end."""
    made: list[Processes] = []

    def make(commands: Mapping[str, Sequence[str | Path]], environment: Mapping[str, str]) -> Processes:
        made.append(Processes(tmp_path, commands, environment))
        return made[-1]

    yield make
    for processes in made:
        processes.kill_all()


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

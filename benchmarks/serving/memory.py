"""Resident memory of a server's processes, sampled while something else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.serving.servers import Server

_PERIOD_S: Final = 0.5


@dataclass(slots=True)
class Samples:
    """What was seen.

    Attributes:
        largest: Resident bytes of the largest process, one a sample.
        pids: Of all processes seen.
    """

    largest: list[int] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)


@contextmanager
def sampled(server: Server) -> Iterator[Samples]:
    """Sample twice a second until the end of the block."""
    samples, ended = Samples(), threading.Event()

    def sample() -> None:
        while not ended.is_set():
            resident = server.resident_bytes()
            samples.largest.append(max(resident.values()))
            samples.pids |= set(resident)
            ended.wait(_PERIOD_S)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def settled(server: Server, *, within_s: float = 30.0) -> None:
    """Wait until a server has nothing left to compute.

    Raises:
        SystemExit: it goes on after ``within_s`` seconds.
    """
    ends = time.perf_counter() + within_s
    used = server.cpu_seconds()
    while time.perf_counter() < ends:
        time.sleep(_PERIOD_S)
        before, used = used, server.cpu_seconds()
        if used - before < 0.1 * _PERIOD_S:
            return
    raise SystemExit(f"expected {server.name} to come to rest within {within_s:g} s")

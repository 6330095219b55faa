"""Processor time per request beside another commit, by the same model, in turns.

    git worktree add /tmp/before 90b00d2
    python benchmarks/beside_commit.py /tmp/before      # writes benchmarks/results/beside_commit.json

Both services run over the golden model of format version 1, which every commit reads, with one worker. A turn sends a
fixed number of requests to each of them, and every figure is a ratio within a turn: other work on the machine meets
both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import uvloop
from conditions import ROOT, save

MODEL: Final = ROOT / "tests" / "golden" / "orders-v1.onnx"
RECORD: Final = {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of request: records of its list, none for a bare one; connections; requests of a turn."""

    name: str
    records: int
    connections: int
    requests: int

    @property
    def body(self) -> bytes:
        """The JSON of a request."""
        return json.dumps([RECORD] * self.records if self.records else RECORD).encode()


CASES: Final = (
    Case("single records, 16 connections", 0, 16, 800),
    Case("single records, 1 connection", 0, 1, 200),
    Case("lists of 100", 100, 4, 60),
    Case("lists of 1,000", 1000, 4, 12),
)


def main() -> None:
    """Measure all cases and save the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of the other commit")
    parser.add_argument("--turns", type=int, default=60, help="(%(default)s)")
    parsed = parser.parse_args()
    with ExitStack() as stack:
        services = [stack.enter_context(service(checkout)) for checkout in (parsed.before.resolve(), ROOT)]
        figures = {case.name: in_turns(case, services, parsed.turns) for case in CASES}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=parsed.before, capture_output=True, text=True, check=True)
    save("beside_commit", {"beside": commit.stdout.strip(), "turns": parsed.turns, "figures": figures})


@contextmanager
def service(checkout: Path) -> Iterator[tuple[int, int]]:
    """Run the service of a checkout; yield its process and its port."""
    package = "vaegis.service" if (checkout / "vaegis").is_dir() else "service"
    command = f"import sys; from {package}.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "serve", MODEL, "--port", "0", "--workers", "1"],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        found = re.search(rb":(\d+)\s*$", process.stdout.readline() if process.stdout else b"")
        if found is None:
            raise SystemExit(f"{checkout}: expected the service to name its address")
        yield process.pid, int(found[1])
    finally:
        process.terminate()
        process.wait()


def in_turns(case: Case, services: list[tuple[int, int]], turns: int) -> dict[str, float]:
    """Return the microseconds of both, and the median and quartiles of their ratio."""
    spent: list[list[float]] = [[], []]
    for turn in range(turns + 1):
        for at in (0, 1) if turn % 2 else (1, 0):
            pid, port = services[at]
            before = processor_s(pid)
            uvloop.run(send(case, port))
            spent[at].append((processor_s(pid) - before) / case.requests * 1e6)
    (_, *first), (_, *second) = spent  # the first turn warms up
    low, middle, high = statistics.quantiles([after / before for before, after in zip(first, second, strict=True)], n=4)
    return {
        "before_us": round(statistics.median(first), 1),
        "after_us": round(statistics.median(second), 1),
        "ratio": round(middle, 3),
        "ratio_lower_quartile": round(low, 3),
        "ratio_upper_quartile": round(high, 3),
        "ratio_of_least": round(min(second) / min(first), 3),
    }


def processor_s(pid: int) -> float:
    """Return the processor time of all threads of a process, which Linux counts in nanoseconds."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


async def send(case: Case, port: int) -> None:
    """Send the requests of a turn."""
    head = (
        f"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(case.body)}"
    )
    request = head.encode() + _HEAD_END + case.body
    each = case.requests // case.connections
    await asyncio.gather(*map(partial(_send_over_one, request, each), [port] * case.connections))


async def _send_over_one(request: bytes, count: int, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(_HEAD_END)
        length = _LENGTH.search(head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise SystemExit(f"expected an answer of known length, got {head!r}")
        await reader.readexactly(int(length[1]))
    writer.close()


if __name__ == "__main__":
    main()

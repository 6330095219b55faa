"""Measure what a change of the model costs callers: single records at half capacity, with and without 200 changes.

Slices of ten changes and slices as long without a change take turns, so that whatever else the machine does meets
both alike.
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from conditions import COMMANDS, ROOT, save
from serve_start import children, resident_bytes

from vaegis.service.model_file import DIGEST_PREFIX, MetadataKey, content_digest, digest_entry
from vaegis.service.model_folder import promote
from vaegis.service.onnx_model import metadata_props
from vaegis.service.protobuf import field, fields

MODEL = ROOT / "tests" / "golden" / "orders-v1.onnx"
RECORD = json.dumps({"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}).encode()
REQUEST = (
    b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    % len(RECORD)
    + RECORD
)
CLIENTS = 4
WARM_UP_S = 3.0
LATENCY_LIMIT, MEMORY_LIMIT = 2.0, 1.05
TIMEOUT_S = 60
SLICE_SWAPS = 10
_METADATA_FIELD = 14


def main() -> int:
    """Measure, save the figures, and return 1 if a request failed or a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=200, help="changes of the model (%(default)s)")
    parser.add_argument("--pause-s", type=float, default=1.0, help="least time between two changes (%(default)s)")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        models = two_versions(Path(folder), MODEL)
        figures = measure(models, parsed.swaps, parsed.pause_s)
    save("model_swaps", figures)
    is_slow = figures["p99_ratio"] >= LATENCY_LIMIT or figures["resident_ratio"] >= MEMORY_LIMIT
    return int(bool(figures["failed"]) or is_slow)


def two_versions(folder: Path, model: Path) -> Path:
    """Write versions a and b of a model, with different digests, and return the folder."""
    (folder / "orders").mkdir()
    for version in "ab":
        (folder / "orders" / f"{version}.onnx").write_bytes(variant(model.read_bytes(), ord(version)))
    put_live(folder, "a")
    return folder


def variant(model: bytes, seed: int) -> bytes:
    """Return a model with another seed in its provenance, and so with another digest."""
    body = memoryview(model)[: -len(digest_entry(b""))]
    entries = iter(metadata_props(body))
    parts = []
    for number, content in fields(body):
        if number != _METADATA_FIELD:
            parts.append(field(number, content if isinstance(content, int) else bytes(content)))
            continue
        key, text = next(entries)
        if key == MetadataKey.PROVENANCE:
            text = json.dumps(json.loads(text) | {"seed": seed})
        parts.append(field(number, field(1, key.encode()) + field(2, text.encode())))
    changed = b"".join(parts)
    return changed + digest_entry(changed)


def put_live(models: Path, version: str) -> str:
    """Promote a version and return its digest."""
    digest = DIGEST_PREFIX + content_digest((models / "orders" / f"{version}.onnx").read_bytes())
    promote(models, "orders", version, digest)
    return digest


class Clients:
    """Clients that send single records, each at a steady rate. One thread serves them all.

    With a thread for each, a client that is answered would wait for the interpreter of this process, and that wait
    would count as the service's.
    """

    def __init__(self, host: str, port: int, rate: float | None) -> None:
        """Send ``rate`` records a second by all clients together; None for as many as are answered."""
        self.latencies: list[float] = []
        self.failed = 0
        self.digests: dict[int, str] = {}
        self._address, self._pause_s = (host, port), 0.0 if rate is None else CLIENTS / rate
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        first = time.perf_counter()
        with selectors.DefaultSelector() as selector:
            clients = [
                _Client(self._address, selector, first + number * self._pause_s / CLIENTS) for number in range(CLIENTS)
            ]
            while not self._ends.is_set():
                now = time.perf_counter()
                for client in clients:
                    if not client.waits and client.due <= now:
                        client.ask()
                next_due = min((client.due for client in clients if not client.waits), default=now + TIMEOUT_S)
                for key, _ in selector.select(max(0.0, next_due - time.perf_counter())):
                    answer = key.data.answer()
                    if answer is None:
                        continue
                    now = time.perf_counter()
                    self.latencies.append(now - key.data.due)
                    self.failed += not answer.is_verdict
                    self.digests[clients.index(key.data)] = answer.digest
                    key.data.due = key.data.due + self._pause_s if self._pause_s else now
            for client in clients:
                client.close()

    def end(self) -> None:
        """Have the clients ask no more."""
        self._ends.set()
        self._thread.join(TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Whether an answer is a verdict, and the digest of the model that gave it."""

    is_verdict: bool
    digest: str


class _Client:
    """A client that keeps its connection."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector, due: float) -> None:
        """Connect, to ask for the first time at ``due``."""
        self.due = due  # while it waits for an answer, the time at which it was to ask
        self.waits = False
        self._address, self._selector = address, selector
        self._received = b""
        self._connect()

    def ask(self) -> None:
        """Send a record."""
        self.waits = True
        self._received = b""
        self._connection.sendall(REQUEST)

    def answer(self) -> _Answer | None:
        """Read what has come. Return the answer once it is whole, or once the connection has ended without one."""
        try:
            part = self._connection.recv(65536)
        except OSError:
            part = b""
        self._received += part
        head, _, body = self._received.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        if part and len(body) < int(fields.get(b"content-length", sys.maxsize)):
            return None
        if not part:
            self.close()
            self._connect()
        self.waits = False
        is_verdict = bool(part) and head.startswith(b"HTTP/1.1 200 ")
        return _Answer(is_verdict, fields.get(b"vaegis-model-digest", b"").decode())

    def close(self) -> None:
        """End the connection."""
        self._selector.unregister(self._connection)
        self._connection.close()

    def _connect(self) -> None:
        self._connection = socket.create_connection(self._address, TIMEOUT_S)
        self._selector.register(self._connection, selectors.EVENT_READ, self)


def measure(models: Path, swaps: int, pause_s: float) -> dict[str, float]:
    """Serve the models with one worker; return latencies (medians over the slices) and the growth of its memory."""
    process = subprocess.Popen(
        [COMMANDS / "vaegis", "serve", models, "--port", "0", "--workers", "1", "--model-poll-s", "0.05"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        found = re.search(r"http://\S+$", line.strip())
        if found is None:
            raise SystemExit(f"expected the service to name its address, got {line!r}")
        address = urlsplit(found[0])
        host, port = str(address.hostname), int(address.port or 0)
        rate = asked(host, port, None, lambda _: time.sleep(WARM_UP_S))[1] / 2
        pids = [process.pid, *children(process.pid)]
        quiet: list[list[float]] = []
        busy: list[list[float]] = []
        sizes: list[int] = []
        failed = 0
        for first in range(0, swaps, SLICE_SWAPS):
            count = min(SLICE_SWAPS, swaps - first)
            latencies, _, failures = asked(host, port, rate, lambda _, slice_s=count * pause_s: time.sleep(slice_s))
            quiet.append(latencies)
            failed += failures
            latencies, _, failures = asked(host, port, rate, partial(change, models, first, count, pause_s))
            busy.append(latencies)
            failed += failures
            sizes.append(sum(map(resident_bytes, pids)))
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
    without, during = (statistics.median(map(p99_ms, slices)) for slices in (quiet, busy))
    all_without, all_during = (p99_ms([latency for slice_ in slices for latency in slice_]) for slices in (quiet, busy))
    return {
        "swaps": swaps,
        "slices": len(quiet),
        "requests_per_s": round(rate),
        "requests": sum(map(len, quiet + busy)),
        "failed": failed,
        "p99_ms_without": round(without, 2),
        "p99_ms_during_swaps": round(during, 2),
        "p99_ratio": round(during / without, 2),
        "p99_ms_without_all_slices": round(all_without, 2),
        "p99_ms_during_swaps_all_slices": round(all_during, 2),
        "resident_ratio": round(sizes[-1] / sizes[len(sizes) // 4], 3),
    }


def p99_ms(latencies: Sequence[float]) -> float:
    """Return the 99th percentile of latencies in seconds, in milliseconds."""
    return statistics.quantiles(latencies, n=100)[98] * 1e3


def change(models: Path, first: int, count: int, pause_s: float, clients: Clients) -> None:
    """Make ``count`` changes, each once every client has seen the one before; the first is change number ``first``."""
    for swap in range(first, first + count):
        digest, deadline = put_live(models, "ab"[(swap + 1) % 2]), time.monotonic() + TIMEOUT_S
        time.sleep(pause_s)
        while {*clients.digests.values()} != {digest}:
            if time.monotonic() > deadline:
                raise SystemExit(f"expected every client to see {digest} within {TIMEOUT_S} s")
            time.sleep(0.01)


def asked(
    host: str, port: int, rate: float | None, meanwhile: Callable[[Clients], None]
) -> tuple[list[float], float, int]:
    """Return the latencies, the answers a second and the failures of clients that ask while ``meanwhile`` runs."""
    started = time.monotonic()
    clients = Clients(host, port, rate)
    try:
        meanwhile(clients)
    finally:
        seconds = time.monotonic() - started
        clients.end()
    return clients.latencies, len(clients.latencies) / seconds, clients.failed


if __name__ == "__main__":
    sys.exit(main())

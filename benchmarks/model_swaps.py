"""Measure what a change of the model costs callers: single records at half capacity, with and without 200 changes."""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
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
HEADERS = {"Content-Type": "application/json"}
CLIENTS = 4
WARM_UP_S = 3.0
LATENCY_LIMIT, MEMORY_LIMIT = 2.0, 1.05
TIMEOUT_S = 60
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
    """Clients that send single records, each at a steady rate."""

    def __init__(self, host: str, port: int, rate: float | None) -> None:
        """Send ``rate`` records a second by all clients together; None for as many as are answered."""
        self.latencies: list[float] = []
        self.failed = 0
        self.digests: dict[int, str | None] = {}
        self._address, self._pause_s = (host, port), None if rate is None else CLIENTS / rate
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        due = time.perf_counter()
        while not self._ends.is_set():
            if self._pause_s is not None:
                due += self._pause_s
                self._ends.wait(max(0.0, due - time.perf_counter()))
            started = due if self._pause_s is not None else time.perf_counter()
            try:
                connection.request("POST", "/score", RECORD, HEADERS)
                answer = connection.getresponse()
                answer.read()
                self.digests[number] = answer.headers["vaegis-model-digest"]
                self.failed += answer.status != http.client.OK
            except OSError:
                self.failed += 1
            self.latencies.append(time.perf_counter() - started)
        connection.close()

    def end(self) -> None:
        """Wait for the last answers."""
        self._ends.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)


def measure(models: Path, swaps: int, pause_s: float) -> dict[str, float]:
    """Serve the models with one worker; return the latencies without and with changes, and the memory."""
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
        quiet, _, failed = asked(host, port, rate, lambda _: time.sleep(swaps * pause_s / 2))
        pids = [process.pid, *children(process.pid)]
        sizes: list[int] = []

        def change(clients: Clients) -> None:
            for swap in range(swaps):
                digest, deadline = put_live(models, "ab"[(swap + 1) % 2]), time.monotonic() + TIMEOUT_S
                time.sleep(pause_s)
                while {*clients.digests.values()} != {digest}:
                    if time.monotonic() > deadline:
                        raise SystemExit(f"expected every client to see {digest} within {TIMEOUT_S} s")
                    time.sleep(0.01)
                if swap in (swaps // 4, swaps - 1):
                    sizes.append(sum(map(resident_bytes, pids)))

        busy, _, failed_in_swaps = asked(host, port, rate, change)
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)
    p99 = {name: statistics.quantiles(values, n=100)[98] for name, values in (("quiet", quiet), ("swaps", busy))}
    return {
        "swaps": swaps,
        "requests_per_s": round(rate),
        "requests": len(quiet) + len(busy),
        "failed": failed + failed_in_swaps,
        "p99_ms_without": round(p99["quiet"] * 1e3, 2),
        "p99_ms_during_swaps": round(p99["swaps"] * 1e3, 2),
        "p99_ratio": round(p99["swaps"] / p99["quiet"], 2),
        "resident_ratio": round(sizes[-1] / sizes[0], 3),
    }


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

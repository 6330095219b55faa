"""Requests at a constant rate of arrival, each timed from when it was due: an open load without k6's own pauses.

k6 takes most of a core for a few thousand requests a second, and its pauses are then longer than any of the server's.
This generator sends the same bytes for a tenth of it. It never sleeps, so it wants a core of its own.

    python -m benchmarks.serving.arrivals URL --rate 3500 --seconds 15 --connections 64 --media-type TYPE FILE...
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import subprocess
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop

from benchmarks.conditions import ROOT
from benchmarks.serving.bodies import Bodies
from benchmarks.serving.load import request_bytes
from benchmarks.serving.open_model import OK
from benchmarks.serving.servers import LOAD_CORE, Server

CONNECTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of a constant rate of arrival.

    Attributes:
        rate: Requests a second.
        requests: Answered, all with 200.
        p50_s: Median time from when a request was due to its answer.
        p99_s: Its 99th percentile.
        late_s: 99th percentile of the time that the generator itself was late, with a connection free.
    """

    rate: float
    requests: int
    p50_s: float
    p99_s: float
    late_s: float


def arrived(server: Server, bodies: Bodies, *, rate: float, seconds: float) -> Arrived:
    """Send to a server at a constant rate from the load generators' core, and return what came of it.

    Raises:
        SystemExit: it refused a request.
    """
    command = ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "benchmarks.serving.arrivals"]
    command += [server.target(bodies.records), "--media-type", bodies.media_type, "--rate", str(rate)]
    command += ["--seconds", str(seconds), "--connections", str(CONNECTIONS), *map(str, bodies.files)]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT).stdout)
    statuses = told.pop("statuses")
    if {*statuses} != {str(OK)}:
        raise SystemExit(f"{server.name}: expected every request to be answered with 200, got {statuses}")
    return Arrived(rate=rate, **told)


class Arrivals:
    """The requests: when each is due, which connections are free, and what came of those sent."""

    def __init__(self, requests: Iterator[bytes], *, rate: float, seconds: float) -> None:
        self.requests = requests
        self.idle: deque[Connection] = deque()
        self.took = array("d")
        self.late = array("d")
        self.statuses: Counter[int] = Counter()
        self.done = asyncio.get_running_loop().create_future()
        self._every_s = 1 / rate
        self._left = self._unanswered = round(rate * seconds)
        self._due = 0.0

    def begin(self) -> None:
        """Have the first request due now."""
        self._due = time.perf_counter()
        self.spin()

    def spin(self) -> None:
        """Send what is due, and look again in the next turn of the loop."""
        now = time.perf_counter()
        while self._left and self._due <= now and self.idle:
            connection = self.idle.popleft()
            self.late.append(now - max(self._due, connection.free_since))
            connection.send(next(self.requests), self._due)
            self._left -= 1
            self._due += self._every_s
        if self._unanswered and not self.done.done():
            asyncio.get_running_loop().call_soon(self.spin)
        elif not self.done.done():
            self.done.set_result(None)

    def note(self, status: int, took_s: float) -> None:
        """Note an answer."""
        self.took.append(took_s)
        self.statuses[status] += 1
        self._unanswered -= 1


class Connection(asyncio.Protocol):
    """One connection, with one request under way at a time."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._due = 0.0
        self.free_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be free."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._be_free()

    def send(self, request: bytes, due: float) -> None:
        """Send a request that was due at a time."""
        self._due = due
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        """End: before all is answered, nothing closes a connection but a fault."""
        if not self._arrivals.done.done():
            self._arrivals.done.set_exception(ConnectionError("expected connections to be kept, got one closed"))

    def on_message_complete(self) -> None:
        """Note the answer, and be free."""
        self._arrivals.note(self._parser.get_status_code(), time.perf_counter() - self._due)
        self._be_free()

    def _be_free(self) -> None:
        self.free_since = time.perf_counter()
        self._arrivals.idle.append(self)


async def run(
    url: str, requests: Sequence[bytes], *, rate: float, seconds: float, connections: int
) -> dict[str, object]:
    """Load a server and return what came of it, as `Arrived` has it, and how many answers had each status."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    arrivals = Arrivals(itertools.cycle(requests), rate=rate, seconds=seconds)
    host, port = address.hostname, address.port
    opened = [await loop.create_connection(lambda: Connection(arrivals), host, port) for _ in range(connections)]
    arrivals.begin()
    try:
        await arrivals.done
    finally:
        for transport, _ in opened:
            transport.abort()
    median, tail = np.quantile(np.frombuffer(arrivals.took), [0.5, 0.99]).tolist()
    return {
        "requests": len(arrivals.took),
        "statuses": dict(arrivals.statuses),
        "p50_s": median,
        "p99_s": tail,
        "late_s": float(np.quantile(np.frombuffer(arrivals.late), 0.99)),
    }


def main() -> int:
    """Print what came of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--media-type", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parsed = parser.parse_args()
    requests = [request_bytes(parsed.url, parsed.media_type, file.read_bytes()) for file in parsed.files]
    gc.disable()  # a pause here would be a pause of every connection
    told = run(parsed.url, requests, rate=parsed.rate, seconds=parsed.seconds, connections=parsed.connections)
    print(json.dumps(uvloop.run(told)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The load generator: connections that each send their next request when they have the answer to the last.

It stops sending when the time is up and waits for what is still due, so that no work of the server goes uncounted.

    python -m benchmarks.serving.load URL --seconds 4 --connections 16 --media-type application/json FILE...
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import numpy as np
import uvloop


class Load:
    """What all connections share: the requests they send and what came of them."""

    def __init__(self, requests: Iterator[bytes], seconds: float) -> None:
        self.requests = requests
        self.ends = time.perf_counter() + seconds
        self.last_answer = self.ends
        self.latencies = array("d")
        self.statuses: Counter[int] = Counter()
        self.failed = 0


class Connection(asyncio.Protocol):
    """One connection, with one request under way at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._parser = httptools.HttpResponseParser(self)
        self._sent = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take a part of an answer."""
        self._parser.feed_data(data)

    def connection_lost(self, _: Exception | None) -> None:
        """Count the request that is left without an answer."""
        self._load.failed += self._sent > 0
        self.closed.set_result(None)

    def on_message_complete(self) -> None:
        """Note the answer, and send the next request if there is time."""
        load, now = self._load, time.perf_counter()
        load.latencies.append(now - self._sent)
        load.statuses[self._parser.get_status_code()] += 1
        load.last_answer = now
        self._sent = 0.0
        if now < load.ends and self._parser.should_keep_alive():
            self._parser = httptools.HttpResponseParser(self)
            self._send()
        else:
            self._transport.close()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._load.requests))


async def run(url: str, requests: Sequence[bytes], *, seconds: float, connections: int) -> dict[str, object]:
    """Load a server and return what came of it."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    load = Load(itertools.cycle(requests), seconds)

    async def keep_connected() -> None:
        while time.perf_counter() < load.ends:
            _, connection = await loop.create_connection(lambda: Connection(load), address.hostname, address.port)
            await connection.closed

    await asyncio.gather(*(keep_connected() for _ in range(connections)))
    latencies = np.frombuffer(load.latencies) if load.latencies else np.full(1, np.nan)
    median, tail = np.quantile(latencies, [0.5, 0.99]).tolist()
    return {
        "requests": len(load.latencies),
        "seconds": load.last_answer - begin,
        "statuses": dict(load.statuses),
        "failed": load.failed,
        "p50_s": median,
        "p99_s": tail,
    }


def request_bytes(url: str, media_type: str, body: bytes) -> bytes:
    """Return a whole POST request that asks for an answer in its own format."""
    address = urlsplit(url)
    lines = [
        f"POST {address.path} HTTP/1.1",
        f"Host: {address.netloc}",
        f"Content-Type: {media_type}",
        f"Accept: {media_type}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def main() -> int:
    """Print what came of it as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--media-type", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parsed = parser.parse_args()
    requests = [request_bytes(parsed.url, parsed.media_type, file.read_bytes()) for file in parsed.files]
    gc.disable()  # a pause here would be a pause of every connection
    print(json.dumps(uvloop.run(run(parsed.url, requests, seconds=parsed.seconds, connections=parsed.connections))))
    return 0


if __name__ == "__main__":
    sys.exit(main())

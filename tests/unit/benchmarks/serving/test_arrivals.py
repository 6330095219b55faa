"""A constant rate of arrival is kept whatever the answers do, and each request is timed from when it was due."""

import asyncio

import pytest

from benchmarks.serving.arrivals import run
from benchmarks.serving.constant import Constant
from benchmarks.serving.load import request_bytes

RATE = 200.0
DELAY_S = 0.02


class Slow(Constant):
    """Answers late."""

    def on_message_complete(self):
        asyncio.get_running_loop().call_later(DELAY_S, super().on_message_complete)


class Closing(asyncio.Protocol):
    """Closes at the first byte."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _):
        self.transport.close()


def sent(protocol, *, connections, seconds=0.25):
    async def both():
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        url = f"http://{host}:{port}/score"
        requests = [request_bytes(url, "application/json", b"[1]")]
        async with server:
            return await run(url, requests, rate=RATE, seconds=seconds, connections=connections)

    return asyncio.run(both())


def test_all_requests_are_sent_and_answered():
    figures = sent(Constant, connections=4)
    assert figures["requests"] == 50
    assert figures["statuses"] == {200: 50}
    assert 0 < figures["p50_s"] <= figures["p99_s"]


def test_what_waits_for_a_connection_is_timed_from_when_it_was_due():
    figures = sent(Slow, connections=1)
    # One connection takes 50 a second of the 200 that are due: the last ones wait for nearly all the others.
    assert figures["p99_s"] > 10 * DELAY_S
    assert figures["late_s"] < figures["p50_s"]


def test_a_connection_that_is_closed_ends_it():
    with pytest.raises(ConnectionError, match="expected connections to be kept"):
        sent(Closing, connections=2)

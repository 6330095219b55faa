"""The load generator counts every request that it sends."""

import asyncio

import pytest

from benchmarks.serving.constant import Constant
from benchmarks.serving.load import request_bytes, run

CONNECTIONS = 4


class Deaf(asyncio.Protocol):
    """Closes at the first byte."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, _):
        self.transport.close()


def loaded(protocol, **details):
    async def both():
        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        url = f"http://{host}:{port}/score"
        requests = [request_bytes(url, "application/json", b"[1]"), request_bytes(url, "application/json", b"[2]")]
        async with server:
            return await run(url, requests, connections=CONNECTIONS, **details)

    return asyncio.run(both())


def test_answers_are_counted_by_status_until_the_last_one():
    figures = loaded(Constant, seconds=0.1)
    assert figures["statuses"] == {200: figures["requests"]}
    assert figures["requests"] >= CONNECTIONS
    assert not figures["failed"]
    assert 0 < figures["p50_s"] <= figures["p99_s"] <= figures["seconds"]


def test_requests_without_an_answer_are_counted_too():
    figures = loaded(Deaf, seconds=0.05)
    assert figures["failed"] >= CONNECTIONS
    assert not figures["requests"]


@pytest.mark.parametrize("body", [b"", b"x" * 10])
def test_a_request_says_how_long_it_is(body):
    head, _, rest = request_bytes("http://host:1/score", "text/csv", body).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /score HTTP/1.1\r\nHost: host:1\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert rest == body

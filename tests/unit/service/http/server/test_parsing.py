"""From bytes to requests: the same whatever the pieces they come in, and no guesses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.http.server.connection import Connection, SharedState
from vaegis.service.http.server.interface import (
    Callbacks,
    HeadersTooLargeError,
    Limits,
    MalformedRequestError,
    RequestError,
)

HOST = b"Host: x\r\n"
POST = b"POST /score HTTP/1.1\r\n" + HOST
LIMITS = Limits(
    header_timeout_s=60,
    body_timeout_s=60,
    answer_timeout_s=60,
    keep_alive_s=60,
    max_header_bytes=1000,
    max_headers=10,
    max_connections=10,
    drain_delay_s=0,
    shutdown_grace_s=0,
)


async def answer(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@dataclass
class Outcome:
    """What came of a stream: scope, body and end of each request, why the stream was refused, and how it was left."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    is_open: bool = True

    async def app(self, scope, receive, send):
        request = {"scope": scope, "body": b"", "ended": False}
        self.requests.append(request)
        try:
            while not request["ended"]:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                request["body"] += message.get("body", b"")
                request["ended"] = not message.get("more_body", False)
        except RequestError as fault:
            self.faults.append(fault)
        await answer(scope, receive, send)

    def refusal(self, fault):
        self.faults.append(fault)
        return answer


class Transport(asyncio.Transport):
    """One whose client takes everything at once."""

    is_closed = False

    def write(self, data):
        pass

    def get_write_buffer_size(self):
        return 0

    def can_write_eof(self):
        return False

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def is_closing(self):
        return self.is_closed

    def close(self):
        self.is_closed = True


def connection_to(app, refusal) -> Connection:
    """Return a connection whose requests ``app`` answers."""
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False)
    connection = Connection(config, SharedState(app, LIMITS, Callbacks(refusal=refusal)))
    connection.connection_made(Transport())
    return connection


async def feed(outcome: Outcome, *pieces: bytes) -> None:
    """Give the pieces to a connection, with time for the app between them."""
    connection = connection_to(outcome.app, outcome.refusal)
    for piece in pieces:
        connection.data_received(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    tasks = connection.server_state.tasks
    while tasks and (connection.pipeline or not connection.cycle.more_body):  # noqa: ASYNC110 - it has no event
        await asyncio.sleep(0)
    outcome.is_open = not connection.transport.is_closing()
    connection.connection_lost(None)
    await asyncio.gather(*tasks)


def outcome_of(*pieces: bytes) -> Outcome:
    outcome = Outcome()
    asyncio.run(feed(outcome, *pieces))
    return outcome


def read(*pieces: bytes) -> list[dict[str, Any]]:
    """Return the requests of a stream in which nothing is refused."""
    outcome = outcome_of(*pieces)
    assert outcome.faults == []
    return outcome.requests


def fault_of(*pieces: bytes) -> Exception:
    """Return why a stream is refused."""
    (fault,) = outcome_of(*pieces).faults
    return fault


STREAMS = {
    "no body": b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a length": POST + b"Content-Length: 5\r\n\r\nhello",
    "a body that looks like an end": POST + b"Content-Length: 9\r\n\r\n\r\n\r\n0\r\n\r\n",
    "chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
    "chunks that look like an end": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
    "empty lines first": b"\r\n\r\n" + POST + b"Content-Length: 0\r\n\r\n",
    "a refused upgrade": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello",
    "a refused upgrade in chunks": POST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "a refused upgrade without a body": b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    + HOST
    + b"\r\n",
}
BODIES = [b"", b"hello", b"\r\n\r\n0\r\n\r\n", b"hello world", b"0\r\n\r\n", b"", b"hello", b"hello", b""]


@given(cuts=st.sets(st.integers(0, sum(map(len, STREAMS.values())))))
def test_requests_are_the_same_in_whatever_pieces_they_come(cuts):
    stream = b"".join(STREAMS.values())
    places = sorted(cuts | {0, len(stream)})
    outcome = outcome_of(*(stream[start:end] for start, end in pairwise(places)))
    assert [request["body"] for request in outcome.requests] == BODIES
    assert all(request["ended"] for request in outcome.requests)
    assert (outcome.faults, outcome.is_open) == ([], True)


def test_few_requests_are_parsed_before_their_turn():
    request = STREAMS["no body"]

    async def scenario():
        release = asyncio.Event()
        answered = []

        async def slow(scope, receive, send):
            await release.wait()
            answered.append(scope["path"])
            await answer(scope, receive, send)

        connection = connection_to(slow, pytest.fail)
        connection.data_received(request * 1000)
        assert len(connection.pipeline) < 200
        release.set()
        while len(answered) < 1000:  # noqa: ASYNC110 - it counts what the app notes
            await asyncio.sleep(0)

    asyncio.run(scenario())


def test_a_trailer_is_passed_over():
    chunks = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
    requests = read(chunks + chunks)
    assert [(request["body"], request["ended"]) for request in requests] == [(b"hello", True)] * 2
    assert all(name != b"x" for request in requests for name, _ in request["scope"]["headers"])


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/score?alpha=0.1&x=?", "/score", b"alpha=0.1&x=?"),
        (b"http://other:80/score?a", "/score", b"a"),
        (b"https://other", "/", b""),
        (b"//other/score", "//other/score", b""),
        (b"/caf%C3%A9", "/café", b""),
        (b"*", "*", b""),
    ],
)
def test_targets_become_paths(target, path, query):
    (request,) = read(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert (request["scope"]["path"], request["scope"]["query_string"]) == (path, query)


@pytest.mark.parametrize("escape", [b"%00", b"%0a", b"%0A", b"%1f", b"%7F"])
def test_control_characters_cannot_be_escaped_into_a_path(escape):
    for target in (b"/score" + escape, b"/v2/models/" + escape + b"/ready", b"http://x/score" + escape):
        assert "without control characters" in str(fault_of(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"))


@pytest.mark.parametrize("target", [b"/a#b", b"ftp://other/a", b"other:80", b"/caf\xc3\xa9", b"/a b", b"http://", b"?"])
def test_what_is_no_target_is_refused(target):
    assert isinstance(fault_of(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"), MalformedRequestError)


CHUNKED = b"Transfer-Encoding: chunked\r\n"
AMBIGUOUS = {
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "a list of lengths": b"Content-Length: 5, 5\r\n",
    "a length with a sign": b"Content-Length: +5\r\n",
    "a negative length": b"Content-Length: -5\r\n",
    "a length in hex": b"Content-Length: 0x5\r\n",
    "no number": b"Content-Length: five\r\n",
    "an empty length": b"Content-Length:\r\n",
    "a length beyond 64 bits": b"Content-Length: 99999999999999999999\r\n",
    "a length, then chunks": b"Content-Length: 5\r\n" + CHUNKED,
    "chunks, then a length": CHUNKED + b"Content-Length: 5\r\n",
    "chunks twice": CHUNKED + CHUNKED,
    "chunks in chunks": b"Transfer-Encoding: chunked, chunked\r\n",
    "another coding": b"Transfer-Encoding: gzip, chunked\r\n",
    "a coding after chunks": b"Transfer-Encoding: chunked, identity\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "a name like it": b"Transfer-Encoding: xchunked\r\n",
    "a quoted one": b'Transfer-Encoding: "chunked"\r\n',
    "one with a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "a vertical tab before it": b"Transfer-Encoding:\x0bchunked\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n",
    "a folded line": b"Transfer-Encoding:\r\n chunked\r\n",
    "a folded value": b"X: a\r\n b\r\n",
    "a bare line feed": b"X: a\nTransfer-Encoding: chunked\r\n",
    "a bare carriage return": b"X: a\rTransfer-Encoding: chunked\r\n",
    "a zero byte": b"X: a\0b\r\n",
    "a line without a colon": b"X\r\n",
    "a header without a name": b": x\r\n",
    "a second host": b"Host: y\r\n",
    "an unknown expectation": b"Expect: 200-ok\r\n",
}


@pytest.mark.parametrize("headers", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_headers_that_can_be_understood_in_two_ways_are_refused(headers):
    outcome = outcome_of(POST + headers + b"\r\nhello\r\n0\r\n\r\n")
    assert isinstance(outcome.faults[0], MalformedRequestError)
    assert outcome.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / HTTP/3\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n " + HOST + b"\r\n",
        b"CONNECT x:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    ],
)
def test_what_is_not_http_1_1_or_1_0_is_refused(head):
    assert isinstance(fault_of(head), MalformedRequestError)


@pytest.mark.parametrize("version", [b"0.9", b"2.0"])
def test_a_version_that_only_the_parser_takes_is_refused_by_name(version):
    expected = f"request: expected HTTP/1.1 or HTTP/1.0, got HTTP/{version.decode()}"
    assert expected in str(fault_of(b"GET / HTTP/" + version + b"\r\n" + HOST + b"\r\n"))


@pytest.mark.parametrize(
    "chunks",
    [
        b"6\r\nhello\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;a\n\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_chunks_of_wrong_sizes_are_refused(chunks):
    assert isinstance(fault_of(POST + CHUNKED + b"\r\n" + chunks), MalformedRequestError)


def test_a_length_is_trusted_only_in_http_1_0_without_chunks():
    outcome = outcome_of(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    assert (outcome.requests[0]["body"], outcome.is_open) == (b"{}", False)


@pytest.mark.parametrize(
    "head",
    [
        POST + b"X: " + b"a" * 1000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\n",
        b"GET /" + b"a" * 1000,
        POST + b"X: a\r\n" * 10 + b"\r\n",
        b"\r\n" * 501,
    ],
)
def test_long_heads_are_refused_before_they_end(head):
    assert isinstance(fault_of(head), HeadersTooLargeError)
    assert isinstance(fault_of(*(head[at : at + 1] for at in range(len(head)))), HeadersTooLargeError)


@pytest.mark.parametrize("split", range(1, 4))
def test_a_body_does_not_count_as_head_even_if_the_end_of_the_head_is_split(split):
    head = POST + b"Content-Length: 5000\r\n\r\n"
    (request,) = read(head[:-split], head[-split:] + b"a" * 5000)
    assert len(request["body"]) == 5000


@pytest.mark.parametrize("framing", [b"5;" + b"a" * 2000, b"0\r\n" + b"X: y\r\n" * 500, b"0\r\nX: " + b"a" * 2000])
def test_chunks_that_are_nothing_but_framing_are_refused(framing):
    assert isinstance(fault_of(POST + CHUNKED + b"\r\n" + framing), MalformedRequestError)
    assert isinstance(
        fault_of(POST + CHUNKED + b"\r\n", *(framing[at : at + 100] for at in range(0, len(framing), 100))),
        MalformedRequestError,
    )


FRAGMENTS = st.sampled_from(
    [
        *STREAMS.values(),
        *AMBIGUOUS.values(),
        b"\r\n",
        b"\r\n\r\n",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        POST,
        HOST,
        b"GET /",
    ]
)


@given(pieces=st.lists(st.binary(max_size=20) | FRAGMENTS, max_size=20))
def test_whatever_comes_is_read_or_refused(pieces):
    outcome = outcome_of(*pieces)
    assert all(isinstance(fault, RequestError) for fault in outcome.faults)
    assert len(outcome.faults) <= 1
    assert all(request["ended"] for request in outcome.requests[:-1])

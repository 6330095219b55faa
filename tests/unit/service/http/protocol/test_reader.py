"""Cutting a stream into requests: the same whatever the pieces it comes in, and no guesses."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.http.errors import HeadersTooLargeError, MalformedRequestError
from vaegis.service.http.protocol.reader import RequestReader

HOST = b"Host: x\r\n"
POST = b"POST /score HTTP/1.1\r\n" + HOST


class Requests:
    """What came of a stream: target, framing and body of each request, and whether it ended."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def begin(self, scope, framing, *, keeps_alive):
        self.all.append({"scope": scope, "framing": framing, "alive": keeps_alive, "body": b"", "ended": False})

    def take_part(self, body):
        self.all[-1]["body"] += body

    def take_end(self):
        self.all[-1]["ended"] = True


def reader_of(requests: Requests, max_header_bytes: int = 1000, max_headers: int = 10) -> RequestReader:
    return RequestReader(requests, max_header_bytes=max_header_bytes, max_headers=max_headers)


def read(*pieces: bytes, **limits: int) -> list[dict[str, Any]]:
    requests = Requests()
    reader = reader_of(requests, **limits)
    for piece in pieces:
        rest = piece
        while rest:
            rest = reader.feed(rest)
    return requests.all


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
    requests = read(*(stream[start:end] for start, end in pairwise(places)))
    assert [request["body"] for request in requests] == BODIES
    assert all(request["ended"] and request["alive"] for request in requests)


def test_no_more_than_one_request_is_read_at_a_time():
    requests = Requests()
    reader = reader_of(requests)
    rest = b"".join(STREAMS.values())
    for count in range(1, len(STREAMS) + 1):
        rest = reader.feed(rest)
        assert len(requests.all) == count
    assert rest == b""


def test_a_trailer_is_passed_over_and_ends_the_connection_if_more_follows():
    chunks = POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"
    (request,) = read(chunks)
    assert (request["body"], request["ended"]) == (b"hello", True)
    assert all(name != b"x" for name, _ in request["scope"]["headers"])
    requests = Requests()
    with pytest.raises(MalformedRequestError):
        reader_of(requests).feed(chunks + chunks)
    assert [request["ended"] for request in requests.all] == [True]


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
        with pytest.raises(MalformedRequestError, match="without control characters"):
            read(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")


@pytest.mark.parametrize("target", [b"/a#b", b"ftp://other/a", b"other:80", b"/caf\xc3\xa9", b"/a b", b"http://", b"?"])
def test_what_is_no_target_is_refused(target):
    with pytest.raises(MalformedRequestError):
        read(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")


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
    requests = Requests()
    with pytest.raises(MalformedRequestError):
        reader_of(requests).feed(POST + headers + b"\r\nhello\r\n0\r\n\r\n")
    assert requests.all == []


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
    with pytest.raises(MalformedRequestError):
        read(head)


@pytest.mark.parametrize("version", [b"0.9", b"2.0"])
def test_a_version_that_only_the_parser_takes_is_refused_by_name(version):
    told = f"request: expected HTTP/1.1 or HTTP/1.0, got HTTP/{version.decode()}"
    with pytest.raises(MalformedRequestError, match=told):
        read(b"GET / HTTP/" + version + b"\r\n" + HOST + b"\r\n")


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
    with pytest.raises(MalformedRequestError):
        read(POST + CHUNKED + b"\r\n" + chunks)


def test_a_length_is_trusted_only_in_http_1_0_without_chunks():
    (request,) = read(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
    assert (request["body"], request["alive"]) == (b"{}", False)


@pytest.mark.parametrize(
    ("head", "limits"),
    [
        (POST + b"X: " + b"a" * 1000 + b"\r\n\r\n", {}),
        (b"GET /" + b"a" * 1000 + b" HTTP/1.1\r\n", {}),
        (b"GET /" + b"a" * 1000, {}),
        (POST + b"X: a\r\n" * 10 + b"\r\n", {}),
        (b"\r\n" * 501, {}),
    ],
)
def test_long_heads_are_refused_before_they_end(head, limits):
    with pytest.raises(HeadersTooLargeError):
        read(head)
    with pytest.raises(HeadersTooLargeError):
        read(*(head[at : at + 1] for at in range(len(head))))


@pytest.mark.parametrize("split", range(1, 4))
def test_a_body_does_not_count_as_head_even_if_the_end_of_the_head_is_split(split):
    head = POST + b"Content-Length: 5000\r\n\r\n"
    (request,) = read(head[:-split], head[-split:] + b"a" * 5000)
    assert len(request["body"]) == 5000


@pytest.mark.parametrize("framing", [b"5;" + b"a" * 2000, b"0\r\n" + b"X: y\r\n" * 500, b"0\r\nX: " + b"a" * 2000])
def test_chunks_that_are_nothing_but_framing_are_refused(framing):
    with pytest.raises(MalformedRequestError):
        read(POST + CHUNKED + b"\r\n" + framing)
    with pytest.raises(MalformedRequestError):
        read(POST + CHUNKED + b"\r\n", *(framing[at : at + 100] for at in range(0, len(framing), 100)))


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
    requests = Requests()
    reader = reader_of(requests)
    try:
        for piece in pieces:
            rest = piece
            while rest:
                left = reader.feed(rest)
                assert len(left) < len(rest)
                rest = left
    except (MalformedRequestError, HeadersTooLargeError):
        pass
    assert all(request["ended"] for request in requests.all[:-1])

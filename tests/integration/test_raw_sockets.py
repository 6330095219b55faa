"""What clients can do to `vaegis serve` with bare sockets: each is answered or cut, and others are served."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator

import httpx
import pytest

RECORD = b'{"amount": 22.5, "express": false, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}'
LENGTH = b"Content-Length: %d\r\n" % len(RECORD)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POST = b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
JSON = {"content-type": "application/json"}
LAST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SMUGGLED = b"GET /model HTTP/1.1\r\nHost: localhost\r\n\r\n"
CUTS = ("header_timeout", "body_timeout", "malformed", "headers_too_large")


@pytest.fixture(scope="module")
def served(serve_for_all):
    return serve_for_all("--header-timeout-s", "1", "--body-timeout-s", "1")


@pytest.fixture(autouse=True)
def still_served(served) -> Iterator[None]:
    """After each of these tests somebody else is answered, and nothing is left in flight."""
    yield
    assert httpx.post(f"{served.url}/score", content=RECORD, headers=JSON).status_code == 200
    for _ in range(10_000):
        if "\nvaegis_requests_in_flight 0.0" in httpx.get(f"{served.url}/metrics").text:
            return
    raise AssertionError("expected no request in flight")


def everything(client: socket.socket) -> bytes:
    """Read until the service closes."""
    return b"".join(iter(lambda: client.recv(65536), b""))


def answers_of(received: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Return status, headers and body of each answer."""
    found = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        assert end, received
        first, *lines = head.decode("ascii").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("content-length", 0))
        found.append((int(first.split()[1]), headers, rest[:size]))
        received = rest[size:]
    return found


def exchange(served, *pieces: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Send the pieces; return all answers that come until the service closes."""
    with served.connect() as client:
        for piece in pieces:
            client.sendall(piece)
        return answers_of(everything(client))


def trickle(served, head: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Send ``head``, then byte after byte until an answer comes."""
    with served.connect() as client:
        client.sendall(head)
        client.settimeout(0.02)
        received = b""
        while not received:
            try:
                client.sendall(b"1")
                received = client.recv(65536)
            except TimeoutError:
                continue
        client.settimeout(60)
        return answers_of(received + everything(client))


def assert_refused(answers, status: int, kind: str) -> None:
    """Assert that there is one answer, a problem of a kind, and the last on its connection."""
    ((got, headers, body),) = answers
    assert (got, headers["connection"], headers["content-type"]) == (status, "close", "application/problem+json")
    assert json.loads(body)["type"] == f"urn:vaegis:problem:{kind}"


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (POST + b"X: ", "header-timeout"),
        (b"GET /", "header-timeout"),
        (POST + b"Content-Length: 1000000\r\n\r\n", "body-timeout"),
    ],
)
def test_a_request_that_comes_byte_by_byte_is_cut(served, head, kind):
    assert_refused(trickle(served, head), 408, kind)


def test_a_chunked_body_that_comes_byte_by_byte_is_cut(served):
    assert_refused(trickle(served, POST + CHUNKED + b"\r\nfffff\r\n"), 408, "body-timeout")


def test_a_connection_on_which_nothing_comes_is_closed_without_a_word(served):
    assert exchange(served) == []


def test_a_client_that_sends_no_more_gets_its_answer(served):
    with served.connect() as client:
        client.sendall(POST + LENGTH + b"\r\n" + RECORD)
        client.shutdown(socket.SHUT_WR)
        ((status, _, body),) = answers_of(everything(client))
    assert status == 200
    assert len(json.loads(body)["results"]) == 1


def test_a_client_that_stops_in_the_middle_of_a_body_gets_a_problem(served):
    with served.connect() as client:
        client.sendall(POST + LENGTH + b"\r\n" + RECORD[:-1])
        client.shutdown(socket.SHUT_WR)
        assert_refused(answers_of(everything(client)), 400, "incomplete-body")


def test_requests_sent_at_once_are_answered_one_by_one_in_order(served):
    score = POST + LENGTH + b"\r\n" + RECORD
    unknown = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = exchange(served, (score + unknown) * 20 + LAST)
    assert [status for status, _, _ in answers] == [200, 404] * 20 + [200]
    assert answers[-1][2] == b'{"state":"alive"}'


@pytest.mark.parametrize(
    "chunks",
    [
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(RECORD) - 1, RECORD),
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(RECORD) + 1, RECORD),
        b"-1\r\n" + RECORD,
        b"0x%x\r\n%b\r\n0\r\n\r\n" % (len(RECORD), RECORD),
        b"fffffffffffffffff\r\n" + RECORD,
        b"%x\n%b\r\n0\r\n\r\n" % (len(RECORD), RECORD),
        b"%x\r\n%b0\r\n\r\n" % (len(RECORD), RECORD),
        b"%x;%b\r\n" % (len(RECORD), b"a" * 1_000_000),
        b"0\r\nX: %b\r\n" % (b"a" * 1_000_000),
    ],
)
def test_chunks_of_wrong_sizes_are_refused_and_nothing_behind_them_is_read(served, chunks):
    assert_refused(exchange(served, POST + CHUNKED + b"\r\n" + chunks + SMUGGLED), 400, "malformed-request")


def test_chunks_are_read_in_whatever_pieces_they_come(served):
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in RECORD) + b"0\r\n\r\n"
    request = POST + CHUNKED + b"\r\n" + chunks
    answers = exchange(served, *(request[at : at + 7] for at in range(0, len(request), 7)), LAST)
    assert [status for status, _, _ in answers] == [200, 200]


@pytest.mark.parametrize(
    "headers",
    [
        LENGTH + LENGTH,
        LENGTH + b"Content-Length: 1\r\n",
        b"Content-Length: 1\r\n" + LENGTH,
        b"Content-Length: %d, %d\r\n" % (len(RECORD), len(RECORD)),
        b"Content-Length: +%d\r\n" % len(RECORD),
        b"Content-Length: %d\r\n\t\r\n" % len(RECORD),
        LENGTH + CHUNKED,
        CHUNKED + LENGTH,
        CHUNKED + CHUNKED,
        CHUNKED + b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: identity\r\n" + CHUNKED,
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunkedx\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\n",
        b"X: a\rTransfer-Encoding: chunked\r\n",
        b"X: a\0\r\n",
        b" X: a\r\n",
        b"Host: y\r\n",
    ],
)
@pytest.mark.parametrize("body", [RECORD, b"0\r\n\r\n" + SMUGGLED])
def test_a_request_whose_end_is_uncertain_is_refused_and_nothing_behind_it_is_read(served, headers, body):
    assert_refused(exchange(served, POST + headers + b"\r\n" + body + SMUGGLED), 400, "malformed-request")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: x\n\n",
        b"GET /livez HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT other:80 HTTP/1.1\r\nHost: other\r\n\r\n",
        b"POST /score HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /livez#fragment HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS\r\n\r\n",
        b"\0" * 100,
    ],
)
def test_what_is_no_request_of_ours_is_refused(served, head):
    assert_refused(exchange(served, head), 400, "malformed-request")


@pytest.mark.parametrize(
    "head",
    [
        POST + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
        POST + b"X: a\r\n" * 101 + b"\r\n",
        b"GET /" + b"a" * 20_000,
        b"\r\n" * 10_000,
    ],
)
def test_headers_beyond_the_limits_are_refused(served, head):
    assert_refused(exchange(served, head), 431, "headers-too-large")


def test_a_malformed_request_of_v2_is_refused_in_the_form_of_the_protocol(served):
    ((status, headers, body),) = exchange(served, b"GET /v2/models/%08 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (status, headers["content-type"]) == (400, "application/json")
    assert "without control characters" in json.loads(body)["error"]


def test_headers_sent_on_after_a_refusal_do_not_lose_it(served):
    assert_refused(exchange(served, POST, *[b"X: %b\r\n" % (b"a" * 1000)] * 2000), 431, "headers-too-large")


@pytest.mark.parametrize("sent", [POST[:20], POST + LENGTH + b"\r\n" + RECORD[:-1], POST + LENGTH + b"\r\n" + RECORD])
def test_a_reset_harms_nobody(served, sent):
    with served.connect() as client:
        client.sendall(sent)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_http_1_0_is_answered_in_one_piece_and_closed(served):
    ((status, headers, body),) = exchange(
        served, b"POST /score HTTP/1.0\r\nContent-Type: application/json\r\n" + LENGTH + b"\r\n" + RECORD
    )
    assert (status, headers["connection"]) == (200, "close")
    assert "transfer-encoding" not in headers
    assert len(json.loads(body)["results"]) == 1


def test_leave_to_send_a_body_is_given_before_it_comes(served):
    with served.connect() as client:
        client.sendall(POST + LENGTH + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(RECORD)
        ((status, _, _),) = answers_of(everything(client))
    assert status == 200


def test_leave_to_send_a_body_that_is_too_large_is_not_given(served):
    head = POST + b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
    assert_refused(exchange(served, head), 413, "body-too-large")


def test_an_unknown_expectation_is_refused(served):
    assert_refused(exchange(served, POST + LENGTH + b"Expect: 200-ok\r\n\r\n" + RECORD), 400, "malformed-request")


def test_a_target_may_be_an_address(served):
    answers = exchange(served, b"GET http://elsewhere.example:81/livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + LAST)
    assert [status for status, _, _ in answers] == [200, 200]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_an_upgrade_is_declined_by_an_answer_and_the_body_is_read(served, protocol):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\nHTTP2-Settings: AAMAAABk\r\n"
    get = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n"
    answers = exchange(served, get + POST + upgrade + LENGTH + b"\r\n" + RECORD + LAST)
    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert len(json.loads(answers[1][2])["results"]) == 1


@pytest.mark.parametrize("path", [b"/livez", b"/readyz"])
def test_head_shows_health_without_a_body(served, path):
    with served.connect() as client:
        client.sendall(b"HEAD %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path)
        head, end, body = everything(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (end, body) == (b"\r\n\r\n", b"")

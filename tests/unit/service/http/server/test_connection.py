"""A connection: answers come whole and in order whatever the client does, and nobody holds it for too long."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from contextlib import ExitStack

import pytest

from vaegis.service.errors import ServiceError
from vaegis.service.http.server.connection import RESERVED_CONNECTIONS
from vaegis.service.http.server.interface import BodyTimeoutError, MalformedRequestError

HOST = b"Host: x\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /last HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n"
POST = b"POST /b HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def body_of(receive):
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts) + b" (gone)"
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)


async def answer(send, status, body, *headers):
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send):
    """Answer with the path and the body; faults are answered as the service does."""
    try:
        body = await body_of(receive)
    except ServiceError as error:
        await answer(send, 408 if isinstance(error, BodyTimeoutError) else 400, type(error).__name__.encode())
        return
    await answer(send, 200, scope["path"].encode() + b":" + body)


async def deaf(scope, receive, send):
    """Answer without reading the request."""
    await answer(send, 429, b"full")


def streaming(parts: int, size: int):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(parts):
            await send({"type": "http.response.body", "body": b"a" * size, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def split(answers: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """Return status line, headers and body of each answer that has a length."""
    found = []
    while answers:
        head, _, rest = answers.partition(b"\r\n\r\n")
        status, _, headers = head.partition(b"\r\n")
        size = int(headers.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        found.append((status, headers, rest[:size]))
        answers = rest[size:]
    return found


def bodies(answers: bytes) -> list[bytes]:
    return [body for _, _, body in split(answers)]


def test_requests_on_one_connection_are_answered_in_order_even_if_sent_at_once(serving):
    many = b"".join(b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(2000))
    expected = [b"/%d:" % number for number in range(2000)]
    service = serving(echo)
    with service.connect() as client:
        # Sent from a thread, since the service takes no more than it answers.
        sender = threading.Thread(target=client.sendall, args=(many + LAST,))
        sender.start()
        received = b"".join(iter(lambda: client.recv(65536), b""))
        sender.join()
    assert bodies(received) == [*expected, b"/last:"]


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (POST + b"Content-Length: 5\r\n\r\nhello", b"/b:hello"),
        (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"/b:hello world"),
        (POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", b"/b:hello"),
        (b"GET http://other/c HTTP/1.1\r\n" + HOST + b"\r\n", b"/c:"),
    ],
)
def test_a_connection_is_used_again(serving, request_bytes, expected):
    assert bodies(serving(echo).answer(request_bytes, request_bytes + LAST)) == [expected, expected, b"/last:"]


def test_a_large_body_comes_whole_although_the_app_is_slow_to_ask_for_it(serving):
    asked = threading.Event()

    async def late(scope, receive, send):
        asked.set()
        body = await body_of(receive)
        await answer(send, 200, b"%d" % len(body))

    size = 8 * 2**20
    request = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size
    assert bodies(serving(late).answer(request, b"a" * size)) == [b"%d" % size]


def test_an_answer_in_parts_comes_in_chunks(serving):
    service = serving(streaming(3, 5))
    chunks = b"5\r\naaaaa\r\n" * 3 + b"0\r\n\r\n"
    assert service.answer(LAST).endswith(b"transfer-encoding: chunked\r\n\r\n" + chunks)


def test_head_is_answered_without_a_body(serving):
    received = serving(echo).answer(b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n", LAST)
    first, _, second = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert bodies(second) == [b"/last:"]


def test_a_client_that_sends_no_more_still_gets_its_answer(serving, read_all):
    service = serving(echo)
    with service.connect() as client:
        client.sendall(GET + POST + b"Content-Length: 5\r\n\r\nhello")
        client.shutdown(socket.SHUT_WR)
        assert bodies(read_all(client)) == [b"/a:", b"/b:hello"]


def test_a_client_that_ends_in_the_middle_of_a_body_gets_a_problem(serving, read_all):
    service = serving(echo)
    with service.connect() as client:
        client.sendall(POST + b"Content-Length: 5\r\n\r\nhel")
        client.shutdown(socket.SHUT_WR)
        ((status, headers, body),) = split(read_all(client))
    assert (status, body) == (b"HTTP/1.1 400 Bad Request", b"IncompleteBodyError")
    assert b"connection: close" in headers


def test_a_reset_in_the_middle_is_told_to_the_app_and_harms_nobody(serving):
    seen, read = threading.Event(), []

    async def app(scope, receive, send):
        if scope["path"] == "/b":
            first = await receive()
            read.append(first["body"])
            seen.set()
        await echo(scope, receive, send)

    service = serving(app)
    client = service.connect()
    client.sendall(POST + b"Content-Length: 5\r\n\r\nhel")
    assert seen.wait(60)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert bodies(service.answer(LAST)) == [b"/last:"]
    assert read == [b"hel"]


def test_leave_to_send_a_body_is_given_when_the_app_asks_for_it(serving, read_all):
    service = serving(echo)
    head = POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with service.connect() as client:
        client.sendall(head)
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert bodies(read_all(client)) == [b"/b:hello"]


def test_a_client_that_waits_for_leave_and_is_refused_cannot_use_the_connection_further(serving):
    ((status, headers, _),) = split(serving(deaf).answer(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
    assert status == b"HTTP/1.1 429 Too Many Requests"
    assert b"connection: close" in headers


def test_a_small_body_that_nobody_reads_is_passed_over(serving):
    request = POST + b"Content-Length: 100000\r\n\r\n"
    received = serving(deaf).answer(request, b"a" * 50_000, b"a" * 50_000 + LAST)
    assert bodies(received) == [b"full", b"full"]


def test_an_app_may_wait_for_the_body_and_for_its_end_at_once(serving):
    waiting = threading.Event()

    async def app(scope, receive, send):
        receivers = [asyncio.ensure_future(receive()) for _ in range(2)]
        asyncio.get_running_loop().call_soon(waiting.set)  # after the first step of both
        bodies = await asyncio.gather(*receivers)
        await answer(send, 200, b"|".join(message["body"] for message in bodies))

    with serving(app).connect() as client:
        client.sendall(POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n")
        assert waiting.wait(60)
        client.sendall(b"a")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(60)
        client.sendall(b"b")
        assert bodies(until_closed(client)) == [b"a|b"]


@pytest.mark.parametrize("head", [POST + b"Content-Length: 10000000\r\n\r\n", CHUNKED + b"ffffffff\r\n"])
def test_a_large_body_that_nobody_reads_ends_the_connection_but_not_before_the_answer_is_read(serving, head):
    ((_, headers, body),) = split(serving(deaf).answer(head, b"a" * 5_000_000))
    assert body == b"full"
    assert b"connection: close" in headers


@pytest.mark.parametrize("fault", [b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"])
def test_what_is_no_request_is_answered_as_a_problem_after_the_requests_before_it(serving, fault):
    service = serving(echo)
    first, (status, headers, body) = split(service.answer(GET + fault + GET))
    assert first[2] == b"/a:"
    assert status == b"HTTP/1.1 400 Bad Request"
    assert b"connection: close" in headers
    assert json.loads(body)["type"] == "urn:vaegis:problem:malformed-request"
    assert service.cuts == ["malformed"]


def test_chunks_of_wrong_sizes_fail_the_request_they_belong_to_and_nothing_behind_them_is_read(serving):
    service = serving(echo)
    ((status, headers, body),) = split(service.answer(CHUNKED + b"4\r\nhello\r\n0\r\n\r\n" + GET))
    assert (status, body) == (b"HTTP/1.1 400 Bad Request", MalformedRequestError.__name__.encode())
    assert b"connection: close" in headers
    assert service.cuts == ["malformed"]


def test_a_trailer_is_no_header_and_the_next_request_is_answered(serving):
    seen = []

    async def noting(scope, receive, send):
        await echo(scope, receive, send)
        seen.extend(scope["headers"])

    received = serving(noting).answer(CHUNKED + b"5\r\nhello\r\n0\r\nX: y\r\n\r\n" + LAST)
    assert bodies(received) == [b"/b:hello", b"/last:"]
    assert b"x" not in dict(seen)


@pytest.mark.parametrize("headers", [b"X: " + b"a" * 2000 + b"\r\n", b"X: a\r\n" * 20])
def test_headers_beyond_the_limits_are_answered_431(serving, headers):
    service = serving(echo, max_header_bytes=1000, max_headers=10)
    ((status, _, body),) = split(service.answer(POST + headers + b"\r\n"))
    assert status == b"HTTP/1.1 431 Request Header Fields Too Large"
    assert json.loads(body)["type"] == "urn:vaegis:problem:headers-too-large"
    assert service.cuts == ["headers_too_large"]


def test_an_answer_without_end_is_written_no_faster_than_it_is_read(serving):
    written = 0
    goes_on = threading.Event()

    async def endless(scope, receive, send):
        nonlocal written
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not goes_on.is_set():
            await send({"type": "http.response.body", "body": b"a" * 65536, "more_body": True})
            written += 65536
        await send({"type": "http.response.body", "body": b""})

    service = serving(endless)
    with service.connect(SO_RCVBUF=4096) as client:
        client.sendall(LAST)
        client.recv(1)
        # The service's own loop tells when the client's and the system's buffers are full.
        while not any(
            c.transport.get_write_buffer_size() > 65536 for c in list(service.server.server_state.connections)
        ):
            pass
        held = written
        assert held < 64 * 2**20
        goes_on.set()
        assert len(b"".join(iter(lambda: client.recv(65536), b""))) > held


def until_closed(client: socket.socket) -> bytes:
    """Return what comes before the service closes or resets the connection."""
    received = []
    try:
        while part := client.recv(65536):
            received.append(part)
    except ConnectionError:
        pass
    return b"".join(received)


def trickle(client: socket.socket, data: bytes) -> bytes:
    """Send ``data`` byte by byte over and over, and return the answer."""
    client.settimeout(0.01)
    while True:
        try:
            client.sendall(data)
            answer = client.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
        client.settimeout(60)
        return answer + until_closed(client)


def test_headers_that_come_byte_by_byte_are_answered_408(serving):
    service = serving(echo, header_timeout_s=0.1)
    with service.connect() as client:
        client.sendall(POST + b"X: ")
        ((status, _, body),) = split(trickle(client, b"a"))
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert json.loads(body)["type"] == "urn:vaegis:problem:header-timeout"
    assert service.cuts == ["header_timeout"]


def test_a_body_that_comes_byte_by_byte_is_answered_408(serving):
    service = serving(echo, body_timeout_s=0.1)
    with service.connect() as client:
        client.sendall(POST + b"Content-Length: 1000000\r\n\r\n")
        ((status, headers, body),) = split(trickle(client, b"a"))
    assert (status, body) == (b"HTTP/1.1 408 Request Timeout", b"BodyTimeoutError")
    assert b"connection: close" in headers
    assert service.cuts == ["body_timeout"]


def test_a_body_that_nobody_reads_and_does_not_come_is_cut(serving):
    service = serving(deaf, body_timeout_s=0.1)
    with service.connect() as client:
        client.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        assert until_closed(client).endswith(b"full")
    assert service.cuts == ["body_timeout"]


def test_the_time_in_which_the_app_does_not_read_is_not_the_client_s(serving):
    released = threading.Event()

    async def late(scope, receive, send):
        await asyncio.to_thread(released.wait)
        body = await body_of(receive)
        await answer(send, 200, b"%d" % len(body))

    size = 2**20
    service = serving(late, body_timeout_s=0.05)
    with service.connect() as client:
        client.sendall(POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size)
        sender = threading.Thread(target=client.sendall, args=(b"a" * size,))
        sender.start()
        sender.join(0.5)
        released.set()
        assert bodies(until_closed(client)) == [b"%d" % size]
        sender.join()
    assert service.cuts == []


@pytest.mark.parametrize("greeting", [b"", GET])
def test_a_connection_on_which_nothing_comes_is_closed(serving, greeting):
    service = serving(echo, keep_alive_s=0.05, header_timeout_s=0.05)
    with service.connect() as client:
        client.sendall(greeting)
        received = until_closed(client)
    assert bodies(received) == ([b"/a:"] if greeting else [])
    assert service.cuts == []


@pytest.mark.parametrize("app", [streaming(1000, 65536), streaming(1, 64 * 2**20)], ids=["stream", "one part"])
def test_a_client_that_does_not_read_its_answer_is_cut(serving, app):
    service = serving(app, answer_timeout_s=0.1)
    with service.connect(SO_RCVBUF=4096) as client:
        client.sendall(GET)
        while not service.cuts:
            client.recv(1)
        assert len(until_closed(client)) < 64 * 2**20
    assert service.cuts == ["answer_timeout"]


def test_a_new_connection_takes_the_place_of_the_one_that_was_idle_for_longest(serving, read_all):
    service = serving(echo, max_connections=3)
    with ExitStack() as stack:
        clients = [stack.enter_context(service.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(GET)
            client.recv(65536)
        newest = stack.enter_context(service.connect())
        newest.sendall(LAST)
        assert bodies(read_all(newest)) == [b"/last:"]
        assert until_closed(clients[0]) == b""
        assert service.cuts == ["crowded_out"]
        for client in clients[1:]:
            client.sendall(LAST)
            assert bodies(read_all(client)) == [b"/last:"]


def begun(service):
    """Return a connection whose request the service has begun to read."""
    client = service.connect()
    client.sendall(
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
    )
    assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return client


def test_where_all_connections_carry_requests_only_a_probe_is_answered_over_another(serving, read_all):
    service = serving(echo, max_connections=3)
    with ExitStack() as stack:
        busy = [stack.enter_context(begun(service)) for _ in range(3)]
        for _ in range(20):  # more than are reserved: those that end leave theirs
            alive = service.answer(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert alive.startswith(b"HTTP/1.1 200 OK\r\n")
        refused = service.answer(GET)
        assert refused.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b"\r\nretry-after: 1\r\n" in refused
        for client in busy:
            client.sendall(b"hello")
            assert bodies(read_all(client)) == [b"/body:hello"]
    assert service.cuts == ["crowded_out"]


def test_of_reserved_connections_that_say_nothing_the_oldest_makes_room(serving):
    service = serving(echo, max_connections=1)
    with ExitStack() as stack:
        stack.enter_context(begun(service))
        silent = [stack.enter_context(service.connect()) for _ in range(RESERVED_CONNECTIONS)]
        alive = service.answer(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert alive.startswith(b"HTTP/1.1 200 OK\r\n")
        assert until_closed(silent[0]) == b""


@pytest.mark.parametrize(
    "broken", ["raises", "raises late", "says nothing", "says half", "splits a header", "too long"]
)
def test_an_app_that_fails_is_answered_for_or_cut_off(serving, broken):
    async def app(scope, receive, send):
        if broken == "raises":
            raise ValueError
        if broken == "says nothing":
            return
        length = [(b"content-length", b"3")] if broken in ("raises late", "says half", "too long") else []
        split = [(b"x", b"a\r\nb: c")] if broken == "splits a header" else []
        await send({"type": "http.response.start", "status": 200, "headers": length + split})
        body = b"abcd" if broken == "too long" else b"ab"
        await send({"type": "http.response.body", "body": body, "more_body": True})
        if broken == "raises late":
            raise ValueError

    with serving(app).connect() as client:
        client.sendall(GET)
        received = until_closed(client)
    if broken in ("raises", "says nothing"):
        assert received.startswith(b"HTTP/1.1 500 ")
    else:
        assert received == b"" or received.endswith(b"\r\n\r\nab")

"""What an app is told of a client: that it has gone, though parts of its body were not asked for."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from vaegis.service.http.protocol.presence import presence_of

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
PART = b"5\r\nhello\r\n"


def end_sending(client):
    client.shutdown(socket.SHUT_WR)


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def answer(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("leave", [end_sending, reset])
@pytest.mark.parametrize("part", [PART, b"fffff\r\n" + b" " * 0xFFFFF + b"\r\n"])
def test_a_client_is_seen_to_leave_after_parts_that_nobody_asked_for(serving, leave, part):
    seen = asyncio.Queue()

    async def app(scope, receive, send):
        leaving = asyncio.ensure_future(presence_of(scope).until_gone())
        size = 0
        while size < len(part) - len(PART):  # a client that sends much more than is taken is not read from
            size += len((await receive())["body"])
        assert not leaving.done()
        seen.put_nowait("asked")
        await leaving
        seen.put_nowait("gone")
        while (await receive())["type"] != "http.disconnect":
            pass
        await answer(send)

    service = serving(app)
    with service.connect() as client:
        client.sendall(HEAD + part)
        assert asyncio.run_coroutine_threadsafe(seen.get(), service.hub.loop).result(60) == "asked"
        client.sendall(PART)
        leave(client)
        assert asyncio.run_coroutine_threadsafe(seen.get(), service.hub.loop).result(60) == "gone"


def test_a_client_that_has_sent_all_is_not_gone_when_it_sends_no_more(serving, read_all):
    async def app(scope, receive, send):
        leaving = asyncio.ensure_future(presence_of(scope).until_gone())
        await receive()
        done, _ = await asyncio.wait([leaving], timeout=0.1)
        assert not done
        leaving.cancel()
        await answer(send)

    with serving(app).connect() as client:
        client.sendall(HEAD + PART + b"0\r\n\r\n")
        end_sending(client)
        assert read_all(client).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_is_wrongly_framed_is_not_read_further_while_the_app_waits(serving, read_all):
    seen = asyncio.Queue()

    async def app(scope, receive, send):
        leaving = asyncio.ensure_future(presence_of(scope).until_gone())
        await receive()
        seen.put_nowait("asked")
        done, _ = await asyncio.wait([leaving], timeout=0.3)
        assert not done
        leaving.cancel()
        await answer(send)

    service = serving(app)
    with service.connect() as client:
        client.sendall(HEAD + PART)
        assert asyncio.run_coroutine_threadsafe(seen.get(), service.hub.loop).result(60) == "asked"
        client.sendall(b"no length\r\n")
        assert service.next_cut.get(timeout=60) == "malformed"
        client.sendall(b"no length\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 200 OK\r\n")
    assert service.cuts == ["malformed"]


def test_each_request_of_a_connection_has_extensions_of_its_own(serving):
    found = []

    async def app(scope, receive, send):
        found.append([*scope["extensions"]])
        scope["extensions"]["another"] = {}
        await answer(send)

    request = b"GET / HTTP/1.1\r\nHost: x\r\n"
    serving(app).answer(request + b"\r\n" + request + b"Connection: close\r\n\r\n")
    assert found == [["vaegis.presence"]] * 2


def test_nothing_is_told_of_a_client_where_another_server_has_it():
    async def story():
        presence = presence_of({"type": "http"})
        with presence.excused():
            leaving = asyncio.ensure_future(presence.until_gone())
            done, _ = await asyncio.wait([leaving], timeout=0.01)
        assert not done
        leaving.cancel()

    asyncio.run(story())

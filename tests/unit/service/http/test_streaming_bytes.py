"""Streams and the bytes that they hold: counted as they come, waited for once an answer has begun, given back."""

from __future__ import annotations

import asyncio

import pytest

LARGE_LINE = b'{"amount": ' + b" " * 200_000 + b"1}\n"


@pytest.fixture
def begun(new_client, record_line):
    """Return a client whose answer has begun."""

    async def client_of(app):
        client = new_client(app)
        client.part(record_line)
        await client.until(lambda: client.body.count(b"\n") == 1)
        return client

    return client_of


@pytest.fixture
def holding(new_client):
    """Return a client that holds all but a little of 2**20 bytes, and has not begun to be answered."""

    async def client_of(app):
        client = new_client(app)
        for _ in range(15):
            client.part(b" " * 2**16)
        await client.until(client.parts.empty)
        return client

    return client_of


def test_bytes_that_are_held_count_towards_those_in_flight(new_app, new_client, record_line):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        one, other = new_client(app), new_client(app)
        other.changed = one.changed
        for client in (one, other):
            for _ in range(9):
                client.part(b" " * 2**16)
        await one.until(lambda: one.sent or other.sent)
        refused, left = (one, other) if one.sent else (other, one)
        assert refused.status == 429
        refused.leave()
        left.part(record_line, more=False)
        await left.end()
        await refused.end()
        assert (left.status, left.is_whole) == (200, True)

    asyncio.run(story())


@pytest.mark.parametrize("leaves", [False, True])
def test_streams_that_have_begun_wait_for_bytes_that_others_hold_and_then_go_on(
    new_app, leaves, new_client, begun, holding
):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        first, second = await begun(app), await begun(app)
        full = await holding(app)
        first.part(LARGE_LINE[:150_000])  # beyond the room, as one may
        await first.until(first.parts.empty)
        for at in range(0, len(LARGE_LINE), 20_000):
            second.part(LARGE_LINE[at : at + 20_000])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.until(second.parts.empty), timeout=0.3)
        assert not second.exchange.done()
        refused = new_client(app)
        refused.part(LARGE_LINE, more=False)
        await refused.end()
        assert refused.status == 429
        if leaves:
            full.leave()
        else:
            first.part(LARGE_LINE[150_000:], more=False)
            await first.end()
        second.part(b"", more=False)
        await second.end()
        assert (second.is_whole, second.body.count(b"\n")) == (True, 2)
        if leaves:
            first.part(LARGE_LINE[150_000:], more=False)
            await first.end()
        else:
            full.leave()
        await full.end()
        assert (first.is_whole, first.body.count(b"\n")) == (True, 2)
        # Nothing is held any more.
        full = await holding(app)
        assert not full.sent
        full.leave()
        await full.end()

    asyncio.run(story())


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_stream_ends_while_it_waits_for_bytes_once_its_client_leaves_or_the_service_does(
    new_app, is_cancelled, begun, holding
):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        first, second = await begun(app), await begun(app)
        full = await holding(app)
        for client in (first, second):
            client.part(LARGE_LINE[:150_000])
            await client.until(client.parts.empty)
        if is_cancelled:
            second.exchange.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second.end()
        else:
            second.leave()
            await second.end()
        assert not second.is_whole
        first.part(LARGE_LINE[150_000:], more=False)
        await first.end()
        assert first.is_whole
        full.leave()
        await full.end()

    asyncio.run(story())


def test_streams_that_each_hold_a_part_and_need_more_than_there_is_all_come_to_their_end(new_app, record_line, begun):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        clients = [await begun(app) for _ in range(4)]
        for at in range(0, 600_000, 60_000):
            for client in clients:
                client.part((b" " * 600_000 + record_line)[at : at + 60_000])
        for client in clients:
            client.part(record_line, more=False)
        for client in clients:
            await client.end()
            assert (client.is_whole, client.body.count(b"\n")) == (True, 2)

    asyncio.run(story())


def test_a_stream_that_others_wait_for_is_cut_once_it_has_held_them_up_for_the_time_of_a_body(new_app, begun, holding):
    async def story():
        app = new_app(max_bytes_in_flight=2**20, body_timeout_s=0.5)
        slow, other = await begun(app), await begun(app)
        full = await holding(app)
        for client in (slow, other):
            client.part(LARGE_LINE[:150_000])
            await client.until(client.parts.empty)
        other.part(LARGE_LINE[150_000:], more=False)
        while not slow.exchange.done():  # it goes on sending, but no record of it ends
            slow.part(b" ")
            await asyncio.sleep(0.05)
        await other.end()
        assert (slow.is_whole, other.is_whole, other.body.count(b"\n")) == (False, True, 2)
        full.leave()
        await full.end()

    asyncio.run(story())


def test_what_was_sent_of_an_answer_is_not_held(new_app, new_client, record_line, holding):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        slow = new_client(app)
        slow.reads.clear()
        slow.part(record_line * 3000)
        with pytest.raises(TimeoutError):  # until all is answered, and no more is flushed
            await asyncio.wait_for(slow.until(lambda: slow.asked == 3), timeout=0.2)
        slow.reads.set()
        await slow.until(lambda: slow.body.count(b"\n") == 3000)
        full = await holding(app)  # while the stream is still open
        assert not full.sent
        for client in (slow, full):
            client.leave()
            await client.end()

    asyncio.run(story())


def test_bytes_that_a_message_still_gathers_are_held_as_they_come(new_app, new_client):
    message = b"\xff\xff\xff\xff" + (2**24 - 8).to_bytes(4, "little")

    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        clients = [new_client(app, content_type=b"application/vnd.apache.arrow.stream") for _ in range(2)]
        for client, parts in zip(clients, (9, 128), strict=True):
            client.part(message)
            for _ in range(parts):
                client.part(b" " * 2**16)
            await client.until(lambda c=client: c.parts.empty() or c.sent)
        assert clients[1].status == 429
        assert clients[1].asked < 16
        for client in clients:
            client.leave()
            await client.end()

    asyncio.run(story())

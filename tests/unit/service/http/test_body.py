"""Bodies as they arrive: at once or in parts."""

from __future__ import annotations

import asyncio

import pytest

from vaegis.service.http.body import read_body
from vaegis.service.http.server.limits import IncompleteBodyError
from vaegis.service.records.blocks import BodyTooLargeError


def read(messages, *, max_bytes=100, headers=(), waits=False):
    """Read a body, of which each part lets the event loop do other things first if it ``waits``."""
    held = []
    left = iter(messages)

    async def receive():
        if waits:
            await asyncio.sleep(0)
        message = next(left, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def reading():
        return await read_body(headers, receive, max_bytes=max_bytes, hold=held.append)

    return asyncio.run(reading()), held


def parts(*bodies: bytes):
    last = len(bodies) - 1
    return [{"type": "http.request", "body": body, "more_body": at < last} for at, body in enumerate(bodies)]


@pytest.mark.parametrize("waits", [False, True])
def test_a_body_is_put_together_and_counted_unless_it_comes_in_one_piece(waits):
    assert read(parts(b"abc"), waits=waits) == (b"abc", [])
    assert read(parts(b"ab", b"", b"c"), waits=waits) == (b"abc", [2, 0, 1])
    assert read([{"type": "http.request"}], waits=waits) == (b"", [])


@pytest.mark.parametrize("waits", [False, True])
def test_a_body_too_large_is_refused_by_its_length_or_by_count(waits):
    with pytest.raises(BodyTooLargeError, match="at most 100 bytes, got 101"):
        read([], headers=[(b"content-length", b"101")])
    for bodies in ([b"a" * 101], [b"a" * 60, b"a" * 60]):
        with pytest.raises(BodyTooLargeError, match="at most 100 bytes, got more"):
            read(parts(*bodies), waits=waits)


@pytest.mark.parametrize("waits", [False, True])
def test_a_client_that_goes_away_is_noticed(waits):
    with pytest.raises(IncompleteBodyError):
        read([{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}], waits=waits)


def test_reading_can_be_cancelled_while_it_waits():
    async def scenario():
        waiting = asyncio.Event()
        cleaned_up = []

        async def receive():
            waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                cleaned_up.append(True)

        task = asyncio.create_task(read_body((), receive, max_bytes=9, hold=cleaned_up.append))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return cleaned_up

    assert asyncio.run(scenario()) == [True]

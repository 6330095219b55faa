"""Bytes that are held at a time: never far beyond the room, in order of arrival, and nobody waits for ever."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.http.byte_room import ByteRoom
from vaegis.service.http.errors import QueueFullError

MOST = 100
LARGEST = 60
PATIENCE_S = 0.2


@dataclass(eq=False)
class Holder:
    body_bytes: int = 0
    waits: asyncio.Future[None] | None = None
    has_given_up: bool = False

    def give_up(self) -> None:
        self.has_given_up = True

    @property
    def is_waiting(self) -> bool:
        return self.waits is not None and not self.waits.done()


def in_loop(story):
    async def run():
        return story()

    return asyncio.run(run())


def test_one_goes_beyond_the_room_and_the_others_wait_in_order_of_arrival():
    def story():
        room, (large, beyond, *others) = ByteRoom(MOST, PATIENCE_S), [Holder() for _ in range(5)]
        room.hold(large, 90)
        assert room.ask(beyond, 20) is None
        waits = [room.ask(other, 10) for other in others]
        assert room.ask(beyond, 20) is None  # it goes on
        with pytest.raises(QueueFullError, match="expected at most 100 bytes of bodies in flight"):
            room.hold(Holder(), 1)
        room.hold(large, -45)
        assert [granted.done() for granted in waits] == [True, True, False]  # the second of them is beyond now
        room.hold(others[1], -10)
        assert waits[2].done()
        return [holder.body_bytes for holder in (large, beyond, *others)]

    assert in_loop(story) == [45, 40, 10, 0, 10]


def test_one_that_holds_nothing_any_more_lets_the_next_go_beyond():
    def story():
        room, (large, beyond, other) = ByteRoom(MOST, PATIENCE_S), [Holder() for _ in range(3)]
        room.hold(large, 2 * MOST)
        assert room.ask(beyond, 1) is None
        granted = room.ask(other, 1)
        room.hold(beyond, -1)
        return granted.done()

    assert in_loop(story)


def test_one_that_others_wait_for_gives_up_unless_it_gives_something_back_in_time():
    async def story():
        room, (large, beyond, other) = ByteRoom(MOST, PATIENCE_S), [Holder() for _ in range(3)]
        room.hold(large, MOST)
        assert room.ask(beyond, 50) is None
        await asyncio.sleep(1.5 * PATIENCE_S)
        assert not beyond.has_given_up  # nobody waits for it
        room.ask(other, 10)
        for _ in range(4):
            await asyncio.sleep(0.4 * PATIENCE_S)
            room.hold(beyond, -1)
        assert not beyond.has_given_up
        assert room.ask(beyond, 1) is None
        await asyncio.sleep(1.5 * PATIENCE_S)
        assert beyond.has_given_up
        assert not other.has_given_up

    asyncio.run(story())


def test_one_that_nobody_waits_for_any_more_does_not_give_up():
    async def story():
        room, (large, beyond, other, last) = ByteRoom(MOST, PATIENCE_S), [Holder() for _ in range(4)]
        room.hold(large, MOST)
        assert room.ask(beyond, 50) is None
        leaving, granted = room.ask(other, 10), room.ask(last, 10)
        leaving.cancel()
        room.hold(beyond, -50)  # the last is beyond now
        await granted
        await asyncio.sleep(1.5 * PATIENCE_S)
        assert not any(holder.has_given_up for holder in (large, beyond, other, last))

    asyncio.run(story())


def test_thousands_can_wait_and_get_on_at_once():
    def story():
        room, large = ByteRoom(MOST, PATIENCE_S), Holder()
        room.hold(large, MOST)
        assert room.ask(large, 1) is None
        waits = [room.ask(Holder(), 1) for _ in range(5000)]
        room.hold(large, -large.body_bytes)
        return sum(granted.done() for granted in waits)

    assert in_loop(story) == MOST + 1


actions = st.tuples(st.integers(0, 3), st.sampled_from(["hold", "ask", "give", "leave"]), st.integers(1, LARGEST))


def act(room, holder, action, size):
    """Do something that a holder may do in its state."""
    if action == "leave":
        if holder.waits is not None:
            holder.waits.cancel()
        room.hold(holder, -holder.body_bytes)
    elif holder.is_waiting:
        return
    elif action == "give":
        room.hold(holder, -min(size, holder.body_bytes))
    elif holder.body_bytes + size <= LARGEST:
        if action == "ask":
            holder.waits = room.ask(holder, size)
        else:
            with suppress(QueueFullError):
                room.hold(holder, size)


def check(holders):
    held = [holder.body_bytes for holder in holders]
    assert min(held) >= 0
    assert sum(held) <= MOST + LARGEST
    assert sum(held) > MOST or not any(holder.is_waiting for holder in holders)


@given(st.lists(actions, max_size=40))
def test_whatever_is_asked_for_the_room_is_kept_and_all_who_wait_get_on(asked):
    def story():
        room, holders = ByteRoom(MOST, PATIENCE_S), [Holder() for _ in range(4)]
        for number, action, size in asked:
            act(room, holders[number], action, size)
            check(holders)
        while any(holder.is_waiting for holder in holders):
            # One of those who do not wait has something to give back.
            free = next(holder for holder in holders if not holder.is_waiting and holder.body_bytes)
            room.hold(free, -free.body_bytes)
            check(holders)
        for holder in holders:
            room.hold(holder, -holder.body_bytes)
        room.hold(holders[0], MOST)
        with pytest.raises(QueueFullError):
            room.hold(holders[1], 1)

    in_loop(story)

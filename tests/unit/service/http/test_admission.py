"""What one request may hold and for how long: a slot, bytes, the time of its answer, a thread."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from dataclasses import replace

import pytest

from vaegis.service.artifact import Verification
from vaegis.service.http.admission import Admission, AdmissionLimits, Readiness
from vaegis.service.http.errors import (
    AnswerTooLargeError,
    DeadlineError,
    QueueFullError,
)
from vaegis.service.http.request_context import CONTEXT, RequestContext
from vaegis.service.http.routes import route_of
from vaegis.service.http.server.interface import IncompleteBodyError
from vaegis.service.records.blocks import BodyTooLargeError

LIMITS = AdmissionLimits(
    max_requests_in_flight=9,
    max_bytes_in_flight=10_000,
    max_body_bytes=10_000,
    compression_min_bytes=1_000_000,
    request_timeout_s=60.0,
    scoring_threads=2,
)


@pytest.fixture
def new_admission(new_app):
    """Make admission with the given limits, to a model that is ready."""

    def make(**changes: float) -> Admission:
        metrics = new_app().metrics
        readiness = Readiness()
        readiness.admit(Verification(records=1, largest_difference=0.0))
        return Admission(replace(LIMITS, **changes), readiness, metrics)

    return make


def scope_of(headers=()):
    scope = {"headers": [*headers]}
    scope[CONTEXT] = RequestContext(route_of("/score"), "", "", "")
    return scope


def slot_of(admission, *parts, headers=()):
    """Return a slot whose client sends the parts of a body, and then nothing more; it goes away after a None."""
    last = len(parts) - 1
    messages = iter(
        [
            {"type": "http.disconnect"}
            if part is None
            else {"type": "http.request", "body": part, "more_body": at < last or None in parts}
            for at, part in enumerate(parts)
        ]
    )

    async def receive():
        message = next(messages, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    return admission.slot(scope_of(headers), receive)


def run(scenario):
    return asyncio.run(scenario())


def test_requests_are_computed_up_to_the_limit_and_again_once_one_has_ended(new_admission):
    async def scenario():
        admission = new_admission(max_requests_in_flight=2)
        async with slot_of(admission) as first, slot_of(admission) as second, slot_of(admission) as third:
            first.start_computing()
            second.start_computing()
            with pytest.raises(QueueFullError, match=r"too many requests in flight \(limit 2\)"):
                third.start_computing()
            with pytest.raises(QueueFullError):
                async with slot_of(admission):
                    pass
            first.stop_computing()
            third.start_computing()
        assert (admission.computing, in_flight(admission)) == (0, 0)

    run(scenario)


def in_flight(admission: Admission) -> float | None:
    """Return how many requests are being read, computed or answered."""
    return admission.metrics.registry.get_sample_value("vaegis_requests_in_flight")


def test_a_request_that_was_computed_in_part_goes_on_beyond_the_limit(new_admission):
    async def scenario():
        admission = new_admission(max_requests_in_flight=1)
        async with slot_of(admission) as first, slot_of(admission) as second:
            first.start_computing()
            first.stop_computing()
            second.start_computing()
            first.start_computing()
            assert admission.computing == 2

    run(scenario)


def test_a_request_whose_body_is_still_to_come_is_in_flight_and_does_not_count_as_computing(new_admission):
    async def scenario():
        admission = new_admission(max_requests_in_flight=1)
        async with slot_of(admission), slot_of(admission) as other:
            assert in_flight(admission) == 2
            other.start_computing()
        assert in_flight(admission) == 0

    run(scenario)


def test_bytes_of_a_compressed_answer_count(new_admission):
    async def scenario():
        admission = new_admission(max_bytes_in_flight=100, compression_min_bytes=1)
        async with slot_of(admission) as other:
            other.hold(90)
            async with slot_of(admission, b"", headers=[(b"accept-encoding", b"gzip")]) as slot:
                await slot.read()
                with pytest.raises(QueueFullError, match="too many bytes"):
                    await slot.send(None, [b"y" * 1000], 1000, [])
        assert admission.held_bytes == admission.computing == 0

    run(scenario)


def test_bytes_have_their_limit_over_all_requests_but_one_alone_may_hold_any_number(new_admission):
    async def scenario():
        admission = new_admission(max_bytes_in_flight=100)
        async with slot_of(admission) as first:
            first.hold(1000)
            first.hold(60)
            async with slot_of(admission) as second:
                second.hold(40)
                with pytest.raises(QueueFullError, match=r"\(limit 100\)"):
                    second.hold(41)
                first.hold(0)
                second.hold(1000)
        assert admission.held_bytes == 0

    run(scenario)


def test_an_answer_has_the_limit_of_all_requests(new_admission):
    async def scenario():
        async with slot_of(new_admission(max_bytes_in_flight=100)) as only:
            only.hold_answer(100, 900)
            with pytest.raises(AnswerTooLargeError, match="limit 100 bytes"):
                only.hold_answer(101)

    run(scenario)


def test_a_body_is_put_together_and_counted_unless_it_comes_in_one_piece(new_admission):
    async def scenario():
        admission = new_admission()
        async with slot_of(admission, b"abc") as slot:
            assert (await slot.read(), slot.held_bytes, slot.is_whole) == (b"abc", 0, True)
        async with slot_of(admission, b"ab", b"", b"c") as slot:
            assert (await slot.read(), slot.held_bytes, slot.is_whole) == (b"abc", 3, True)

    run(scenario)


def test_a_body_is_read_at_least_so_far(new_admission):
    async def scenario():
        async with slot_of(new_admission(), b"ab", b"cd", b"ef", b"gh") as slot:
            assert [await slot.read(at_least=3), slot.is_whole] == [b"abcd", False]
            assert [await slot.read(), slot.is_whole] == [b"efgh", True]

    run(scenario)


@pytest.mark.parametrize(
    ("parts", "headers"),
    [((), [(b"content-length", b"101")]), ((b"a" * 101,), ()), ((b"a" * 60, b"a" * 60), ())],
)
def test_a_body_too_large_is_refused_by_its_length_or_by_count(new_admission, parts, headers):
    async def scenario():
        async with slot_of(new_admission(max_body_bytes=100), *parts, headers=headers) as slot:
            await slot.read()

    with pytest.raises(BodyTooLargeError, match="at most 100 bytes, got more"):
        run(scenario)


def test_a_client_that_goes_away_is_noticed(new_admission):
    async def scenario():
        async with slot_of(new_admission(), b"a", None) as slot:
            await slot.read()

    with pytest.raises(IncompleteBodyError):
        run(scenario)


@pytest.mark.parametrize(("parts", "left"), [((b"a", b"b", b"c"), 0), ((b"a", *[b"b" * 100] * 9), 7)])
def test_the_rest_of_a_body_that_is_refused_is_read_unless_it_is_too_long(new_admission, parts, left):
    asked = iter(parts)

    async def receive():
        part = next(asked)
        return {"type": "http.request", "body": part, "more_body": part is not parts[-1] or len(parts) == 10}

    async def scenario():
        async with new_admission(max_body_bytes=150).slot(scope_of(), receive) as slot:
            await slot.read(at_least=1)
            raise QueueFullError

    with pytest.raises(QueueFullError):
        run(scenario)
    assert len([*asked]) == left


def test_an_answer_is_not_worth_its_work_after_its_time_or_once_nobody_waits_for_it(new_admission):
    async def scenario():
        async with slot_of(new_admission(request_timeout_s=1e-9)) as late:
            late.start_computing()
            with pytest.raises(DeadlineError, match="no answer within 1e-09 s"):
                late.check()
        async with slot_of(new_admission()) as left:
            left.start_computing()
            left.check()
            left.is_abandoned = True
            with pytest.raises(DeadlineError):
                left.check()

    run(scenario)


def test_an_error_of_a_request_whose_client_is_gone_ends_there(new_admission):
    async def scenario():
        async with slot_of(new_admission()) as slot:
            slot.is_abandoned = True
            raise DeadlineError
        return "nobody's"

    assert run(scenario) == "nobody's"


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def test_work_that_nobody_waits_for_any_more_keeps_its_thread_until_it_ends(new_admission):
    admission, started, leave = new_admission(scoring_threads=1), threading.Event(), threading.Event()
    has_ended = threading.Event()

    def long():
        started.set()
        assert leave.wait(30)
        has_ended.set()

    async def scenario():
        first = asyncio.create_task(admission.run(long))
        await until(started)
        first.cancel()
        second = asyncio.create_task(admission.run(has_ended.is_set))
        done, _ = await asyncio.wait([second], timeout=0.1)
        leave.set()
        return done, await second

    assert asyncio.run(scenario()) == (set(), True)


def test_a_fault_of_work_that_nobody_waits_for_any_more_is_not_the_event_loops(new_admission):
    admission, started, leave = new_admission(scoring_threads=1), threading.Event(), threading.Event()
    unhandled = []

    def faulty():
        started.set()
        assert leave.wait(30)
        raise ValueError("a fault of the client's")

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        task = asyncio.create_task(admission.run(faulty))
        await until(started)
        task.cancel()
        await asyncio.sleep(0)
        leave.set()
        await asyncio.wait([task])
        assert task.cancelled()
        del task
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(scenario())
    gc.collect()
    assert unhandled == []


def test_work_that_nobody_waits_for_any_more_is_let_go_before_a_thread_is_free(new_admission):
    admission, started, leave = new_admission(scoring_threads=1), threading.Event(), threading.Event()

    class Body:
        """What the work holds."""

    def holding():
        body = Body()
        return weakref.ref(body), lambda: body

    def long():
        started.set()
        assert leave.wait(30)

    async def scenario():
        first = asyncio.create_task(admission.run(long))
        await until(started)
        held, work = holding()
        second = asyncio.create_task(admission.run(work))
        del work
        await asyncio.sleep(0)
        assert held() is not None
        second.cancel()
        await asyncio.wait([second])
        del second
        gc.collect()
        kept = held()
        leave.set()
        await first
        return kept, await admission.run(lambda: "done")

    assert asyncio.run(scenario()) == (None, "done")

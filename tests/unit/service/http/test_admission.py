"""Room for requests, records and bytes, and the time that an answer may take."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
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
from vaegis.service.http.server.limits import IncompleteBodyError
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


def test_as_many_requests_are_computed_as_there_are_places_and_places_are_given_back(new_admission):
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


def test_a_request_that_was_computed_in_part_goes_on_whatever_place_there_is(new_admission):
    async def scenario():
        admission = new_admission(max_requests_in_flight=1)
        async with slot_of(admission) as first, slot_of(admission) as second:
            first.start_computing()
            first.stop_computing()
            second.start_computing()
            first.start_computing()
            assert admission.computing == 2

    run(scenario)


def test_a_request_whose_body_is_still_to_come_is_in_flight_and_takes_nobodys_place(new_admission):
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


def test_work_that_nobody_waits_for_any_more_keeps_its_thread_until_it_ends(new_admission):
    room, started, leave = new_admission(scoring_threads=1), threading.Event(), threading.Event()
    has_ended = threading.Event()

    def long():
        started.set()
        assert leave.wait(30)
        has_ended.set()

    async def scenario():
        first = asyncio.create_task(room.run(long))
        await until(started)
        first.cancel()
        second = asyncio.create_task(room.run(has_ended.is_set))
        done, _ = await asyncio.wait([second], timeout=0.1)
        leave.set()
        return done, await second

    assert asyncio.run(scenario()) == (set(), True)


def test_a_fault_of_work_that_nobody_waits_for_any_more_is_not_the_event_loops(new_admission):
    room, started, leave = new_admission(scoring_threads=1), threading.Event(), threading.Event()
    unhandled = []

    def faulty():
        started.set()
        assert leave.wait(30)
        raise ValueError("a fault of the client's")

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        task = asyncio.create_task(room.run(faulty))
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
    room, started, leave = new_admission(scoring_threads=1), threading.Event(), threading.Event()

    class Body:
        """What the work holds."""

    def holding():
        body = Body()
        return weakref.ref(body), lambda: body

    def long():
        started.set()
        assert leave.wait(30)

    async def scenario():
        first = asyncio.create_task(room.run(long))
        await until(started)
        held, work = holding()
        second = asyncio.create_task(room.run(work))
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
        return kept, await room.run(lambda: "done")

    assert asyncio.run(scenario()) == (None, "done")


OTHER_WAYS_OF_JSON = [
    (b"on_invalid=report", []),
    (b"", [(b"accept", b"text/csv")]),
    (b"", [(b"content-encoding", b"gzip")]),
]
OTHER_WAYS = pytest.mark.parametrize(("query", "headers"), OTHER_WAYS_OF_JSON)


def packed(body, headers):
    return gzip.compress(body) if (b"content-encoding", b"gzip") in headers else body


def asgi(app, parts, gone=None, query=b"", headers=()):
    """Post the parts of a body; ``gone`` is set when the client goes away. Return what is sent back."""
    sent = []
    last = len(parts) - 1
    waiting = iter([{"type": "http.request", "body": part, "more_body": at < last} for at, part in enumerate(parts)])

    async def receive():
        message = next(waiting, None)
        if message is not None:
            return message
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    typed = [*({b"content-type": b"application/json"} | dict(headers)).items()]
    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": query, "headers": typed}
    return sent, app(scope, receive, send)


@pytest.fixture
def held(new_app, artifact):
    """Make an app with two threads, on which the first records wait for leave to be scored."""
    started, leave = threading.Event(), threading.Event()

    def waiting(columns):
        if not started.is_set():
            started.set()
            assert leave.wait(30)
        return artifact.scorer.score(columns)

    def make(**settings):
        return new_app(score=waiting, **({"inline_body_bytes": 0, "scoring_threads": 2} | settings)), started, leave

    yield make
    leave.set()


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 30)


def test_work_ends_once_its_client_is_gone_and_nobody_is_answered(held, log, record):
    app, started, leave = held(writer=log.writer)

    async def scenario():
        gone = asyncio.Event()
        sent, answering = asgi(app, [json.dumps([record] * 3000).encode()], gone)
        task = asyncio.create_task(answering)
        await until(started)
        gone.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leave.set()
        await task
        return sent

    assert asyncio.run(scenario()) == []
    assert (
        app.metrics.registry.get_sample_value("vaegis_records_scored_total", {"model": "orders"}) == 1024
    )  # the part at work
    assert [line["records"] for line in log.lines if line["event"] == "request"] == [1024]


def test_a_late_answer_is_504_at_once_and_its_work_ends(held, record):
    app, started, leave = held(request_timeout_s=0.5, scoring_threads=1)

    async def scenario():
        sent, answering = asgi(app, [json.dumps([record] * 3000).encode()])
        await answering
        assert started.is_set()
        _, next_in_turn = asgi(app, [json.dumps(record).encode()])
        task = asyncio.create_task(next_in_turn)
        leave.set()
        await task
        return sent

    sent = asyncio.run(scenario())
    assert sent[0]["status"] == 504
    assert json.loads(sent[1]["body"])["type"] == "urn:vaegis:problem:deadline"
    assert app.metrics.registry.get_sample_value("vaegis_records_scored_total", {"model": "orders"}) == 1024 + 1


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"max_requests_in_flight": 1}, "too many requests in flight (limit 1); retry after 1 s"),
        ({"max_bytes_in_flight": 4096}, "too many bytes of bodies and answers in flight (limit 4096); retry after 1 s"),
    ],
)
def test_what_finds_no_room_is_refused_at_once_while_the_service_is_alive(held, send, record, settings, detail):
    app, started, leave = held(**settings)
    body = json.dumps([record] * 5).encode() + b" " * 2048

    async def scenario():
        first, answering = asgi(app, [body[:900], body[900:]])
        task = asyncio.create_task(answering)
        await until(started)
        second, refused = asgi(app, [body[:900], body[900:]])
        await refused
        alive = await asyncio.to_thread(send, app, "GET", "/livez")
        leave.set()
        await task
        return first, second, alive

    first, second, alive = asyncio.run(scenario())
    assert second[0]["status"] == 429
    assert (b"retry-after", b"1") in second[0]["headers"]
    assert json.loads(second[1]["body"])["detail"] == detail
    assert alive.status_code == 200
    assert first[0]["status"] == 200


def test_a_request_beyond_the_room_is_refused_before_its_body_is_read(held, record):
    app, started, leave = held(max_requests_in_flight=1)

    async def scenario():
        _, answering = asgi(app, [json.dumps(record).encode()])
        task = asyncio.create_task(answering)
        await until(started)
        sent, refused = asgi(app, [])  # there is nothing to read
        await refused
        leave.set()
        await task
        return sent[0]["status"]

    assert asyncio.run(scenario()) == 429


@pytest.mark.parametrize("content_type", [b"application/json", b"application/x-ndjson", b"text/csv"])
def test_requests_that_come_together_are_counted_before_one_of_them_is_scored(new_app, record, content_type):
    app = new_app(max_requests_in_flight=3)

    async def scenario():
        body = b"amount\n1\n" if content_type == b"text/csv" else json.dumps(record).encode()
        asked = [asgi(app, [body], headers=[(b"content-type", content_type)]) for _ in range(8)]
        await asyncio.gather(*(answering for _, answering in asked))
        return [sent[0]["status"] for sent, _ in asked]

    assert asyncio.run(scenario()) == [200] * 3 + [429] * 5


async def beside(app, started, leave, large, record):
    """Return what is sent for a large body that is held on its thread, and for one record that comes meanwhile."""
    first, answering = asgi(app, [large])
    task = asyncio.create_task(answering)
    await until(started)
    second, small = asgi(app, [json.dumps(record).encode()])
    await small
    leave.set()
    await task
    return first, second


def test_a_small_request_is_scored_while_large_ones_take_all_threads(held, record):
    app, started, leave = held(scoring_threads=1, inline_body_bytes=500)

    first, second = asyncio.run(beside(app, started, leave, json.dumps([record] * 10).encode(), record))
    assert (first[0]["status"], second[0]["status"]) == (200, 200)


def test_a_small_body_of_many_records_is_scored_on_a_thread_while_others_are_answered(held, record):
    app, started, leave = held(inline_body_bytes=64 * 1024, max_batch_records=256)
    many = json.dumps({"amount": [1] * 257, "country": ["DE"] * 257}).encode()

    first, second = asyncio.run(beside(app, started, leave, many, record))
    assert second[0]["status"] == 200
    assert len(json.loads(first[1]["body"])["results"]) == 257


@OTHER_WAYS
def test_json_that_is_packed_or_answered_otherwise_has_the_limits_of_all_json(held, record, query, headers):
    app, started, leave = held(max_requests_in_flight=1)
    body = json.dumps([record] * 10).encode()
    asked = packed(body, headers)

    async def scenario():
        _, answering = asgi(app, [body])
        task = asyncio.create_task(answering)
        await until(started)
        sent, refused = asgi(app, [asked], query=query, headers=headers)
        await refused
        leave.set()
        await task
        return sent[0]["status"]

    assert asyncio.run(scenario()) == 429


@OTHER_WAYS
@pytest.mark.parametrize(("timeout_s", "status"), [(0.001, 504), (60, 200)])
def test_json_that_is_packed_or_answered_otherwise_has_its_time(new_app, record, query, headers, timeout_s, status):
    app = new_app(request_timeout_s=timeout_s)
    body = json.dumps([record] * 5000).encode()
    sent, answering = asgi(app, [packed(body, headers)], query=query, headers=headers)
    asyncio.run(answering)
    assert sent[0]["status"] == status
    if status == 200:
        assert app.metrics.registry.get_sample_value("vaegis_queue_seconds_count") == 1


@pytest.mark.parametrize(("query", "headers"), [(b"", []), *OTHER_WAYS_OF_JSON])
def test_what_finds_no_room_costs_its_caller_nothing(held, record, query, headers):
    app, started, leave = held(max_requests_in_flight=1, rate_records_per_s=0.1, rate_burst_s=300)
    body = packed(json.dumps([record] * 20).encode(), headers)

    async def scenario():
        _, answering = asgi(app, [json.dumps([record] * 10).encode()])
        task = asyncio.create_task(answering)
        await until(started)
        first, refused = asgi(app, [body], query=query, headers=headers)
        await refused
        leave.set()
        await task
        second, answered = asgi(app, [body], query=query, headers=headers)
        await answered
        return first[0]["status"], second[0]["status"]

    assert asyncio.run(scenario()) == (429, 200)

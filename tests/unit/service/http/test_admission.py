"""Room for requests, records and bytes, and the time that an answer may take."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import threading
import weakref
from contextlib import closing

import pytest

from vaegis.service.http.admission import Admission, Room, Ticket
from vaegis.service.http.errors import DeadlineError, QueueFullError


def admission(*, requests: int = 2, records: int = 10, body_bytes: int = 100, timeout_s: float = 60.0) -> Admission:
    return Admission(Room(requests, records, body_bytes), timeout_s=timeout_s, patience_s=60.0, threads=1)


def test_as_many_requests_are_let_in_as_there_is_room_for_and_places_are_given_back():
    room = admission(requests=2)
    with closing(Ticket(room)) as first, closing(Ticket(room)) as second, closing(Ticket(room)) as third:
        first.enter()
        second.enter()
        with pytest.raises(QueueFullError, match="expected fewer than 2 requests in flight, got as many"):
            room.require_room()
        with pytest.raises(QueueFullError):
            third.enter()
    room.require_room()


def test_a_request_whose_body_is_still_to_come_is_in_flight_and_takes_nobodys_place():
    room = admission(requests=1)
    with closing(Ticket(room)), closing(Ticket(room)) as other:
        assert room.in_flight == 2
        other.enter()
    assert room.in_flight == 0


@pytest.mark.parametrize("what", ["hold_records", "hold_bytes"])
def test_records_and_bytes_have_their_limit_over_all_requests(what):
    room = admission(records=100, body_bytes=100)
    with closing(Ticket(room)) as first, closing(Ticket(room)) as second:
        first.enter()
        second.enter()
        getattr(first, what)(60)
        getattr(second, what)(40)
        with pytest.raises(QueueFullError, match="expected at most 100"):
            getattr(second, what)(1)
        first.close()
        getattr(second, what)(60)


@pytest.mark.parametrize("what", ["hold_records", "hold_bytes"])
def test_what_one_request_holds_alone_is_never_too_much(what):
    room = admission(records=10, body_bytes=10)
    with closing(Ticket(room)) as only:
        only.enter()
        getattr(only, what)(1000)


def test_bytes_of_a_body_that_comes_alone_in_many_parts_are_never_too_much():
    with closing(Ticket(admission(body_bytes=10))) as only:
        for _ in range(5):
            only.hold_bytes(9)


def test_an_answer_is_not_worth_its_work_after_its_time_or_once_nobody_waits_for_it():
    with closing(Ticket(admission(timeout_s=1e-9))) as late:
        late.enter()
        with pytest.raises(DeadlineError, match="expected an answer within 1e-09 s"):
            late.check()
    with closing(Ticket(admission())) as left:
        left.enter()
        left.check()
        left.is_abandoned = True
        with pytest.raises(DeadlineError):
            left.check()


def test_work_that_outlives_its_request_holds_nothing():
    room = admission(records=1)
    ticket = Ticket(room)
    ticket.enter()
    ticket.close()
    with pytest.raises(DeadlineError):
        ticket.hold_records(5)
    with closing(Ticket(room)) as other:
        other.enter()
        other.hold_records(1)


def test_work_that_nobody_waits_for_any_more_keeps_its_thread_until_it_ends():
    room, started, leave = admission(), threading.Event(), threading.Event()
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


def test_a_fault_of_work_that_nobody_waits_for_any_more_is_not_the_event_loops():
    room, started, leave = admission(), threading.Event(), threading.Event()
    told = []

    def faulty():
        started.set()
        assert leave.wait(30)
        raise ValueError("a fault of the client's")

    async def scenario():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        task = asyncio.create_task(room.run(faulty, to_its_end=True))
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
    assert told == []


def test_work_that_nobody_waits_for_any_more_is_let_go_before_a_thread_is_free():
    room, started, leave = admission(), threading.Event(), threading.Event()

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

    typed = any(name == b"content-type" for name, _ in headers)
    headers = [*headers] if typed else [(b"content-type", b"application/json"), *headers]
    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": query, "headers": headers}
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
    assert app.state.metrics.registry.get_sample_value("vaegis_records_scored_total") == 1024  # the part at work
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
    assert app.state.metrics.registry.get_sample_value("vaegis_records_scored_total") == 1024 + 1


@pytest.mark.parametrize(
    ("settings", "detail"),
    [
        ({"max_requests_in_flight": 1}, "expected fewer than 1 requests in flight, got as many"),
        ({"max_records_in_flight": 1}, "expected at most 1 records in flight, got more"),
        ({"max_bytes_in_flight": 1024}, "expected at most 1024 bytes of bodies in flight, got more"),
    ],
)
def test_what_finds_no_room_is_refused_at_once_while_the_service_is_alive(held, send, record, settings, detail):
    app, started, leave = held(**settings)
    body = json.dumps([record] * 10).encode()

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


def test_a_small_request_is_scored_while_large_ones_leave_no_room_for_records(held, record):
    app, started, leave = held(max_records_in_flight=10, inline_body_bytes=500)

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
    app, started, leave = held(max_records_in_flight=10)
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
        assert app.state.metrics.registry.get_sample_value("vaegis_queue_seconds_count") == 1


@pytest.mark.parametrize(("query", "headers"), [(b"", []), *OTHER_WAYS_OF_JSON])
def test_what_finds_no_room_costs_its_caller_nothing(held, record, query, headers):
    app, started, leave = held(max_records_in_flight=1, rate_records_per_s=0.1, rate_burst_s=300)
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

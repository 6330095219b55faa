"""POST /score beyond its limits: a request beyond capacity is refused at once, a late one ends."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading

import pytest

OTHER_WAYS_OF_JSON = [
    (b"on_invalid=report", []),
    (b"", [(b"accept", b"text/csv")]),
    (b"", [(b"content-encoding", b"gzip")]),
]


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
    scored = app.metrics.registry.get_sample_value("vaegis_records_scored_total", {"model": "orders"})
    assert scored == 1024  # the part at work
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
def test_request_beyond_capacity_is_refused_at_once_while_the_service_is_alive(held, send, record, settings, detail):
    app, started, leave = held(**settings)
    body = json.dumps([record] * 5).encode() + b" " * 2048
    parts = [body[:900], body[900:-1], body[-1:]]  # a last part that comes alone is not counted

    async def scenario():
        first, answering = asgi(app, parts)
        task = asyncio.create_task(answering)
        await until(started)
        second, refused = asgi(app, parts)
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


def test_request_beyond_capacity_is_refused_before_its_body_is_read(held, record):
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


@pytest.mark.parametrize(("query", "headers"), OTHER_WAYS_OF_JSON)
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
def test_refused_request_costs_its_caller_nothing(held, record, query, headers):
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

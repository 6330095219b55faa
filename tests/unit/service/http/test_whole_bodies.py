"""A body is read to its end before its answer begins, and scored meanwhile; what is kept of it is bounded."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import random
import sys
import threading

import pyarrow as pa
import pytest

from vaegis.service.auth.keys import digest_of
from vaegis.service.http.block_scoring import UNCOMPRESSED_BYTES, AnswerBuffer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BAD = b'{"amount": "many"}\n'
LARGE = 4000  # records, more than a block of NDJSON holds


@pytest.fixture
def app(new_app):
    return new_app()


def count(app, name):
    return app.metrics.registry.get_sample_value(name, {"model": "orders"})


def lines(client):
    return [json.loads(line) for line in client.body.splitlines()]


def header(client, name):
    return dict(client.sent[0]["headers"]).get(name)


def test_nothing_is_answered_before_the_body_has_ended_but_records_are_scored(app, new_client, record_line):
    async def scenario():
        client = new_client(app)
        client.part(record_line * LARGE)
        await client.until(lambda: count(app, "vaegis_records_scored_total"))
        client.part(record_line)
        await client.until(client.parts.empty)
        assert not client.sent
        client.part(b"", more=False)
        await client.end()
        assert [line["row"] for line in lines(client)] == list(range(LARGE + 1))

    asyncio.run(scenario())


@pytest.mark.parametrize("records", [1, LARGE])
def test_the_length_of_an_answer_is_sent_before_it(app, new_client, record_line, records):
    async def scenario():
        client = new_client(app)
        client.part(record_line * records, more=False)
        await client.end()
        assert int(header(client, b"content-length")) == len(client.body)

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["NDJSON", "CSV"])
@pytest.mark.parametrize("at", [0, LARGE - 1, 2 * LARGE])
def test_a_fault_in_any_block_rejects_the_whole_body(app, new_client, record_line, kind, at):
    rows = [record_line if kind == "NDJSON" else b"1\n"] * (2 * LARGE + 1)
    rows[at] = BAD if kind == "NDJSON" else b"many\n"

    async def scenario():
        content_type = b"application/x-ndjson" if kind == "NDJSON" else b"text/csv"
        client = new_client(app, b"on_invalid=reject", content_type=content_type)
        if kind == "CSV":
            client.part(b"amount\n")
        for start in range(0, len(rows), 1000):
            client.part(b"".join(rows[start : start + 1000]))
        client.part(b"", more=False)
        await client.end()
        assert client.status == 422
        assert [error["row"] for error in json.loads(client.body)["errors"]] == [at]
        assert client.parts.empty()

    asyncio.run(scenario())


def test_faults_of_all_blocks_are_reported_and_nothing_is_scored_after_the_first(app, new_client, record_line):
    async def scenario():
        client = new_client(app, b"on_invalid=reject")
        client.part(BAD + record_line * LARGE + BAD + record_line * LARGE + BAD, more=False)
        await client.end()
        assert client.status == 422
        rows = [error["row"] for error in json.loads(client.body)["errors"]]
        assert rows == [0, LARGE + 1, 2 * LARGE + 2]
        assert count(app, "vaegis_records_scored_total") == 0
        refused = app.metrics.registry.get_sample_value(
            "vaegis_records_refused_total", {"model": "orders", "code": "wrong_type"}
        )
        assert refused == 3

    asyncio.run(scenario())


@pytest.mark.parametrize("last", [b'"secret', b"many,1\n"])
def test_a_fault_that_ends_a_body_is_answered_after_all_of_it_was_read(app, new_client, last):
    async def scenario():
        client = new_client(app, content_type=b"text/csv")
        client.part(b"amount\n" + b"1\n" * 20_000)
        client.part(b'"' + b"x" * 1_100_000 + b"\n")
        for _ in range(10):
            client.part(b"1\n" * 1000)
        client.part(last, more=False)
        await client.end()
        assert (client.status, client.parts.empty()) == (400, True)
        assert b"secret" not in client.body

    asyncio.run(scenario())


def test_a_client_that_goes_away_frees_its_slot(new_app, new_client, record_line):
    async def scenario():
        app = new_app(max_requests_in_flight=1)
        for _ in range(3):
            client = new_client(app)
            client.part(record_line)
            await client.until(lambda c=client: c.asked == 2)
            client.leave()
            await client.end()
            assert client.status in (None, 400)
        last = new_client(app)
        last.part(record_line, more=False)
        await last.end()
        assert (last.status, last.is_whole) == (200, True)
        assert app.metrics.registry.get_sample_value("vaegis_requests_in_flight") == 0

    asyncio.run(scenario())


def test_the_line_of_a_client_that_went_away_shows_all_records_that_were_scored_for_it(
    new_app, artifact, log, new_client, record_line
):
    started, leave = threading.Event(), threading.Event()

    def score(columns):
        started.set()
        assert leave.wait(30)
        return artifact.scorer.score(columns)

    app = new_app(writer=log.writer, score=score, inline_body_bytes=0)

    async def scenario():
        client = new_client(app)
        client.part(record_line * 3, more=False)
        assert await asyncio.to_thread(started.wait, 30)
        client.leave()
        done, _ = await asyncio.wait([client.exchange], timeout=0.1)
        leave.set()
        await client.end()
        assert not client.sent
        return done

    assert asyncio.run(scenario()) == set()
    (line,) = [line for line in log.lines if line["event"] == "request"]
    assert line["records"] == count(app, "vaegis_records_scored_total") == 3


@pytest.mark.parametrize("sent", [b"", b"amount,coun", b"amount\n" + b"1\n" * 20_000])
def test_a_body_that_is_still_coming_holds_no_other_request_up(new_app, sent, new_client, record_line):
    async def scenario():
        app = new_app(max_requests_in_flight=1)
        waiting = new_client(app, content_type=b"text/csv")
        waiting.part(sent)
        await waiting.until(lambda: waiting.asked == 2)
        other = new_client(app)
        other.part(record_line, more=False)
        await other.end()
        assert other.status == 200
        waiting.leave()
        await waiting.end()

    asyncio.run(scenario())


def test_bytes_that_are_held_count_towards_those_in_flight(new_app, new_client, record_line):
    async def scenario():
        app = new_app(max_bytes_in_flight=2**20)
        one, other = new_client(app), new_client(app)
        for client in (one, other):
            for _ in range(9):
                client.part(b" " * 2**16)
        await one.until(lambda: one.has_ended or one.parts.empty())
        await other.until(lambda: other.has_ended or other.parts.empty())
        for client in (one, other):
            client.part(b" " * 2**19)
            client.part(record_line, more=False)
        for client in (one, other):
            await client.end()
        assert {one.status, other.status} == {200, 429}
        last = new_client(app)
        last.part(b" " * 2**19)
        last.part(b" " * 2**18 + record_line, more=False)
        await last.end()
        assert last.status == 200

    asyncio.run(scenario())


def test_an_answer_that_alone_is_too_large_is_a_problem(new_app, new_client):
    async def scenario():
        client = new_client(new_app(max_bytes_in_flight=2**16), content_type=b"text/csv")
        client.part(b"amount\n" + b"1\n" * 5000, more=False)
        await client.end()
        assert client.status == 413
        problem = json.loads(client.body)
        assert problem["type"] == "urn:vaegis:problem:answer-too-large"
        assert "`vaegis score`" in problem["detail"]

    asyncio.run(scenario())


def test_records_beyond_the_first_block_are_owed(new_app, new_client):
    key = f"a score sha256:{digest_of(b'a').hex()} 100"

    async def posted(app):
        client = new_client(app, content_type=b"text/csv", key=b"a")
        client.part(b"amount\n" + b"1\n" * 5000)
        client.part(b"1\n" * 20_000, more=False)
        await client.end()
        return client

    async def scenario():
        app = new_app(keys=key, rate_burst_s=60)
        first, second = await posted(app), await posted(app)
        assert (first.status, first.body.count(b"\n")) == (200, 25_001)
        assert second.status == 429

    asyncio.run(scenario())


def nulls():
    """Return an Arrow stream of records that take no bytes."""
    sink = io.BytesIO()
    batch = pa.RecordBatch.from_arrays([pa.nulls(20_000)], names=["amount"])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


LARGE_WORK = {
    "packed": (b"application/x-ndjson", b"zstd", zstd.compress(b"\n" * 2**24) * 3),
    "CSV": (b"text/csv", b"identity", b"amount\n" + b"1\n" * 30_000),
    "NDJSON": (b"application/x-ndjson", b"identity", b"{}\n" * 20_000),
    "Arrow": (b"application/vnd.apache.arrow.stream", b"identity", nulls()),
}


@pytest.mark.parametrize("inline_body_bytes", [0, 65_536])
@pytest.mark.parametrize("name", LARGE_WORK)
def test_few_bytes_that_make_much_work_hold_nobody_up(new_app, name, inline_body_bytes, new_client, record_line):
    content_type, encoding, body = LARGE_WORK[name]
    assert len(body) <= 65_536

    async def scenario():
        app = new_app(scoring_threads=1, inline_body_bytes=max(inline_body_bytes, len(record_line)))
        large = new_client(app, content_type=content_type, encoding=encoding)
        large.part(body, more=False)
        await large.until(lambda: large.asked == 2)
        small = new_client(app, content_type=b"application/json")
        small.part(record_line, more=False)
        await small.end()
        assert small.status == 200
        assert not large.has_ended
        large.leave()
        await large.end()

    asyncio.run(scenario())


def test_bytes_that_a_message_still_gathers_are_held_as_they_come(new_app, new_client):
    message = b"\xff\xff\xff\xff" + (2**24 - 8).to_bytes(4, "little")

    async def scenario():
        app = new_app(max_bytes_in_flight=2**20)
        clients = [new_client(app, content_type=b"application/vnd.apache.arrow.stream") for _ in range(2)]
        for client, parts in zip(clients, (9, 15), strict=True):
            client.part(message)
            for _ in range(parts):
                client.part(b" " * 2**16)
            await client.until(client.parts.empty)
        assert not clients[0].sent
        clients[1].part(b"", more=False)
        await clients[1].end()
        assert clients[1].status == 429
        clients[0].leave()
        await clients[0].end()

    asyncio.run(scenario())


def test_a_long_answer_waits_compressed_and_is_sent_as_it_was():
    numbers = random.Random(0)
    buffer, whole = AnswerBuffer(), b""
    while len(whole) < 3 * UNCOMPRESSED_BYTES:
        part = b"".join(b'{"score":%a}\n' % numbers.random() for _ in range(5000))
        buffer.append(part)
        whole += part
    assert b"".join(buffer.parts()) == whole
    assert buffer.length == len(whole)
    assert UNCOMPRESSED_BYTES // 2 < buffer.held_bytes < 0.75 * len(whole)


def test_gzip_of_several_blocks_is_scored_as_it_comes(app, new_client, record_line):
    packed = gzip.compress(record_line * LARGE)

    async def scenario():
        client = new_client(app, encoding=b"gzip")
        for at in range(0, len(packed), 1000):
            client.part(packed[at : at + 1000])
        client.part(b"", more=False)
        await client.end()
        assert client.body.count(b"\n") == LARGE

    asyncio.run(scenario())

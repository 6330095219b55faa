"""Bodies that are answered while they come: in step with a client that sends, reads, waits or goes away."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import sys
import threading
from contextlib import suppress

import pyarrow as pa
import pytest

from vaegis.service.auth.keys import digest_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BAD = b'{"amount": "many"}\n'


@pytest.fixture
def app(new_app):
    return new_app(max_answer_bytes=65_536)


def test_records_that_come_one_by_one_are_answered_one_by_one(app, new_client, record_line):
    async def story():
        client = new_client(app)
        for row in range(3):
            client.part(record_line)
            await client.until(lambda row=row: client.body.count(b"\n") == row + 1)
        assert not client.is_whole
        client.part(b"", more=False)
        await client.end()
        assert client.is_whole
        assert [json.loads(line)["row"] for line in client.body.splitlines()] == [0, 1, 2]

    asyncio.run(story())


def test_a_client_that_does_not_read_is_not_read_from(app, new_client, record_line):
    async def story():
        client = new_client(app)
        client.reads.clear()
        for _ in range(100):
            client.part(record_line * 200)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until(lambda: client.asked > 50), timeout=1)
        assert len(client.body) < 3 * 65_536
        client.reads.set()
        client.part(b"", more=False)
        await client.end()
        assert client.body.count(b"\n") == 100 * 200

    asyncio.run(story())


def test_reading_goes_on_while_answers_wait_within_their_bound(app, new_client, record_line):
    async def story():
        client = new_client(app)
        client.reads.clear()
        for _ in range(4):
            client.part(record_line * 20)
            await client.until(client.parts.empty)
        client.part(record_line, more=False)
        await client.until(client.parts.empty)
        client.reads.set()
        await client.end()
        assert client.body.count(b"\n") == 81

    asyncio.run(story())


@pytest.mark.parametrize("query", [b"", b"on_invalid=reject"])
def test_a_client_that_goes_away_frees_its_place(new_app, query, new_client, record_line):
    async def story():
        app = new_app(max_requests_in_flight=1)
        for _ in range(3):
            client = new_client(app, query)
            client.part(record_line)
            await client.until(lambda c=client: c.asked == 2)
            client.leave()
            await client.end()
            assert not client.is_whole or client.status == 400
        last = new_client(app)
        last.part(record_line, more=False)
        await last.end()
        assert (last.status, last.is_whole) == (200, True)

    asyncio.run(story())


def test_a_client_that_goes_away_after_its_body_ends_the_work(app, new_client, record_line):
    async def story():
        client = new_client(app)
        client.reads.clear()
        client.part(record_line * 3000, more=False)
        await client.until(lambda: client.sent)
        client.leave()
        await client.end()
        assert not client.is_whole
        assert client.body.count(b"\n") < 3000

    asyncio.run(story())


def test_the_line_of_a_client_that_went_away_tells_all_records_that_were_scored_for_it(
    new_app, artifact, log, new_client, record_line
):
    started, leave = threading.Event(), threading.Event()

    def score(columns):
        started.set()
        assert leave.wait(30)
        return artifact.scorer.score(columns)

    app = new_app(writer=log.writer, score=score, inline_body_bytes=0)

    async def story():
        client = new_client(app)
        client.part(record_line * 3, more=False)
        assert await asyncio.to_thread(started.wait, 30)
        client.leave()
        done, _ = await asyncio.wait([client.exchange], timeout=0.1)
        leave.set()
        await client.end()
        return done

    assert asyncio.run(story()) == set()
    (line,) = [line for line in log.lines if line["event"] == "request"]
    assert line["records"] == app.state.metrics.registry.get_sample_value("vaegis_records_scored_total") == 3


@pytest.mark.parametrize("sent", [b"", b"amount,coun", b"amount\n1\n"])
def test_a_stream_takes_nobodys_place_while_it_waits_for_its_client(new_app, sent, new_client, record_line):
    async def story():
        app = new_app(max_requests_in_flight=1)
        waiting = new_client(app, content_type=b"text/csv")
        waiting.part(sent)
        await waiting.until(lambda: waiting.asked == 2 and waiting.body.count(b"\n") == sent.count(b"\n"))
        other = new_client(app)
        other.part(record_line, more=False)
        await other.end()
        assert other.status == 200
        waiting.part(b"" if sent.endswith(b"\n") else b"\n1\n" if sent else b"amount\n1\n", more=False)
        await waiting.end()
        assert waiting.body.count(b"\n") == 2 or waiting.status == 422

    asyncio.run(story())


def test_a_stream_takes_nobodys_place_while_its_client_does_not_read(new_app, new_client, record_line):
    async def story():
        app = new_app(max_requests_in_flight=1, max_answer_bytes=65_536)
        deaf = new_client(app)
        deaf.reads.clear()
        deaf.part(record_line * 3000, more=False)
        await deaf.until(lambda: deaf.sent)
        other = new_client(app)
        async with asyncio.timeout(20):
            while other.status != 200:  # what the deaf one is still to be told is being scored
                other = new_client(app)
                other.part(record_line, more=False)
                await other.end()
        assert not deaf.has_ended
        deaf.leave()
        await deaf.end()

    asyncio.run(story())


def test_a_stream_takes_nobodys_place_while_it_pays(new_app, new_client, record_line):
    async def story():
        keys = [f"{name} score sha256:{digest_of(name.encode()).hex()} 0.01" for name in ("a", "b")]
        app = new_app(keys=";".join(keys), rate_burst_s=200, max_requests_in_flight=1)
        owing, other = new_client(app, key=b"a"), new_client(app, key=b"b")
        owing.part(record_line)
        await owing.until(lambda: owing.body.count(b"\n") == 1)
        owing.part(record_line * 100)
        await owing.until(lambda: owing.body.count(b"\n") == 101)
        other.part(record_line, more=False)
        await other.end()
        assert other.status == 200
        owing.leave()
        await owing.end()

    asyncio.run(story())


@pytest.mark.parametrize(("has_begun", "status"), [(False, 429), (True, 200)])
def test_a_stream_finds_no_place_for_its_first_records_but_goes_on_once_it_has_begun(
    new_app, has_begun, status, new_client, record_line
):
    async def story():
        app = new_app(max_requests_in_flight=1)
        stream, large = new_client(app), new_client(app, content_type=b"text/csv")
        stream.part(record_line if has_begun else b" ")
        await stream.until(lambda: stream.asked == 2 and bool(stream.sent) is has_begun)
        large.part(b"amount\n" + b"1\n" * 30_000, more=False)
        await large.until(lambda: large.asked == 2)
        stream.part(record_line, more=False)
        await stream.end()
        assert not large.has_ended
        assert stream.status == status
        assert stream.body.count(b"\n") == 2 * has_begun
        large.leave()
        await large.end()

    asyncio.run(story())


def test_a_fault_after_the_answer_has_begun_cuts_it_off(app, caplog, new_client):
    async def story():
        client = new_client(app, content_type=b"text/csv")
        client.part(b"amount\n1\n")
        await client.until(lambda: client.body.count(b"\n") == 2)
        client.part(b'"secret' + b"x" * 1_100_000 + b"\n")
        await client.end()
        assert client.status == 200
        assert not client.is_whole

    logger = logging.getLogger("vaegis.http")
    logger.addHandler(caplog.handler)
    asyncio.run(story())
    logger.removeHandler(caplog.handler)
    assert caplog.records[-1].fields == {"error": "BodyError", "code": "invalid_csv"}
    assert "secret" not in caplog.text


def test_a_bad_record_rejects_a_stream_as_long_as_its_answer_is_held(app, new_client, record_line):
    async def story():
        client = new_client(app, b"on_invalid=reject")
        for _ in range(5):
            client.part(record_line * 10)
        client.part(BAD)
        client.part(record_line)
        await client.until(lambda: client.sent)
        assert client.status == 422
        assert dict(client.sent[0]["headers"])[b"connection"] == b"close"
        client.leave()
        await client.end()
        assert json.loads(client.body)["errors"][0]["row"] == 50

    asyncio.run(story())


def test_a_bad_record_cuts_a_long_stream_off_where_it_rejects(app, new_client, record_line):
    async def story():
        client = new_client(app, b"on_invalid=reject")
        client.part(record_line * 3000)
        await client.until(lambda: client.sent)
        client.part(BAD, more=False)
        await client.end()
        assert client.status == 200
        assert not client.is_whole
        assert client.body.count(b"\n") <= 3000

    asyncio.run(story())


def test_a_caller_that_sends_more_than_its_rate_is_read_from_at_its_rate(new_app, new_client, record_line):
    async def story():
        app = new_app(rate_records_per_s=100, rate_burst_s=1)
        client = new_client(app)
        client.part(record_line * 50)
        await client.until(lambda: client.body.count(b"\n") == 50)
        client.part(record_line * 70)
        await client.until(lambda: client.body.count(b"\n") == 120)
        client.part(record_line, more=False)
        await client.end()
        assert client.body.count(b"\n") == 121
        refused = new_client(app)
        refused.part(record_line * 200, more=False)
        await refused.end()
        assert refused.status == 429

    asyncio.run(story())


def test_a_caller_that_owes_records_may_go_away(new_app, new_client, record_line):
    async def story():
        client = new_client(new_app(rate_records_per_s=0.01, rate_burst_s=200))
        client.part(record_line)
        await client.until(lambda: client.body.count(b"\n") == 1)
        client.part(record_line * 100)
        await client.until(lambda: client.body.count(b"\n") == 101)
        client.leave()
        await client.end()

    asyncio.run(story())


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("line", ["kept score", "gone model"])
def test_a_stream_ends_soon_after_its_key_is_removed_or_loses_its_scope(
    new_app, serving, read_all, record_line, tmp_path, monkeypatch, line
):
    monkeypatch.setattr("vaegis.service.auth.keys.CHECK_INTERVAL_S", 0.0)
    hashes = {name: digest_of(name.encode()).hex() for name in ("gone", "kept")}
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"{name} score sha256:{digest}\n" for name, digest in hashes.items()))
    service = serving(new_app(keys_file=str(file)))
    with service.connect() as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n")
        client.sendall(b"Authorization: Bearer gone\r\nContent-Type: application/x-ndjson\r\n\r\n")
        client.sendall(chunk(record_line))
        received = b""
        while b'{"row":0' not in received:
            received += client.recv(65_536)
        file.write_text(f"{line} sha256:{hashes[line.split()[0]]}\n")
        with suppress(ConnectionError):
            client.sendall(chunk(record_line * 100))
            received += read_all(client)
    assert received.count(b'"row":') == 1
    assert not received.endswith(b"0\r\n\r\n")  # cut off, so that nobody takes it for whole


def nulls():
    """Return an Arrow stream of records that take no bytes."""
    sink = io.BytesIO()
    batch = pa.RecordBatch.from_arrays([pa.nulls(20_000)], names=["amount"])
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


LARGE = {
    "packed": (b"application/x-ndjson", b"zstd", zstd.compress(b"\n" * 2**24) * 30),
    "CSV": (b"text/csv", b"identity", b"amount\n" + b"1\n" * 30_000),
    "NDJSON": (b"application/x-ndjson", b"identity", b"{}\n" * 20_000),
    "Arrow": (b"application/vnd.apache.arrow.stream", b"identity", nulls()),
}


@pytest.mark.parametrize("inline_body_bytes", [0, 65_536])
@pytest.mark.parametrize("name", LARGE)
def test_few_bytes_that_make_much_work_hold_nobody_up(new_app, name, inline_body_bytes, new_client, record_line):
    content_type, encoding, body = LARGE[name]
    assert len(body) <= 65_536

    async def story():
        app = new_app(scoring_threads=1, inline_body_bytes=inline_body_bytes)
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

    asyncio.run(story())


def test_the_longest_stream_is_meant_unpacked(new_app, new_client, record_line):
    async def story():
        client = new_client(new_app(max_stream_bytes=2**16), encoding=b"gzip")
        client.part(gzip.compress(record_line * 1000), more=False)
        await client.end()
        assert client.status == 413

    asyncio.run(story())


def test_each_part_of_a_stream_is_seen_to_wait(app, new_client, record_line):
    async def story():
        client = new_client(app)
        client.part(record_line)
        await client.until(lambda: client.body.count(b"\n") == 1)
        client.part(record_line, more=False)
        await client.end()

    asyncio.run(story())
    assert app.state.metrics.registry.get_sample_value("vaegis_queue_seconds_count") == 2

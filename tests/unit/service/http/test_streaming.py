"""Bodies that are answered while they come: in step with a client that sends, reads, waits or goes away."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import sys
import threading

import pyarrow as pa
import pytest

from service.callers.keys import digest_of

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LINE = b'{"amount": 22.5, "express": false, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}\n'
BAD = b'{"amount": "many"}\n'


class Client:
    """One request to an app, step by step."""

    def __init__(self, app, query=b"", content_type=b"application/x-ndjson", encoding=b"identity", key=b""):
        self.parts: asyncio.Queue[dict] = asyncio.Queue()
        self.asked = 0
        self.sent: list[dict] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.changed = asyncio.Event()
        headers = [(b"content-type", content_type), (b"content-encoding", encoding)]
        headers += [(b"authorization", b"Bearer " + key)] if key else []
        scope = {"type": "http", "method": "POST", "path": "/score", "query_string": query, "headers": headers}
        self.exchange = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self):
        self.asked += 1
        self.changed.set()
        return await self.parts.get()

    async def _send(self, message):
        self.sent.append(message)
        self.changed.set()
        await self.reads.wait()

    def part(self, body, *, more=True):
        self.parts.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self):
        self.parts.put_nowait({"type": "http.disconnect"})

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_whole(self):
        return bool(self.sent) and not self.sent[-1].get("more_body", True)

    @property
    def has_ended(self):
        """Whether an answer of any kind has come to its end."""
        return bool(self.sent) and not self.sent[-1].get("more_body", "status" in self.sent[-1])

    async def end(self):
        async with asyncio.timeout(20):
            await self.exchange


def scenario(story, *args):
    asyncio.run(story(*args))


@pytest.fixture
def app(new_app):
    return new_app(max_answer_bytes=65_536)


def test_records_that_come_one_by_one_are_answered_one_by_one(app):
    async def story():
        client = Client(app)
        for row in range(3):
            client.part(LINE)
            await client.until(lambda row=row: client.body.count(b"\n") == row + 1)
        assert not client.is_whole
        client.part(b"", more=False)
        await client.end()
        assert client.is_whole
        assert [json.loads(line)["row"] for line in client.body.splitlines()] == [0, 1, 2]

    scenario(story)


def test_a_client_that_does_not_read_is_not_read_from(app):
    async def story():
        client = Client(app)
        client.reads.clear()
        for _ in range(100):
            client.part(LINE * 200)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.until(lambda: client.asked > 50), timeout=1)
        assert len(client.body) < 3 * 65_536
        client.reads.set()
        client.part(b"", more=False)
        await client.end()
        assert client.body.count(b"\n") == 100 * 200

    scenario(story)


def test_reading_goes_on_while_answers_wait_within_their_bound(app):
    async def story():
        client = Client(app)
        client.reads.clear()
        for _ in range(4):
            client.part(LINE * 20)
            await client.until(client.parts.empty)
        client.part(LINE, more=False)
        await client.until(client.parts.empty)
        client.reads.set()
        await client.end()
        assert client.body.count(b"\n") == 81

    scenario(story)


@pytest.mark.parametrize("query", [b"", b"on_invalid=reject"])
def test_a_client_that_goes_away_frees_its_place(new_app, query):
    async def story():
        app = new_app(max_requests_in_flight=1)
        for _ in range(3):
            client = Client(app, query)
            client.part(LINE)
            await client.until(lambda c=client: c.asked == 2)
            client.leave()
            await client.end()
            assert not client.is_whole or client.status == 400
        last = Client(app)
        last.part(LINE, more=False)
        await last.end()
        assert (last.status, last.is_whole) == (200, True)

    scenario(story)


def test_a_client_that_goes_away_after_its_body_ends_the_work(app):
    async def story():
        client = Client(app)
        client.reads.clear()
        client.part(LINE * 3000, more=False)
        await client.until(lambda: client.sent)
        client.leave()
        await client.end()
        assert not client.is_whole
        assert client.body.count(b"\n") < 3000

    scenario(story)


def test_the_line_of_a_client_that_went_away_tells_all_records_that_were_scored_for_it(new_app, artifact, log):
    started, leave = threading.Event(), threading.Event()

    def score(columns):
        started.set()
        assert leave.wait(30)
        return artifact.scorer.score(columns)

    app = new_app(writer=log.writer, score=score, inline_body_bytes=0)

    async def story():
        client = Client(app)
        client.part(LINE * 3, more=False)
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
def test_a_stream_takes_nobodys_place_while_it_waits_for_its_client(new_app, sent):
    async def story():
        app = new_app(max_requests_in_flight=1)
        waiting = Client(app, content_type=b"text/csv")
        waiting.part(sent)
        await waiting.until(lambda: waiting.asked == 2 and waiting.body.count(b"\n") == sent.count(b"\n"))
        other = Client(app)
        other.part(LINE, more=False)
        await other.end()
        assert other.status == 200
        waiting.part(b"" if sent.endswith(b"\n") else b"\n1\n" if sent else b"amount\n1\n", more=False)
        await waiting.end()
        assert waiting.body.count(b"\n") == 2 or waiting.status == 422

    scenario(story)


def test_a_stream_takes_nobodys_place_while_its_client_does_not_read(new_app):
    async def story():
        app = new_app(max_requests_in_flight=1, max_answer_bytes=65_536)
        deaf = Client(app)
        deaf.reads.clear()
        deaf.part(LINE * 3000, more=False)
        await deaf.until(lambda: deaf.sent)
        other = Client(app)
        async with asyncio.timeout(20):
            while other.status != 200:  # what the deaf one is still to be told is being scored
                other = Client(app)
                other.part(LINE, more=False)
                await other.end()
        assert not deaf.has_ended
        deaf.leave()
        await deaf.end()

    scenario(story)


def test_a_stream_takes_nobodys_place_while_it_pays(new_app):
    async def story():
        keys = [f"{name} score sha256:{digest_of(name.encode()).hex()} 0.01" for name in ("a", "b")]
        app = new_app(keys=";".join(keys), rate_burst_s=200, max_requests_in_flight=1)
        owing, other = Client(app, key=b"a"), Client(app, key=b"b")
        owing.part(LINE)
        await owing.until(lambda: owing.body.count(b"\n") == 1)
        owing.part(LINE * 100)
        await owing.until(lambda: owing.body.count(b"\n") == 101)
        other.part(LINE, more=False)
        await other.end()
        assert other.status == 200
        owing.leave()
        await owing.end()

    scenario(story)


@pytest.mark.parametrize(("has_begun", "status"), [(False, 429), (True, 200)])
def test_a_stream_finds_no_place_for_its_first_records_but_goes_on_once_it_has_begun(new_app, has_begun, status):
    async def story():
        app = new_app(max_requests_in_flight=1)
        stream, large = Client(app), Client(app, content_type=b"text/csv")
        stream.part(LINE if has_begun else b" ")
        await stream.until(lambda: stream.asked == 2 and bool(stream.sent) is has_begun)
        large.part(b"amount\n" + b"1\n" * 30_000, more=False)
        await large.until(lambda: large.asked == 2)
        stream.part(LINE, more=False)
        await stream.end()
        assert not large.has_ended
        assert stream.status == status
        assert stream.body.count(b"\n") == 2 * has_begun
        large.leave()
        await large.end()

    scenario(story)


def test_a_fault_after_the_answer_has_begun_cuts_it_off(app, caplog):
    async def story():
        client = Client(app, content_type=b"text/csv")
        client.part(b"amount\n1\n")
        await client.until(lambda: client.body.count(b"\n") == 2)
        client.part(b'"secret' + b"x" * 1_100_000 + b"\n")
        await client.end()
        assert client.status == 200
        assert not client.is_whole

    logger = logging.getLogger("vaegis.http")
    logger.addHandler(caplog.handler)
    scenario(story)
    logger.removeHandler(caplog.handler)
    assert caplog.records[-1].fields == {"error": "BodyError", "code": "invalid_csv"}
    assert "secret" not in caplog.text


def test_a_bad_record_rejects_a_stream_as_long_as_its_answer_is_held(app):
    async def story():
        client = Client(app, b"on_invalid=reject")
        for _ in range(5):
            client.part(LINE * 10)
        client.part(BAD)
        client.part(LINE)
        await client.until(lambda: client.sent)
        assert client.status == 422
        assert dict(client.sent[0]["headers"])[b"connection"] == b"close"
        client.leave()
        await client.end()
        assert json.loads(client.body)["errors"][0]["row"] == 50

    scenario(story)


def test_a_bad_record_cuts_a_long_stream_off_where_it_rejects(app):
    async def story():
        client = Client(app, b"on_invalid=reject")
        client.part(LINE * 3000)
        await client.until(lambda: client.sent)
        client.part(BAD, more=False)
        await client.end()
        assert client.status == 200
        assert not client.is_whole
        assert client.body.count(b"\n") <= 3000

    scenario(story)


def test_a_caller_that_sends_more_than_its_rate_is_read_from_at_its_rate(new_app):
    async def story():
        app = new_app(rate_records_per_s=100, rate_burst_s=1)
        client = Client(app)
        client.part(LINE * 50)
        await client.until(lambda: client.body.count(b"\n") == 50)
        client.part(LINE * 70)
        await client.until(lambda: client.body.count(b"\n") == 120)
        client.part(LINE, more=False)
        await client.end()
        assert client.body.count(b"\n") == 121
        refused = Client(app)
        refused.part(LINE * 200, more=False)
        await refused.end()
        assert refused.status == 429

    scenario(story)


def test_a_caller_that_owes_records_may_go_away(new_app):
    async def story():
        client = Client(new_app(rate_records_per_s=0.01, rate_burst_s=200))
        client.part(LINE)
        await client.until(lambda: client.body.count(b"\n") == 1)
        client.part(LINE * 100)
        await client.until(lambda: client.body.count(b"\n") == 101)
        client.leave()
        await client.end()

    scenario(story)


def test_bytes_that_are_held_count_towards_those_in_flight(new_app):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        one, other = Client(app), Client(app)
        other.changed = one.changed
        for client in (one, other):
            for _ in range(9):
                client.part(b" " * 2**16)
        await one.until(lambda: one.sent or other.sent)
        refused, left = (one, other) if one.sent else (other, one)
        assert refused.status == 429
        refused.leave()
        left.part(LINE, more=False)
        await left.end()
        await refused.end()
        assert (left.status, left.is_whole) == (200, True)

    scenario(story)


LARGE_LINE = b'{"amount": ' + b" " * 200_000 + b"1}\n"


async def begun(app):
    """Return a client whose answer has begun."""
    client = Client(app)
    client.part(LINE)
    await client.until(lambda: client.body.count(b"\n") == 1)
    return client


async def holding(app):
    """Return a client that holds all but a little of 2**20 bytes, and has not begun to be answered."""
    client = Client(app)
    for _ in range(15):
        client.part(b" " * 2**16)
    await client.until(client.parts.empty)
    return client


@pytest.mark.parametrize("leaves", [False, True])
def test_streams_that_have_begun_wait_for_bytes_that_others_hold_and_then_go_on(new_app, leaves):
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
        refused = Client(app)
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

    scenario(story)


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_stream_ends_while_it_waits_for_bytes_once_its_client_leaves_or_the_service_does(new_app, is_cancelled):
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

    scenario(story)


def test_streams_that_each_hold_a_part_and_need_more_than_there_is_all_come_to_their_end(new_app):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        clients = [await begun(app) for _ in range(4)]
        for at in range(0, 600_000, 60_000):
            for client in clients:
                client.part((b" " * 600_000 + LINE)[at : at + 60_000])
        for client in clients:
            client.part(LINE, more=False)
        for client in clients:
            await client.end()
            assert (client.is_whole, client.body.count(b"\n")) == (True, 2)

    scenario(story)


def test_a_stream_that_others_wait_for_is_cut_once_it_has_held_them_up_for_the_time_of_a_body(new_app):
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

    scenario(story)


def test_what_was_sent_of_an_answer_is_not_held(new_app):
    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        slow = Client(app)
        slow.reads.clear()
        slow.part(LINE * 3000)
        with pytest.raises(TimeoutError):  # until all is answered, and no more is flushed
            await asyncio.wait_for(slow.until(lambda: slow.asked == 3), timeout=0.2)
        slow.reads.set()
        await slow.until(lambda: slow.body.count(b"\n") == 3000)
        full = await holding(app)  # while the stream is still open
        assert not full.sent
        for client in (slow, full):
            client.leave()
            await client.end()

    scenario(story)


def test_a_client_is_not_cut_for_silence_while_its_stream_waits_for_bytes(new_app, serving, read_all):
    app = new_app(max_bytes_in_flight=2**20)
    service = serving(app, body_timeout_s=0.5, min_bytes_per_s=1)
    chunk = b"%x\r\n%b\r\n" % (len(LINE), LINE)

    def on_loop(story):
        return asyncio.run_coroutine_threadsafe(story, service.hub.loop).result(20)

    async def fill():
        clients = await begun(app), await holding(app)
        clients[0].part(LARGE_LINE[:150_000])
        await clients[0].until(clients[0].parts.empty)
        return clients

    async def leave(clients):
        for client in clients:
            client.leave()
            await client.end()

    with service.connect() as client:
        client.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n")
        client.sendall(b"Content-Type: application/x-ndjson\r\n\r\n" + chunk)
        received = b""
        while b'{"row":0' not in received:
            received += client.recv(65_536)
        clients = on_loop(fill())
        client.sendall(chunk)
        client.settimeout(1.2)
        with pytest.raises(TimeoutError):
            client.recv(65_536)
        client.settimeout(60)
        on_loop(leave(clients))
        while b'{"row":1' not in received:
            received += client.recv(65_536)
        client.sendall(b"0\r\n\r\n")
        assert read_all(client).endswith(b"0\r\n\r\n")
    assert service.cuts == []


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
def test_few_bytes_that_make_much_work_hold_nobody_up(new_app, name, inline_body_bytes):
    content_type, encoding, body = LARGE[name]
    assert len(body) <= 65_536

    async def story():
        app = new_app(scoring_threads=1, inline_body_bytes=inline_body_bytes)
        large = Client(app, content_type=content_type, encoding=encoding)
        large.part(body, more=False)
        await large.until(lambda: large.asked == 2)
        small = Client(app, content_type=b"application/json")
        small.part(LINE, more=False)
        await small.end()
        assert small.status == 200
        assert not large.has_ended
        large.leave()
        await large.end()

    scenario(story)


def test_the_longest_stream_is_meant_unpacked(new_app):
    async def story():
        client = Client(new_app(max_stream_bytes=2**16), encoding=b"gzip")
        client.part(gzip.compress(LINE * 1000), more=False)
        await client.end()
        assert client.status == 413

    scenario(story)


def test_each_part_of_a_stream_is_seen_to_wait(app):
    async def story():
        client = Client(app)
        client.part(LINE)
        await client.until(lambda: client.body.count(b"\n") == 1)
        client.part(LINE, more=False)
        await client.end()

    scenario(story)
    assert app.state.metrics.registry.get_sample_value("vaegis_queue_seconds_count") == 2


def test_bytes_that_a_message_still_gathers_are_held_as_they_come(new_app):
    message = b"\xff\xff\xff\xff" + (2**24 - 8).to_bytes(4, "little")

    async def story():
        app = new_app(max_bytes_in_flight=2**20)
        clients = [Client(app, content_type=b"application/vnd.apache.arrow.stream") for _ in range(2)]
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

    scenario(story)

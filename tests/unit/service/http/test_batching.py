"""Requests that wait at the same time are scored together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections import Counter

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from vaegis.service.http.batching import BATCH_S, FEW_RECORDS, INLINE_S, Batcher, BatchSize
from vaegis.service.http.score_options import ScoreOptions
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.verdicts import Explain

# Sums in float32 depend on the size of a batch in their last digits.
ROUNDING = {"rel": 1e-4, "abs": 1e-4}

records = st.fixed_dictionaries(
    {"amount": st.none() | st.floats(-1e3, 1e3) | st.floats(0, 50)},
    optional={
        "express": st.booleans(),
        "country": st.sampled_from(["DE", "FR", "IT", "XX", None]),
        "placed_at": st.integers(1_600_000_000, 1_700_000_000),
    },
)
queries = st.sampled_from(["", "?alpha=0.05", "?alpha=0.3&explain=all", "?explain=none", "?explain=all"])
requests = st.tuples(records | st.lists(records, min_size=1, max_size=5), queries)


def together(app, asked) -> list[httpx.Response]:
    """Send all requests at once."""

    async def exchange() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            sending = (client.post(f"/score{query}", json=body) for body, query in asked)
            return await asyncio.gather(*sending)

    return asyncio.run(exchange())


async def posted(app, record) -> int:
    """Send a request of which everything is there, so that nothing but its batch is waited for; return the status."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": json.dumps(record).encode(), "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b""}
    scope["headers"] = [(b"content-type", b"application/json")]
    await app(scope, receive, send)
    return sent[0]["status"]


@pytest.fixture(scope="module")
def sizes():
    return []


@pytest.fixture
def counting(new_app, artifact, sizes):
    """Make an app that notes how many records it scores together."""

    def noting(columns):
        sizes.append(len(columns))
        return artifact.scorer.score(columns)

    def make(**given_: object):
        sizes.clear()
        return new_app(score=noting, **given_)

    return make


def observed(result: dict) -> dict[str, object]:
    return {item["column"]: item["observed"] for item in result["contributions"] or ()}


def assert_same(one: httpx.Response, other: httpx.Response) -> None:
    assert one.status_code == other.status_code == 200
    first, second = one.json(), other.json()
    results, others = first.pop("results"), second.pop("results")
    assert first == second
    for result, like in zip(results, others, strict=True):
        for name in ("score", "p_value", "elbo", "kl", "reconstruction_error", "latent_contribution"):
            assert result[name] == pytest.approx(like[name], **ROUNDING)
        assert result["is_anomaly"] == (result["p_value"] <= first["alpha"])
        if result["is_anomaly"] == like["is_anomaly"]:
            assert (result["contributions"] is None) == (like["contributions"] is None)
            observed = [
                {item["column"]: item["observed"] for item in each["contributions"] or ()} for each in (result, like)
            ]
            assert observed[0] == observed[1]


@given(asked=st.lists(requests, min_size=2, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_caller_gets_what_it_would_get_alone(counting, sizes, asked):
    app = counting()
    answers = together(app, asked)
    # Those that ask for the same are scored together.
    records_of = Counter()
    for body, query in asked:
        records_of[query] += len(body) if isinstance(body, list) else 1
    assert sorted(sizes) == sorted(records_of.values())
    for one, answer in zip(asked, answers, strict=True):
        (alone,) = together(app, [one])
        assert_same(answer, alone)


def test_a_request_at_fault_is_refused_and_the_others_are_scored(counting, sizes, record):
    good, bad = (record, ""), (record | {"amount": "x"}, "")
    answers = together(counting(), [good, bad, good])
    assert [answer.status_code for answer in answers] == [200, 422, 200]
    assert sizes == [2]
    assert_same(answers[0], answers[2])


@pytest.mark.parametrize(("most", "batches"), [(1, [2, 2, 2, 2]), (4, [4, 4]), (5, [4, 4]), (6, [6, 2]), (256, [8])])
def test_a_batch_has_its_limit_in_records_but_holds_at_least_a_request(counting, sizes, record, most, batches):
    answers = together(counting(max_batch_records=most), [([record] * 2, "")] * 4)
    assert [len(answer.json()["results"]) for answer in answers] == [2] * 4
    assert sizes == batches


def test_what_comes_a_turn_of_the_loop_later_gets_into_the_batch(counting, sizes, record):
    app = counting()

    async def scenario():
        first = asyncio.create_task(posted(app, record))
        await asyncio.sleep(0)
        return await asyncio.gather(first, posted(app, record))

    assert asyncio.run(scenario()) == [200, 200]
    assert sizes == [2]


def test_records_are_counted_once_each_and_requests_too(counting, send, record):
    app = counting()
    together(app, [(record, ""), ([record] * 2, ""), ([record] * 3, "?alpha=0.2")])
    value = app.metrics.registry.get_sample_value
    assert value("vaegis_records_scored_total", {"model": "orders"}) == 6
    assert value("vaegis_score_bucket", {"model": "orders", "le": "+Inf"}) == 6
    assert value("vaegis_batch_records_sum", {"model": "orders"}) == 6
    assert value("vaegis_batch_records_count", {"model": "orders"}) == 3
    assert value("vaegis_inference_seconds_count", {"model": "orders"}) == 3
    assert value("vaegis_queue_seconds_count") == 3


def test_a_fault_of_the_service_is_500_for_each_and_leaves_it_sound(new_app, artifact, record):
    faults = iter([RuntimeError("broken")])

    def score(columns):
        for fault in faults:
            raise fault
        return artifact.scorer.score(columns)

    app = new_app(score=score)
    assert [answer.status_code for answer in together(app, [(record, "")] * 3)] == [500] * 3
    assert [answer.status_code for answer in together(app, [(record, "")] * 3)] == [200] * 3
    assert app.metrics.registry.get_sample_value("vaegis_requests_in_flight") == 0


@pytest.mark.parametrize("name", ["kl", "expected"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_statistic_that_json_cannot_say_is_500_for_its_request_alone(new_app, artifact, record, name, value):
    def score(columns):
        scores = artifact.scorer.score(columns)
        changed = getattr(scores, name).copy()
        changed[columns.numbers[:, 0] == 1234.0] = value
        return replace(scores, **{name: changed})

    assert artifact.contract.columns.number_positions[0] == artifact.contract.columns.names.index("amount")
    asked = [
        (record, "?explain=all"),
        ([record, record | {"amount": 1234.0}], "?explain=all"),
        (record, "?explain=all"),
    ]
    assert [answer.status_code for answer in together(new_app(score=score), asked)] == [200, 500, 200]


def test_a_request_that_is_cancelled_takes_nobody_with_it(counting, sizes, record):
    app = counting()

    async def scenario():
        tasks = [asyncio.create_task(posted(app, record)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = asyncio.run(scenario())
    assert (first, third) == (200, 200)
    assert isinstance(second, asyncio.CancelledError)
    assert sizes == [2]


@pytest.mark.parametrize(("seconds", "is_inline"), [(INLINE_S / 2, True), (INLINE_S, False)])
def test_a_batch_blocks_the_event_loop_only_if_the_last_one_of_its_size_was_fast(artifact, record, seconds, is_inline):
    threads = []

    def judge(columns, options):
        threads.append(threading.current_thread())
        return artifact.judge(columns, alpha=options.alpha, explain=options.explain), seconds

    async def scenario():
        batcher, options = Batcher(judge, MOST), ScoreOptions(0.01, Explain.NONE, OnInvalid.REJECT)
        for count in (1, 1, 2, 2):
            columns = columns_from_records([record] * count, artifact.contract.columns)
            await batcher.judge(columns, options, lambda: None)

    asyncio.run(scenario())
    assert [thread is threading.main_thread() for thread in threads] == [False, is_inline, False, is_inline]


MOST = 1024


def learned(batches, most=MOST) -> BatchSize:
    size = BatchSize(most)
    for records, seconds in batches:
        size.note(records, seconds)
    return size


@pytest.mark.parametrize(
    ("record_s", "records"), [(1e-6, MOST), (BATCH_S / MOST, MOST), (2e-5, 500), (1e-4, 100), (1e-3, FEW_RECORDS)]
)
def test_it_comes_to_what_the_model_takes_ten_milliseconds_for(record_s, records):
    assert learned([(200, 200 * record_s)] * 200).most_records == pytest.approx(records, abs=1)


def test_one_faster_batch_is_enough_and_one_slower_changes_little():
    slow = [(256, 256 * 1e-4)] * 100
    assert learned([*slow, (256, 256 * 1e-5)]).most_records == pytest.approx(1000, abs=1)
    assert learned([*slow, (256, 10.0)]).most_records >= 90


def test_small_batches_tell_nothing():
    assert learned([(FEW_RECORDS - 1, 1.0)] * 1000).most_records == MOST


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1e3)), max_size=300), st.integers(1, 4096))
def test_it_stays_within_its_bounds(batches, most):
    assert min(most, FEW_RECORDS) <= learned(batches, most).most_records <= most

"""Rate limits: how many records a caller may send in any span of time, through one worker or several."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.auth.keys import Key
from vaegis.service.auth.rate_limits import _SETS, _SLOTS_PER_SET, RateLimit, RateLimits, TokenBuckets, bucket_id_of


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def limit_at(clock, rate: float = 100.0, burst_s: float = 10.0) -> RateLimit:
    return RateLimit(TokenBuckets(now=clock), bucket_id_of("a"), rate, burst_s)


def test_burst_is_accepted_and_then_the_rate():
    clock = Clock()
    bucket = limit_at(clock)
    assert [bucket.try_spend(500), bucket.try_spend(500)] == [0, 0]
    assert bucket.try_spend(100) == pytest.approx(1.0)
    clock.at += 0.5
    assert bucket.try_spend(100) == pytest.approx(0.5)
    clock.at += 0.5
    assert bucket.try_spend(100) == 0


def test_refused_records_cost_nothing():
    clock = Clock()
    bucket = limit_at(clock)
    bucket.try_spend(1000)
    clock.at += 1
    assert all(bucket.try_spend(200) == pytest.approx(1.0) for _ in range(5))
    assert bucket.try_spend(100) == 0


def test_full_bucket_accepts_a_larger_request_and_its_debt_delays_the_next():
    clock = Clock()
    bucket = limit_at(clock)
    assert bucket.try_spend(5000) == 0
    assert bucket.wait_s() == pytest.approx(40.01)
    assert bucket.try_spend(5000) == pytest.approx(50.0)
    clock.at += 50
    assert bucket.try_spend(5000) == 0


def test_wait_is_zero_exactly_if_one_record_is_accepted():
    clock = Clock()
    for rate, burst_s in ((100.0, 10.0), (0.001, 0.1)):
        bucket = limit_at(clock, rate, burst_s)
        assert bucket.wait_s() == 0
        assert bucket.try_spend(1000) == 0
        wait_s = bucket.wait_s()
        assert wait_s == pytest.approx(bucket.try_spend(1))
        clock.at += wait_s * (1 + 1e-9)
        assert bucket.wait_s() == 0
        assert bucket.try_spend(1) == 0


def test_spending_into_debt_is_never_refused():
    clock = Clock()
    bucket = limit_at(clock)
    assert [bucket.try_spend(records, into_debt=True) for records in (1000, 500, 500)] == [0, 0, 0]
    assert bucket.try_spend(1000) == pytest.approx(20.0)
    clock.at += 10
    assert bucket.try_spend(1000) == pytest.approx(10.0)


@given(
    rate=st.floats(1, 1e4),
    burst_s=st.floats(0.1, 60),
    requests=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 5000)), min_size=1, max_size=50),
)
def test_any_time_span_accepts_at_most_burst_rate_and_one_request(rate, burst_s, requests):
    clock = Clock()
    bucket = limit_at(clock, rate, burst_s)
    taken = []
    for pause, records in requests:
        clock.at += pause
        if bucket.try_spend(records) == 0:
            taken.append((clock.at, records))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span = taken[first : last + 1]
            passed = span[-1][0] - span[0][0]
            most = rate * (burst_s + passed) + max(records for _, records in span)
            assert sum(records for _, records in span) <= most * (1 + 1e-9)


@given(st.floats(0.001, 1e7), st.floats(0.1, 3600), st.integers(1, 100_000), st.integers(1, 100_000))
def test_request_is_accepted_after_the_returned_wait(rate, burst_s, first, second):
    clock = Clock()
    bucket = limit_at(clock, rate, burst_s)
    assert bucket.try_spend(first) == 0
    wait_s = bucket.try_spend(second)
    assert wait_s >= 0
    clock.at += wait_s * (1 + 1e-9) + 1e-6
    assert wait_s == 0 or bucket.try_spend(second) == 0


def limits(default: float | None) -> RateLimits:
    return RateLimits(TokenBuckets(now=Clock()), default, 10.0)


def key(name: str, rate: float | None = None) -> Key:
    return Key(name, frozenset(), b"", rate)


def test_key_has_its_own_rate_or_the_default():
    given = limits(5.0)
    assert given.limit_of(key("a")).records_per_s == 5
    assert given.limit_of(key("b", 7.0)).records_per_s == 7
    assert given.limit_of(None).records_per_s == 5
    assert limits(None).limit_of(key("a")) is None
    assert limits(None).limit_of(None) is None
    assert limits(None).limit_of(key("b", 7.0)).records_per_s == 7


def test_callers_do_not_share_buckets():
    given = limits(1.0)
    assert [given.limit_of(key(name)).try_spend(10) for name in "abc"] == [0, 0, 0]
    assert given.limit_of(key("a")).try_spend(10) == pytest.approx(10)


def test_reloaded_key_has_its_new_rate_and_its_old_debt():
    given = limits(1.0)
    assert given.limit_of(key("a", 1.0)).try_spend(10) == 0
    again = given.limit_of(key("a", 5.0))
    assert (again.records_per_s, again.wait_s()) == (5, pytest.approx(0.2))


def test_threads_together_spend_one_bucket():
    bucket = limit_at(Clock())
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: bucket.try_spend(1) == 0, range(2000)))
    assert sum(taken) == 1000


def test_processes_together_spend_one_bucket(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from vaegis.service.auth.rate_limits import TokenBuckets, bucket_id_of\n"
        "buckets = TokenBuckets(Path(sys.argv[1]), now=lambda: 1000.0)\n"
        "print(sum(buckets.try_spend(bucket_id_of('a'), 0.01, 10.0) == 0 for _ in range(900)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "buckets")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [int(process.communicate()[0]) for process in processes]
    assert sum(taken) == 1000


def test_new_bucket_replaces_the_one_that_is_full_first():
    clock = Clock()
    buckets = TokenBuckets(now=clock)
    ids = [_SETS * i + 1 for i in range(_SLOTS_PER_SET + 1)]  # all of one set
    for bucket_id in ids[1:]:
        assert buckets.try_spend(bucket_id, 5.0, 5.0) == 0
    clock.at += 1
    assert buckets.try_spend(ids[2], 1.0, 5.0) == 0
    assert buckets.try_spend(ids[0], 5.0, 5.0) == 0  # in the slot of ids[1], which was full first
    assert buckets.try_spend(ids[2], 1.0, 5.0) > 0
    assert buckets.try_spend(ids[1], 5.0, 5.0) == 0

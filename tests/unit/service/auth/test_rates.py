"""Rates: how much a caller may send in any span of time, alone or through several workers."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.auth.keys import Key
from vaegis.service.auth.ledger import _PLACES, _SETS, Ledger, mark_of
from vaegis.service.auth.rates import Account, Rates


class Clock:
    """A time that moves when told to."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def account(clock, rate: float = 100.0, burst_s: float = 10.0) -> Account:
    return Account(Ledger(now=clock), mark_of("a"), rate, burst_s)


def test_a_burst_is_let_in_and_then_the_rate():
    clock = Clock()
    bucket = account(clock)
    assert [bucket.take(500), bucket.take(500)] == [0, 0]
    assert bucket.take(100) == pytest.approx(1.0)
    clock.at += 0.5
    assert bucket.take(100) == pytest.approx(0.5)
    clock.at += 0.5
    assert bucket.take(100) == 0


def test_what_is_refused_takes_nothing():
    clock = Clock()
    bucket = account(clock)
    bucket.take(1000)
    clock.at += 1
    assert all(bucket.take(200) == pytest.approx(1.0) for _ in range(5))
    assert bucket.take(100) == 0


def test_more_than_the_bucket_holds_is_let_in_when_it_is_full_and_paid_off_before_the_next():
    clock = Clock()
    bucket = account(clock)
    assert bucket.take(5000) == 0
    assert bucket.wait_s() == pytest.approx(40.01)
    assert bucket.take(5000) == pytest.approx(50.0)
    clock.at += 50
    assert bucket.take(5000) == 0


def test_there_is_room_for_a_record_exactly_if_one_would_be_let_in():
    clock = Clock()
    for rate, burst_s in ((100.0, 10.0), (0.001, 0.1)):
        bucket = account(clock, rate, burst_s)
        assert bucket.wait_s() == 0
        assert bucket.take(1000) == 0
        wait_s = bucket.wait_s()
        assert wait_s == pytest.approx(bucket.take(1))
        clock.at += wait_s * (1 + 1e-9)
        assert bucket.wait_s() == 0
        assert bucket.take(1) == 0


def test_a_stream_that_has_begun_is_never_refused_but_made_to_wait():
    clock = Clock()
    bucket = account(clock)
    assert bucket.owe(1000) == 0
    assert bucket.owe(500) == pytest.approx(5.0)
    assert bucket.owe(500) == pytest.approx(10.0)
    clock.at += 10
    assert bucket.owe(100) == pytest.approx(1.0)


@given(
    rate=st.floats(1, 1e4),
    burst_s=st.floats(0.1, 60),
    requests=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 5000)), min_size=1, max_size=50),
)
def test_in_no_span_of_time_is_more_let_in_than_the_burst_the_rate_and_one_request(rate, burst_s, requests):
    clock = Clock()
    bucket = account(clock, rate, burst_s)
    taken = []
    for pause, records in requests:
        clock.at += pause
        if bucket.take(records) == 0:
            taken.append((clock.at, records))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span = taken[first : last + 1]
            passed = span[-1][0] - span[0][0]
            most = rate * (burst_s + passed) + max(records for _, records in span)
            assert sum(records for _, records in span) <= most * (1 + 1e-9)


@given(st.floats(0.001, 1e7), st.floats(0.1, 3600), st.integers(1, 100_000), st.integers(1, 100_000))
def test_after_the_time_told_there_is_room(rate, burst_s, first, second):
    clock = Clock()
    bucket = account(clock, rate, burst_s)
    assert bucket.take(first) == 0
    wait_s = bucket.take(second)
    assert wait_s >= 0
    clock.at += wait_s * (1 + 1e-9) + 1e-6
    assert wait_s == 0 or bucket.take(second) == 0


def rates(default: float | None) -> Rates:
    return Rates(Ledger(now=Clock()), default, 10.0)


def key(name: str, rate: float | None = None) -> Key:
    return Key(name, frozenset(), b"", rate)


def test_a_key_has_its_own_rate_or_the_one_for_all():
    given = rates(5.0)
    assert given.account_of(key("a")).records_per_s == 5
    assert given.account_of(key("b", 7.0)).records_per_s == 7
    assert given.account_of(None).records_per_s == 5
    assert rates(None).account_of(key("a")) is None
    assert rates(None).account_of(None) is None
    assert rates(None).account_of(key("b", 7.0)).records_per_s == 7


def test_callers_do_not_use_up_each_other_s_rate():
    given = rates(1.0)
    assert [given.account_of(key(name)).take(10) for name in "abc"] == [0, 0, 0]
    assert given.account_of(key("a")).take(10) == pytest.approx(10)


def test_a_key_that_is_read_again_has_its_new_rate_and_its_old_debt():
    given = rates(1.0)
    assert given.account_of(key("a", 1.0)).take(10) == 0
    again = given.account_of(key("a", 5.0))
    assert (again.records_per_s, again.wait_s()) == (5, pytest.approx(0.2))


def test_threads_together_take_what_there_is_and_no_more():
    bucket = account(Clock())
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: bucket.take(1) == 0, range(2000)))
    assert sum(taken) == 1000


def test_processes_together_take_what_there_is_and_no_more(tmp_path):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from vaegis.service.auth.ledger import Ledger, mark_of\n"
        "ledger = Ledger(Path(sys.argv[1]), now=lambda: 1000.0)\n"
        "print(sum(ledger.take(mark_of('a'), 0.01, 10.0) == 0 for _ in range(900)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "ledger")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    taken = [int(process.communicate()[0]) for process in processes]
    assert sum(taken) == 1000


def test_names_beyond_the_ledger_s_places_take_those_that_are_empty_first():
    clock = Clock()
    ledger = Ledger(now=clock)
    marks = [_SETS * i + 1 for i in range(_PLACES + 1)]  # all of one set
    for mark in marks[1:]:
        assert ledger.take(mark, 5.0, 5.0) == 0
    clock.at += 1
    assert ledger.take(marks[2], 1.0, 5.0) == 0
    assert ledger.take(marks[0], 5.0, 5.0) == 0  # in the place of marks[1], which was empty first
    assert ledger.take(marks[2], 1.0, 5.0) > 0
    assert ledger.take(marks[1], 5.0, 5.0) == 0

"""Counters, gauges and histograms: they agree with the client library's own, and add up across processes."""

from __future__ import annotations

import os
import threading

import numpy as np
import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from prometheus_client import CollectorRegistry, generate_latest

from vaegis.service.http.counting.families import Families
from vaegis.service.http.counting.processes import Processes
from vaegis.service.http.counting.tally import TALLY_BYTES, Tally

BOUNDS = (0.0, 0.01, 1.0, 2.0)
VALUES = npst.arrays(np.float64, st.integers(0, 20), elements=st.floats(-3, 3) | st.sampled_from(BOUNDS))


def registry_of(collector) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector)
    return registry


@given(st.lists(VALUES, max_size=3))
def test_batches_count_as_their_values_one_by_one_would(batches):
    families, single = Families(), CollectorRegistry()
    ours = families.histogram("x", "A value.", BOUNDS)
    theirs = prometheus_client.Histogram("x", "A value.", buckets=BOUNDS, registry=single)
    for batch in batches:
        ours.observe_all(batch)
        for value in batch:
            theirs.observe(value)
    bulk = registry_of(families)
    for bound in ("0.0", "0.01", "1.0", "2.0", "+Inf"):
        labels = {"le": bound}
        assert bulk.get_sample_value("x_bucket", labels) == single.get_sample_value("x_bucket", labels)
    count = sum(map(len, batches))
    assert bulk.get_sample_value("x_count") == count
    assert bulk.get_sample_value("x_sum") == pytest.approx(float(np.concatenate([*batches, np.zeros(0)]).sum()))


def test_no_sum_is_told_where_values_may_be_negative():
    families = Families()
    families.histogram("x", "A value.", (-1.0, 1.0)).observe_all(np.array([-2.0, 0.5]))
    registry = registry_of(families)
    assert registry.get_sample_value("x_bucket", {"le": "-1.0"}) == 1
    assert registry.get_sample_value("x_bucket", {"le": "+Inf"}) == 2
    assert registry.get_sample_value("x_sum") is None


def test_a_name_given_twice_is_refused():
    families = Families()
    families.counter("x", "A number.")
    with pytest.raises(ValueError, match="once"):
        families.gauge("x", "A number.")
    registry = registry_of(families)
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus_client.Counter("x", "A number.", registry=registry)


def test_metrics_are_written_as_the_client_library_writes_its_own(monkeypatch):
    monkeypatch.setattr(prometheus_client.metrics, "_use_created", False)
    theirs, families = CollectorRegistry(), Families()
    prometheus_client.Counter("requests", "How many.", ("route",), registry=theirs).labels("/a").inc(2)
    prometheus_client.Gauge("alpha", "A share.", registry=theirs).set(0.01)
    prometheus_client.Histogram("seconds", "A time.", buckets=(0.5, 1e9), registry=theirs).observe(0.7)
    families.counter("requests", "How many.", ("route",)).labels("/a").inc(2)
    families.gauge("alpha", "A share.").set(0.01)
    families.histogram("seconds", "A time.", (0.5, 1e9)).observe(0.7)
    assert generate_latest(registry_of(families)) == generate_latest(theirs)


def counted(tally: Tally, others=()) -> dict[str, object]:
    families = Families(tally, others)
    return {
        "families": families,
        "requests": families.counter("requests", "How many.", ("route",)),
        "rows": families.counter_row("columns", "How many.", "column", ["a", None, "b"]),
        "seconds": families.histogram("seconds", "A time.", (0.5, 1.0)),
        "open": families.gauge("open", "How many."),
        "loaded": families.gauge("loaded", "When.", across="max"),
    }


def test_numbers_of_all_processes_add_up_at_any_of_them():
    one, two = Tally(), Tally()
    one.pid, two.pid = 1, 2
    first, second = counted(one, [two]), counted(two, [one])
    first["requests"].labels("/a").inc()
    second["requests"].labels("/a").inc(2)
    second["requests"].labels("/b").inc()
    first["rows"].add(np.array([1, 5, 2]))
    second["rows"].add(np.array([10, 5, 20]))
    first["seconds"].observe(0.1)
    second["seconds"].observe_all(np.array([0.7, 3.0]))
    first["open"].set(2)
    second["open"].set(3)
    first["loaded"].set(7)
    second["loaded"].set(5)
    for of in (first, second):
        value = registry_of(of["families"]).get_sample_value
        assert value("requests_total", {"route": "/a"}) == 3
        assert value("requests_total", {"route": "/b"}) == 1
        assert value("columns_total", {"column": "a"}) == 11
        assert value("columns_total", {"column": "b"}) == 22
        assert value("seconds_bucket", {"le": "1.0"}) == 2
        assert value("seconds_count") == 3
        assert value("seconds_sum") == pytest.approx(3.8)
        assert value("open") == 5
        assert value("loaded") == 7


def test_a_process_that_ended_is_counted_on_by_the_next_without_what_was_true_of_it_alone():
    memory = memoryview(bytearray(TALLY_BYTES))
    reader = counted(Tally(), [Tally(memory)])
    value = registry_of(reader["families"]).get_sample_value
    for expected in (1, 2):
        tally = Tally(memory)
        tally.pid = expected
        of = counted(tally)
        of["requests"].labels("/a").inc()
        of["requests"].labels(f"/{expected}").inc()
        of["open"].set(3)
        assert value("requests_total", {"route": "/a"}) == expected
        assert value("open") == 3
        tally.pid = 0
        tally.forget_gauges()
        assert value("requests_total", {"route": "/a"}) == expected
        assert value("open") == 0
    assert value("requests_total", {"route": "/1"}) == value("requests_total", {"route": "/2"}) == 1


def test_threads_lose_no_number():
    families = Families()
    counter, histogram = families.counter("x", "A number."), families.histogram("y", "A number.", (0.5,))

    def count() -> None:
        for _ in range(20_000):
            counter.inc()
            histogram.observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = registry_of(families)
    assert registry.get_sample_value("x_total") == 80_000
    assert registry.get_sample_value("y_sum") == 80_000


def test_a_gauge_follows_its_function():
    families = Families()
    numbers = iter([1.0, 2.0])
    families.gauge("x", "A number.").set_function(lambda: next(numbers))
    registry = registry_of(families)
    assert registry.get_sample_value("x") == 1
    assert registry.get_sample_value("x") == 2


def test_a_metric_with_labels_is_not_counted_without_them():
    families = Families()
    with pytest.raises(ValueError, match="expected values of"):
        families.counter("x", "A number.", ("a",)).inc()
    with pytest.raises(ValueError, match="expected values of"):
        families.histogram("y", "A number.", BOUNDS, ("a",)).observe(1.0)


def test_memory_that_is_full_is_refused_with_the_name():
    families = Families()
    with pytest.raises(MemoryError, match="vast"):
        families.counter_row("vast", "A number.", "a", ["x"] * TALLY_BYTES)


def test_processes_are_told_apart_and_those_that_ended_are_left_out():
    here, ended = Tally(), Tally()
    here.pid = os.getpid()
    registry = registry_of(Processes({"0": here, "1": ended}))
    assert registry.get_sample_value("process_resident_memory_bytes", {"worker": "0"}) > 10**6
    assert registry.get_sample_value("process_resident_memory_bytes", {"worker": "1"}) is None
    ended.pid = here.pid
    names = [family.name for family in registry.collect()]
    assert sorted(names) == sorted(set(names))
    assert registry.get_sample_value("process_open_fds", {"worker": "1"}) > 0

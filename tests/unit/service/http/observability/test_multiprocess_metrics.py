"""Metrics of several workers: they add up at any of them, and outlive a worker that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from vaegis.service.errors import ServiceError
from vaegis.service.http.observability import multiprocess_metrics
from vaegis.service.http.observability.metrics import MOST_SIGNATURES, BoundHistogram, Metrics
from vaegis.service.http.observability.model_metrics import ModelMetrics
from vaegis.service.http.observability.multiprocess_metrics import (
    PARENT,
    ServiceCollector,
    count_in_files,
    count_in_memory,
    forget_worker,
    metrics_folder,
    restarts_counter,
)

BOUNDS = (0.5, 1.0)


@pytest.fixture
def folder(monkeypatch) -> Iterator[Path]:
    """Give a folder to count in; afterwards metrics count in memory again."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    with metrics_folder() as made:
        yield made


def reader(folder: Path, pids: Callable[[], dict[str, int]] = dict) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(folder, pids))
    return registry


class Worker:
    """What a worker counts with."""

    def __init__(self, folder: Path, number: int) -> None:
        count_in_files(folder, str(number))
        self.requests = Counter("requests", "How many.", ("route",), registry=None)
        self.seconds = BoundHistogram(Histogram("seconds", "A time.", buckets=BOUNDS, registry=None))
        self.open = Gauge("open", "How many.", registry=None, multiprocess_mode="livesum")
        self.threshold = Gauge("threshold", "A score.", registry=None, multiprocess_mode="livemostrecent")


def test_a_worker_in_the_place_of_another_adds_no_series_for_signatures(folder, artifact):
    for worker in range(3):
        count_in_files(folder, "0")
        counters = Metrics(ServiceCollector(folder, dict)).signature_counters("orders")
        counters.count(f"{worker}-{number}" for number in range(MOST_SIGNATURES))
    metrics = [metric for metric in reader(folder).collect() if metric.name == "vaegis_anomalies_by_signature"]
    assert len(metrics[0].samples) == MOST_SIGNATURES + 1
    assert sum(sample.value for sample in metrics[0].samples) == 3 * MOST_SIGNATURES


def test_any_worker_shows_the_sums_over_all(folder):
    first, second = Worker(folder, 0), Worker(folder, 1)
    first.requests.labels("/a").inc()
    second.requests.labels("/a").inc(2)
    second.requests.labels("/b").inc()
    first.seconds.observe(0.1)
    second.seconds.observe_all(np.array([0.7, 3.0]))
    first.open.set(2)
    second.open.set(3)
    first.threshold.set(7)
    second.threshold.set(5)
    value = reader(folder).get_sample_value
    assert value("requests_total", {"route": "/a"}) == 3
    assert value("requests_total", {"route": "/b"}) == 1
    assert value("seconds_bucket", {"le": "1.0"}) == 2
    assert value("seconds_count") == 3
    assert value("seconds_sum") == pytest.approx(3.8)
    assert value("open") == 5
    assert value("threshold") == 5  # of the worker that set it last


def test_a_hundred_ends_of_a_worker_leave_its_counts_and_no_more_files(folder):
    other = Worker(folder, 1)
    other.open.set(1)
    value = reader(folder).get_sample_value
    files = set()
    for ends in range(1, 101):
        worker = Worker(folder, 0)
        assert value("open") == 1
        worker.requests.labels("/a").inc()
        worker.seconds.observe(0.7)
        worker.open.set(3)
        assert value("open") == 4
        files.add(frozenset(file.name for file in folder.iterdir()))
        forget_worker(folder, 0)
        assert value("requests_total", {"route": "/a"}) == value("seconds_count") == ends
        assert value("open") == 1
    assert len(files) == 1


def test_a_worker_that_is_killed_while_it_counts_has_counted_all_that_it_said(folder):
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from prometheus_client import Counter\n"
        "from vaegis.service.http.observability.multiprocess_metrics import count_in_files\n"
        "count_in_files(Path(sys.argv[1]), '0')\n"
        "counter = Counter('x', 'How many.', ('series',), registry=None)\n"
        "number = 0\n"
        "while True:\n"
        "    number += 1\n"
        "    counter.labels('all').inc()\n"
        "    counter.labels(str(number)).inc()\n"
        "    print(number, flush=True)\n"
    )
    registry = reader(folder)
    said = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", program, folder], stdout=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(1000)]  # the file grows meanwhile
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        said += sum(line.endswith("\n") for line in lines)
        counted = registry.get_sample_value("x_total", {"series": "all"})
        assert said <= counted <= said + 3  # a kill may come between counting and saying
    assert registry.get_sample_value("x_total", {"series": "1"}) == 3


def test_numbers_stand_where_the_library_puts_and_reads_them(folder, monkeypatch):
    def count() -> None:
        counter = Counter("requests", "How many.", ("route",), registry=None)
        for route in range(2000):  # its file grows
            counter.labels(str(route)).inc(route)
        counter.labels("0").inc()
        counter.labels("1").reset()
        histogram = Histogram("seconds", "A time.", buckets=BOUNDS, registry=None)
        for seconds in (0.1, 0.7, 0.7, 3.0):
            histogram.observe(seconds)
        Gauge("open", "How many.", registry=None, multiprocess_mode="livesum").set(2)

    def seen(folder: Path) -> list[tuple[object, ...]]:
        return [tuple(sample) for metric in MultiProcessCollector(None, folder).collect() for sample in metric.samples]

    ours, theirs = folder / "ours", folder / "theirs"
    ours.mkdir()
    theirs.mkdir()
    count_in_files(ours, "0")
    count()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(theirs))
    monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue(lambda: "0"))
    count()
    assert sorted(map(str, seen(ours))) == sorted(map(str, seen(theirs)))


def test_a_counter_knows_what_it_has_counted(folder):
    count_in_files(folder, "0")
    counter = Counter("x", "A number.", registry=None)
    counter.inc(3)
    assert next(sample.value for metric in counter.collect() for sample in metric.samples) == 3


def test_threads_lose_no_number(folder):
    worker = Worker(folder, 0)
    counter = worker.requests.labels("/a")

    def count() -> None:
        for _ in range(20_000):
            counter.inc()
            worker.seconds.observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    value = reader(folder).get_sample_value
    assert value("requests_total", {"route": "/a"}) == 80_000
    assert value("seconds_sum") == 80_000


def test_no_sum_is_shown_where_values_may_be_negative(folder):
    count_in_files(folder, "0")
    BoundHistogram(Histogram("x", "A value.", buckets=(-1.0, 1.0), registry=None)).observe_all(np.array([-2.0, 0.5]))
    registry = reader(folder)
    assert registry.get_sample_value("x_bucket", {"le": "-1.0"}) == 1
    assert registry.get_sample_value("x_bucket", {"le": "+Inf"}) == 2
    assert registry.get_sample_value("x_sum") is None
    assert registry.get_sample_value("x_count") is None
    (family,) = text_string_to_metric_families(generate_latest(registry).decode())
    assert family.name == "x"


def test_a_file_that_has_just_been_made_does_not_spoil_a_scrape(folder):
    Worker(folder, 0).requests.labels("/a").inc()
    (folder / "counter_1.db").touch()
    assert reader(folder).get_sample_value("requests_total", {"route": "/a"}) == 1


def test_a_scrape_without_the_folder_has_processes_alone(folder):
    registry = reader(folder / "removed", lambda: {"0": os.getpid()})
    assert {family.name for family in registry.collect()} >= {"process_open_fds"}


def test_processes_have_labels_of_their_own(folder):
    registry = reader(folder, lambda: {"0": os.getpid(), PARENT: os.getppid()})
    assert registry.get_sample_value("process_resident_memory_bytes", {"worker": "0"}) > 10**6
    assert registry.get_sample_value("process_resident_memory_bytes", {"worker": PARENT}) > 0
    assert registry.get_sample_value("process_resident_memory_bytes", {"worker": "1"}) is None
    names = [family.name for family in registry.collect()]
    assert sorted(names) == sorted(set(names))


def test_workers_expose_the_metrics_of_a_single_process(folder, artifact, new_app):
    def exposed(registry: CollectorRegistry) -> set[tuple[str, str, frozenset[str]]]:
        text = generate_latest(registry).decode()
        return {
            (sample.name, family.type, frozenset(sample.labels) - {"worker"})
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    alone = new_app().metrics.registry
    count_in_files(folder, PARENT)
    restarts_counter().inc()
    registries = []
    for number in range(2):
        count_in_files(folder, str(number))
        collector = ServiceCollector(folder, lambda: {"0": os.getpid(), "1": os.getpid()})
        metrics = Metrics(collector)
        ModelMetrics(metrics, "orders", artifact)
        metrics.count_model_live("orders", artifact, alpha=0.01, threshold=1.0)
        metrics.connections.set(2)
        registries.append(metrics.registry)
    for registry in registries:
        assert exposed(registry) == exposed(alone)
        assert registry.get_sample_value("vaegis_workers") == 2
        assert registry.get_sample_value("vaegis_connections") == 4
        assert registry.get_sample_value("vaegis_requests_in_flight") == 0
        assert registry.get_sample_value("vaegis_worker_restarts_total") == 1
        assert registry.get_sample_value("vaegis_model_loads_total", {"model": "orders", "outcome": "succeeded"}) == 2
        assert registry.get_sample_value("vaegis_alpha_ratio", {"model": "orders"}) == 0.01


def test_a_single_process_counts_in_memory_whatever_the_environment_asks_for(folder):
    count_in_files(folder, "0")
    count_in_memory()
    Counter("x", "A number.", registry=None).inc()
    assert not list(folder.iterdir())


def test_the_folder_is_for_this_user_alone_and_goes_in_the_end():
    with metrics_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_the_temporary_folder_serves_where_there_is_no_shared_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(multiprocess_metrics, "_SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with metrics_folder() as folder:
        assert folder.parent == tmp_path


def test_a_service_that_can_write_nowhere_says_where_it_tried(monkeypatch, tmp_path):
    monkeypatch.setattr(multiprocess_metrics, "_SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "neither"))
    with pytest.raises(ServiceError, match=r"can be written: .*none.*neither"), metrics_folder():
        pass


def test_metrics_made_after_the_folder_is_gone_count_in_memory(monkeypatch):
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    with metrics_folder() as made:
        count_in_files(made, PARENT)
    counter = Counter("later", "How many.", registry=CollectorRegistry())
    counter.inc()
    assert counter.collect()[0].samples[0].value == 1
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ

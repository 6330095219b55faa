"""Metrics of several workers: prometheus_client's multiprocess mode, with workers' numbers instead of process ids."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

from prometheus_client import Counter, values
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

from vaegis.service.errors import ServiceError

PARENT: Final = "parent"
"""Name of the process that starts the workers, where workers are named by their numbers."""

MODEL_INFO: Final = "vaegis_model_info"
"""Name of the metric whose series end when a model is replaced."""

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder in it is made by mkdtemp, for this user alone


@contextmanager
def metrics_folder() -> Iterator[Path]:
    """Yield a new folder for the metrics of all processes of one service.

    At the end the folder is removed, and metrics that this process makes later count in memory.

    Raises:
        ServiceError: neither shared memory nor the temporary folder can be written.
    """
    folder = _new_folder()
    try:
        yield folder
    finally:
        count_in_memory()
        os.environ.pop(_FOLDER_VARIABLE, None)
        remove_metrics_folder(folder)


def remove_metrics_folder(folder: Path) -> None:
    """Remove the folder, if it is there. Processes that count in its files go on."""
    shutil.rmtree(folder, ignore_errors=True)


def count_in_files(folder: Path, process: str) -> None:
    """Make later metrics of this process count in a file of ``folder``.

    Args:
        folder: The same for all processes of a service.
        process: Number of the worker, or `PARENT`. A replacement continues the counts in its files.
    """
    os.environ[_FOLDER_VARIABLE] = str(folder)
    values.ValueClass = _value_class(process)


def count_in_memory() -> None:
    """Make later metrics count in the memory of this process, whatever the environment says."""
    values.ValueClass = values.MutexValue


def forget_worker(folder: Path, worker: int) -> None:
    """Remove the gauges of a worker that has ended; its counters and histograms stay."""
    mark_process_dead(worker, folder)


def restarts_counter(registry: CollectorRegistry | None = None) -> Counter:
    """Return the only metric that the parent counts."""
    return Counter(
        "vaegis_worker_restarts", "Processes that were started in the place of one that ended.", registry=registry
    )


def without_sum_of_signed(metric: Metric) -> Metric:
    """Return a metric without `_sum` and `_count` if it is a histogram of values that can be negative.

    Such a sum can fall, so OpenMetrics forbids it, and one of the two without the other. The library leaves out the sum
    alone, and with several processes neither.
    """
    if metric.type == "histogram" and any(sample.labels.get("le", "").startswith("-") for sample in metric.samples):
        metric.samples = [sample for sample in metric.samples if "le" in sample.labels]
    return metric


class ServiceCollector(Collector):
    """The metrics of all processes of a service: the sums over their files, and `process_*` of each that runs."""

    def __init__(self, folder: Path, pids: Callable[[], Mapping[str, int]]) -> None:
        """Read ``folder``; ``pids`` returns the processes that run, by the value of the label `worker`."""
        self._folder = folder
        self._pids = pids

    def collect(self) -> Iterator[Metric]:
        """Yield each metric, for a scrape."""
        for metric in MultiProcessCollector.merge(list(self._files())):
            if metric.name == MODEL_INFO:  # models that are no longer in use
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield without_sum_of_signed(metric)
        yield from _process_metrics(self._pids())

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names are known to be ours alone."""
        return ()

    def _files(self) -> Iterator[str]:
        for file in self._folder.glob("*.db"):
            with suppress(FileNotFoundError):  # gauges of a worker that has just ended
                if file.stat().st_size:  # a file that has just been made cannot be read yet
                    yield str(file)


def _new_folder() -> Path:
    reasons = []
    for place in (_SHARED_MEMORY, None):
        try:
            return Path(tempfile.mkdtemp(prefix="vaegis-metrics-", dir=place))
        except OSError as error:
            reasons.append(str(error))
    raise ServiceError(f"no folder for the metrics of workers can be written: {'; '.join(reasons)}")


def _value_class(process: str) -> type:
    """Return the type of one number of a metric, which is kept in a file of ``process``.

    A request counts a dozen numbers. The library's own `inc` takes a microsecond: it compares process ids, looks the
    position up, packs bytes. Here the number is increased in place.
    """
    lock = Lock()

    class WorkerValue(values.MultiProcessValue(process_identifier=lambda: process)):  # type: ignore[misc]
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)
            position = self._file._positions[self._key]  # noqa: SLF001 - as the library's own `inc` does each time
            # A file that grows is mapped anew. What was mapped before stays valid: both show the same pages.
            self._cell = memoryview(self._file._m)[position : position + 8].cast("d")  # noqa: SLF001

        def inc(self, amount: float) -> None:
            with lock:
                self._cell[0] += amount

        def get(self) -> float:
            return float(self._cell[0])

    return WorkerValue


def _process_metrics(pids: Mapping[str, int]) -> Iterator[Metric]:
    found: dict[str, Metric] = {}
    for name, pid in pids.items():
        for metric in ProcessCollector(registry=None, pid=lambda pid=pid: pid).collect():  # type: ignore[misc]
            merged = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            merged.samples += [Sample(sample.name, {"worker": name}, sample.value) for sample in metric.samples]
    yield from found.values()

"""CPU, memory and files of each process of the service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from vaegis.service.http.counting.tally import Tally

LABEL: Final = "worker"


class Processes(Collector):
    """The `process_*` metrics that prometheus_client reads from /proc: of several processes, with a label for each."""

    def __init__(self, tallies: Mapping[str, Tally] | None = None) -> None:
        """Read those of the processes that count in ``tallies``, by the values of the label; of this one if None."""
        self._tallies = tallies

    def collect(self) -> Iterator[Metric]:
        """Yield each metric, for a scrape."""
        if self._tallies is None:
            yield from ProcessCollector(registry=None).collect()
            return
        found: dict[str, Metric] = {}
        for name, tally in self._tallies.items():
            if not tally.pid:
                continue
            for metric in ProcessCollector(registry=None, pid=partial(getattr, tally, "pid")).collect():
                samples = [Sample(sample.name, {LABEL: name}, sample.value) for sample in metric.samples]
                metric.samples = samples
                if found.setdefault(metric.name, metric) is not metric:
                    found[metric.name].samples += samples
        yield from found.values()

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the names are known to be ours alone."""
        return iter(())

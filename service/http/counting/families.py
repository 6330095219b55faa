"""The metrics of a process, and the sums over all processes of the service.

prometheus_client only writes them out. Its own metrics take a microsecond and more for each number; those of several
processes share files that hold the text of every series, and each scrape reads all of them anew (docs/adr).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import numpy as np
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from vaegis.service.http.counting.kinds import Across, Counter, CounterRow, Gauge, Histogram, Series
from vaegis.service.http.counting.tally import Tally

_REDUCE: Final = {"sum": np.add, "max": np.maximum}
_Family = TypeVar("_Family", Counter, CounterRow, Gauge, Histogram)


class Families(Collector):
    """Makes metrics that count in the tally of this process, and exposes what stands there and in the others."""

    def __init__(self, tally: Tally | None = None, others: Sequence[Tally] = ()) -> None:
        """Count in ``tally``, by default one in memory of this process; ``others`` are those of other processes."""
        self._tally = Tally() if tally is None else tally
        self._others = others
        self._families: dict[str, Counter | CounterRow | Gauge | Histogram] = {}

    def counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        """Make a counter; ``name`` is without `_total`."""
        return self._registered(Counter(self._tally, name, documentation, tuple(labels)))

    def counter_row(self, name: str, documentation: str, label: str, values: Sequence[str | None]) -> CounterRow:
        """Make a counter with one label, of which all ``values`` are known; ``name`` is without `_total`."""
        return self._registered(CounterRow(self._tally, name, documentation, label, values))

    def histogram(
        self, name: str, documentation: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """Make a histogram; ``bounds`` are the upper ones of its buckets, ascending, finite."""
        return self._registered(Histogram(self._tally, name, documentation, bounds, tuple(labels)))

    def gauge(self, name: str, documentation: str, labels: Sequence[str] = (), across: Across = "sum") -> Gauge:
        """Make a gauge, for which the sum ``across`` processes counts or the greatest."""
        return self._registered(Gauge(self._tally, name, documentation, tuple(labels), across))

    def refresh(self) -> None:
        """Ask the functions that gauges follow, so that other processes see what they say."""
        for family in self._families.values():
            if isinstance(family, Gauge):
                family.refresh()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with the sums over all processes, for a scrape."""
        self.refresh()
        numbers = self._numbers()
        for family in self._families.values():
            yield family.metric(numbers.get(family.name, {}))

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without numbers, by which a registry finds names given twice."""
        for family in self._families.values():
            yield family.metric({})

    def _registered(self, family: _Family) -> _Family:
        if family.name in self._families:
            raise ValueError(f"metrics: expected the name {family.name} once, got it twice")
        self._families[family.name] = family
        return family

    def _numbers(self) -> dict[str, Series]:
        found: dict[str, Series] = {}
        for tally in (self._tally, *self._others):
            is_alive = tally is self._tally or tally.pid
            for entry in tally.entries():
                family = self._families.get(entry.name)
                if family is None or (entry.kind == "gauge" and not is_alive):
                    continue
                reduce = _REDUCE[family.across if isinstance(family, Gauge) else "sum"]
                series = found.setdefault(entry.name, {})
                values = np.array(tally.cells(entry))
                so_far = series.get(entry.labels)
                series[entry.labels] = values if so_far is None else reduce(so_far, values)
        return found

"""A Prometheus histogram that takes a whole batch of values at once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class BulkHistogram(Collector):
    """A histogram without labels. The client library's own takes one value at a time, microseconds for each.

    Where the least bound is negative, the sum could fall, which no counter may: sum and count are left out then, as
    OpenMetrics asks, and the bucket for all values is the count.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        """Register the histogram.

        Args:
            name: Name of the metric, with its unit.
            documentation: One sentence for the scrape.
            bounds: Upper bounds of the buckets, ascending, finite; a last one for all greater values is added.
            registry: Where to register.
        """
        self._name = name
        self._documentation = documentation
        self._searched = [*bounds]
        self._bounds = np.array(bounds)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        self._lock = Lock()
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count each of ``values``, shape (n,), in the first bucket whose bound is at least as great."""
        if values.size == 1:
            self._observe_one(values.item())
            return
        bucket = self._bounds.searchsorted(values)
        counts = np.bincount(bucket, minlength=len(self._counts))
        total = float(values.sum())
        with self._lock:
            self._counts += counts
            self._sum += total

    def _observe_one(self, value: float) -> None:
        bucket = bisect_left(self._searched, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value

    def collect(self) -> Iterator[Metric]:
        """Yield the one metric, for a scrape."""
        with self._lock:
            cumulative = np.cumsum(self._counts).tolist()
            total = self._sum
        labels = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(labels, cumulative, strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)

    def describe(self) -> Iterator[Metric]:
        """Yield the metric without its values, by which the registry finds names given twice."""
        yield HistogramMetricFamily(self._name, self._documentation)

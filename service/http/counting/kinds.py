"""Counters, gauges and histograms whose numbers stand in a tally."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from vaegis.service.http.counting.tally import Labels, Tally

Series = dict[Labels, NDArray[np.float64]]
Across = Literal["sum", "max"]


class Count:
    """One number that only grows."""

    __slots__ = ("_cells", "_lock")

    def __init__(self, tally: Tally, name: str, labels: Labels) -> None:
        """Count on from where ``tally`` stands."""
        self._cells = tally.series(name, labels, 1)
        self._lock = tally.lock

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount``."""
        with self._lock:
            self._cells[0] += amount


class Distribution:
    """How many values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "_bounds_array", "_cells", "_lock", "_view")

    def __init__(self, tally: Tally, name: str, labels: Labels, bounds: Sequence[float]) -> None:
        """Count on from where ``tally`` stands."""
        self._bounds = bounds
        self._bounds_array = np.array(bounds)
        self._cells = tally.series(name, labels, len(bounds) + 2)  # a last bucket for all that is greater, and the sum
        self._view = np.asarray(self._cells)
        self._lock = tally.lock

    def observe(self, value: float) -> None:
        """Count ``value`` in the first bucket whose bound is at least as great."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._cells[bucket] += 1.0
            self._cells[-1] += value

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count each of ``values``, shape (n,)."""
        if len(values) == 1:
            self.observe(float(values[0]))
            return
        buckets = self._bounds_array.searchsorted(values)
        counts = np.bincount(buckets, minlength=len(self._bounds) + 1)
        total = float(values.sum())
        with self._lock:
            self._view[:-1] += counts
            self._cells[-1] += total


class Counter:
    """A counter, with or without labels."""

    def __init__(self, tally: Tally, name: str, documentation: str, labels: Labels) -> None:
        """Name it, without `_total`."""
        self.name = name
        self._tally = tally
        self._documentation = documentation
        self._labels = labels
        self._children: dict[Labels, Count] = {}
        self._own = None if labels else self.labels()

    def labels(self, *values: str) -> Count:
        """Return the number for some values of the labels, which starts at 0."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Count(self._tally, self.name, values)
        return child

    def inc(self, amount: float = 1.0) -> None:
        """Add ``amount`` to a counter without labels."""
        if self._own is None:
            raise ValueError(f"{self.name}: expected values of {self._labels}, got none")
        self._own.inc(amount)

    def metric(self, series: Series) -> Metric:
        """Return the metric with the given numbers."""
        family = CounterMetricFamily(self.name, self._documentation, labels=self._labels)
        for values, numbers in series.items():
            family.add_metric(values, numbers[0])
        return family


class CounterRow:
    """A counter with one label whose values are known, all counted at once."""

    def __init__(self, tally: Tally, name: str, documentation: str, label: str, values: Sequence[str | None]) -> None:
        """Name it, without `_total`; each of ``values`` starts at 0, and the places that are None are not shown."""
        self.name = name
        self._documentation = documentation
        self._label = label
        self._values = values
        self._lock = tally.lock
        self._view = np.asarray(tally.series(name, (), len(values)))

    def add(self, counts: NDArray[np.int64]) -> None:
        """Add ``counts``, shape (len(values),), in their order."""
        with self._lock:
            np.add(self._view, counts, out=self._view)

    def metric(self, series: Series) -> Metric:
        """Return the metric with the given numbers."""
        family = CounterMetricFamily(self.name, self._documentation, labels=(self._label,))
        for numbers in series.values():
            for value, number in zip(self._values, numbers, strict=True):
                if value is not None:
                    family.add_metric((value,), number)
        return family


class Histogram:
    """A histogram, with or without labels.

    Where the least bound is negative, the sum could fall, which no counter may: sum and count are left out then, as
    OpenMetrics asks, and the bucket for all values is the count.
    """

    def __init__(self, tally: Tally, name: str, documentation: str, bounds: Sequence[float], labels: Labels) -> None:
        """Name it; ``bounds`` are the upper ones of its buckets, ascending, finite."""
        self.name = name
        self._tally = tally
        self._documentation = documentation
        self._bounds = tuple(float(bound) for bound in bounds)
        self._written = [*map(floatToGoString, self._bounds), "+Inf"]
        self._labels = labels
        self._children: dict[Labels, Distribution] = {}
        self._own = None if labels else self.labels()

    def labels(self, *values: str) -> Distribution:
        """Return the distribution for some values of the labels."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = Distribution(self._tally, self.name, values, self._bounds)
        return child

    def observe(self, value: float) -> None:
        """Count ``value`` in a histogram without labels."""
        self._only().observe(value)

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count each of ``values``, shape (n,), in a histogram without labels."""
        self._only().observe_all(values)

    def metric(self, series: Series) -> Metric:
        """Return the metric with the given numbers."""
        family = HistogramMetricFamily(self.name, self._documentation, labels=self._labels)
        for values, numbers in series.items():
            cumulative = np.cumsum(numbers[:-1]).tolist()
            family.add_metric(values, list(zip(self._written, cumulative, strict=True)), sum_value=numbers[-1])
        return family

    def _only(self) -> Distribution:
        if self._own is None:
            raise ValueError(f"{self.name}: expected values of {self._labels}, got none")
        return self._own


class Gauge:
    """A number that can fall. What several processes say is added up, or the greatest of it counts."""

    def __init__(self, tally: Tally, name: str, documentation: str, labels: Labels, across: Across) -> None:
        """Name it, and say what counts ``across`` processes."""
        self.name = name
        self.across = across
        self._tally = tally
        self._documentation = documentation
        self._labels = labels
        self._function: Callable[[], float] | None = None
        self._cells: dict[Labels, memoryview[float]] = {}
        if not labels:
            self.set(0.0)

    def set(self, number: float, *values: str) -> None:
        """Set the gauge, for some ``values`` of its labels."""
        cells = self._cells.get(values)
        if cells is None:
            cells = self._cells[values] = self._tally.series(self.name, values, 1, "gauge")
        cells[0] = number

    def set_function(self, function: Callable[[], float]) -> None:
        """Have the gauge follow a function, as often as `Families.refresh` is called."""
        self._function = function

    def refresh(self) -> None:
        """Ask the function, if there is one."""
        if self._function is not None:
            self.set(self._function())

    def metric(self, series: Series) -> Metric:
        """Return the metric with the given numbers."""
        family = GaugeMetricFamily(self.name, self._documentation, labels=self._labels)
        for values, numbers in series.items():
            family.add_metric(values, numbers[0])
        return family

"""Counts over time, or over the rows of a file, in memory that does not grow with the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, cycle, repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.report.scores import bars_of

WIDTH: Final = 720.0
HEIGHT: Final = 150.0
_MOST_INTERVALS: Final = 2048
_SHOWN_INTERVALS: Final = 120
_FEW_INTERVALS: Final = 12  # that are not merged for having few records
_USUAL_RECORDS: Final = 50  # of an interval at least, so that shares are not all chance
_MOST_SIGNATURES: Final = 200
_OUTERMOST: Final = 0.001
_FEW_RECORDS: Final = 20
_FIRST_STEP_S: Final = 60.0
_TICKS: Final = 5
_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60))


@dataclass(frozen=True, slots=True)
class SeriesChart:
    """Counts of anomalies by interval.

    Attributes:
        bars: x, y, width and height of each bar.
        highest: Anomalies in the highest.
        when: Label of the interval of the highest.
    """

    bars: tuple[tuple[float, float, float, float], ...]
    highest: int
    when: str


@dataclass(frozen=True, slots=True)
class TimelineChart:
    """The flagged share by interval.

    Attributes:
        column: The column of times; None for rows.
        bars: x, y, width and height of the share of each interval with at least 20 records.
        records: The same of the number of records.
        alpha: y of alpha.
        highest: The share of the highest bar.
        most_records: Records of the fullest interval.
        ticks: x and label.
        interval: Length of an interval in words.
        outside: Records that lie outside of the chart.
        timeless: Records without a time.
    """

    column: str | None
    bars: tuple[tuple[float, float, float, float], ...]
    records: tuple[tuple[float, float, float, float], ...]
    alpha: float
    highest: float
    most_records: int
    ticks: tuple[tuple[float, str], ...]
    interval: str
    outside: int
    timeless: int


class Timeline:
    """Counts records and anomalies by interval. Intervals are made longer when there would be too many of them."""

    def __init__(self, column: str | None) -> None:
        """Begin; ``column`` has the times, and None stands for the position of a record."""
        self._column = column
        self._step = 1.0 if column is None else _FIRST_STEP_S
        # 10, 50, 100, 500 and so on; or 5 and 15 minutes, 1, 3, 6 and 12 hours, a day, a week, and then doubled.
        self._factors = chain((10,), cycle((5, 2))) if column is None else chain((5, 3, 4, 3, 2, 2, 2, 7), repeat(2))
        self._records: Counter[int] = Counter()
        self._flagged: Counter[int] = Counter()
        self._by_signature: dict[str, Counter[int]] = {}
        self._timeless = 0

    def add(self, positions: NDArray[np.float64], flagged: NDArray[np.bool_], signatures: Sequence[str | None]) -> None:
        """Count records.

        Args:
            positions: Seconds since 1970, NaN where there is no time, or positions; shape (n,).
            flagged: Which are anomalies, shape (n,).
            signatures: Their signatures.
        """
        has_time = ~np.isnan(positions)
        self._timeless += int(np.count_nonzero(~has_time))
        keys = np.floor(np.where(has_time, positions, 0.0) / self._step).astype(np.int64)
        _count(self._records, keys[has_time])
        _count(self._flagged, keys[has_time & flagged])
        for row in np.flatnonzero(has_time & flagged).tolist():
            signature = signatures[row] or ""
            if signature in self._by_signature or len(self._by_signature) < _MOST_SIGNATURES:
                self._by_signature.setdefault(signature, Counter())[int(keys[row])] += 1
        while len(self._records) > _MOST_INTERVALS:
            self._lengthen()

    def chart(self, alpha: float) -> TimelineChart | None:
        """Return the flagged share by interval, None if there are not two of them."""
        if len(self._records) < 2:  # noqa: PLR2004 - one bar shows no time
            return None
        first, last = self._shown_range()
        records, flagged = (self._heights(counts, first, last) for counts in (self._records, self._flagged))
        shares = np.where(records >= min(_FEW_RECORDS, records.max()), flagged / np.maximum(records, 1), 0.0)
        highest = max(float(shares.max()), 2 * alpha)
        # `bars_of` makes its greatest value fill the height, so the scale of the shares comes as one more bar.
        scaled = bars_of(np.append(shares, highest), WIDTH * (len(shares) + 1) / len(shares), HEIGHT)
        return TimelineChart(
            self._column,
            tuple(bar for bar in scaled if bar[0] < WIDTH - 1e-6),
            bars_of(records, WIDTH, HEIGHT / 3),
            round(HEIGHT * (1 - alpha / highest), 1),
            highest,
            int(records.max()),
            self._ticks(first, last),
            self._interval(),
            int(sum(self._records.values()) - records.sum()),
            self._timeless,
        )

    def signature_chart(self, signature: str) -> SeriesChart:
        """Return the anomalies of one signature by interval, over the range of `chart`."""
        first, last = self._shown_range()
        heights = self._heights(self._by_signature.get(signature, Counter()), first, last)
        when = self._label((first + int(heights.argmax())) * self._step)
        return SeriesChart(bars_of(heights, WIDTH / 2, 24.0), int(heights.max()), when)

    def _shown_range(self) -> tuple[int, int]:
        """Return the first and the last interval that are shown, once intervals are long enough."""
        while True:
            keys = sorted(self._records)
            counts = np.cumsum([self._records[key] for key in keys])
            low, high = np.searchsorted(counts, [_OUTERMOST * counts[-1], (1 - _OUTERMOST) * counts[-1]])
            first, last = keys[int(low)], keys[min(int(high), len(keys) - 1)]
            intervals = last - first + 1
            is_sparse = intervals > _FEW_INTERVALS and counts[-1] < _USUAL_RECORDS * intervals
            if intervals <= _SHOWN_INTERVALS and not is_sparse:
                return first, last
            self._lengthen()

    def _lengthen(self) -> None:
        """Merge intervals into the next longer ones that people use."""
        factor = next(self._factors)
        self._step *= factor
        for counts in (self._records, self._flagged, *self._by_signature.values()):
            merged: Counter[int] = Counter()
            for key, count in counts.items():
                merged[key // factor] += count
            counts.clear()
            counts.update(merged)

    def _heights(self, counts: Counter[int], first: int, last: int) -> NDArray[np.float64]:
        return np.array([counts[key] for key in range(first, last + 1)], dtype=np.float64)

    def _ticks(self, first: int, last: int) -> tuple[tuple[float, str], ...]:
        places = np.linspace(0, last - first + 1, _TICKS)
        return tuple(
            (round(WIDTH * at / (last - first + 1), 1), self._label((first + at) * self._step))
            for at in places.tolist()
        )

    def _label(self, position: float) -> str:
        if self._column is None:
            return f"{int(position) + 1:,}"
        try:
            moment = datetime.fromtimestamp(position, UTC)
        except (OverflowError, OSError, ValueError):
            return f"{position:.3g} s"
        return moment.strftime("%Y-%m-%d" if self._step > 86400 else "%Y-%m-%d %H:%M")  # noqa: PLR2004 - a day

    def _interval(self) -> str:
        if self._column is None:
            return f"{int(self._step):,} records"
        unit, seconds = next(pair for pair in _UNITS if self._step >= pair[1])
        length = int(self._step / seconds)
        return f"{length:,} {unit}" if length == 1 else f"{length:,} {unit}s"


def _count(counts: Counter[int], keys: NDArray[np.int64]) -> None:
    values, numbers = np.unique(keys, return_counts=True)
    for key, number in zip(values.tolist(), numbers.tolist(), strict=True):
        counts[key] += number

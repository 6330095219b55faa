"""What one model counts: the records that it scores, and those of its shadow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.artifact import Artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import Fault
from vaegis.service.http.observability.metrics import SHADOW_VERDICTS, BoundHistogram, Metrics
from vaegis.service.records.kinds import kind_of
from vaegis.service.verdicts import Verdicts

_SCORE_FRACTIONS: Final = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_SCORE_TAIL_DOUBLINGS: Final = 10


class ModelMetrics:
    """The metrics of what one model scores, bound to its name so that counting looks nothing up.

    Attributes:
        model: The name by which it is served.
        generated: Records generated.
    """

    def __init__(self, metrics: Metrics, model: str, artifact: Artifact) -> None:
        columns, checked = artifact.contract.columns.columns, artifact.contract.columns.of_records.columns
        names = [column.name for column in columns]
        known = [c.name if kind_of(c).known_categories(c) is not None else None for c in columns]
        ranged = [c.name if math.isfinite(kind_of(c).observed_range(c)[0]) else None for c in columns]
        self.model = model
        self.generated = metrics.generated.labels(model)
        self._scored = metrics.scored.labels(model)
        self._flagged = metrics.flagged.labels(model)
        self._by_signature = metrics.signature_counters(model)
        self._violating = metrics.violating.labels(model)
        self._score = BoundHistogram(metrics.scores.of(model, score_buckets(artifact.calibration_folds)))
        self._p_value = BoundHistogram(metrics.p_value.labels(model))
        self._batch_records = BoundHistogram(metrics.batch_records.labels(model))
        self._inference_seconds = BoundHistogram(metrics.inference_seconds.labels(model))
        self._refused = metrics.refused
        self._violations = {
            (column.name, check.code): metrics.violations.labels(model, column.name, check.code.value)
            for column in checked
            for check in column.checks
        }
        self._column_counter = ColumnCounter(artifact.contract.columns)
        by_column = (
            (metrics.column_missing, names),
            (metrics.column_unseen, known),
            (metrics.column_out_of_range, ranged),
        )
        self._unusual = [
            {at: counter.labels(model, name) for at, name in enumerate(shown) if name is not None}
            for counter, shown in by_column
        ]

    def count_scored(self, columns: Columns, verdicts: Verdicts) -> None:
        """Count scored records."""
        self._scored.inc(len(verdicts.score))
        if flagged := int(np.count_nonzero(verdicts.is_anomaly)):
            self._flagged.inc(flagged)
            self._by_signature.count(filter(None, verdicts.signature))
        self._score.observe_all(verdicts.score)
        self._p_value.observe_all(verdicts.p_value)
        if any(verdicts.violations):
            for violation in chain.from_iterable(verdicts.violations):
                self._violations[violation.column, violation.code].inc()
            self._violating.inc(sum(map(bool, verdicts.violations)))
        counts = self._column_counter.count(columns)
        if counts is None:
            return
        for counters, found in zip(self._unusual, counts, strict=True):
            for at in found.nonzero()[0].tolist():
                counters[at].inc(float(found[at]))

    def count_batch(self, records: int, seconds: float) -> None:
        """Count a request whose records are scored, which took the model so many ``seconds``."""
        self._batch_records.observe(records)
        self._inference_seconds.observe(seconds)

    def count_refused(self, faults: Iterable[Fault]) -> None:
        """Count each record among ``faults`` once, by the code of its first fault."""
        first: dict[int, str] = {}
        for fault in faults:
            if fault.row is None:
                continue  # the header's, before any record was looked at
            first.setdefault(fault.row, fault.code)
        for code in first.values():
            self._refused.labels(self.model, code).inc()


class ShadowMetrics:
    """The metrics of one version of a model in the shadow of the live one."""

    def __init__(self, metrics: Metrics, model: str, live: str, version: str) -> None:
        self._labels = labels = (model, live, version)
        *self.verdicts, self.dropped, self.failed = (
            metrics.shadow_records.labels(*labels, verdict) for verdict in SHADOW_VERDICTS
        )
        self._apart = BoundHistogram(metrics.shadow_apart.labels(*labels))
        self._leading = metrics.shadow_leading

    def count_compared(self, live: NDArray[np.bool_], candidate: NDArray[np.bool_], apart: NDArray[np.float64]) -> None:
        """Count records, each of shape (n,), by who flags them and how far apart their p-values are."""
        counts = np.bincount(live + 2 * candidate.astype(np.intp), minlength=len(self.verdicts))
        for counter, count in zip(self.verdicts, counts.tolist(), strict=True):
            counter.inc(count)
        self._apart.observe_all(apart)

    def count_leading(self, vanished: str, appeared: str) -> None:
        """Count a flagged record to which ``vanished`` contributes most live, and ``appeared`` in shadow."""
        self._leading.labels(*self._labels, vanished, "vanished").inc()
        self._leading.labels(*self._labels, appeared, "appeared").inc()


class ColumnCounter:
    """Counts by column, for one schema."""

    def __init__(self, schema: Schema) -> None:
        """Prepare ranges and known categories of ``schema`` as arrays and sets, so that counting is cheap."""
        self._width = len(schema.columns)
        self._number_positions = np.array(schema.number_positions, dtype=np.intp)
        self._string_positions = np.array(schema.string_positions, dtype=np.intp)
        numbers = [schema.columns[i] for i in schema.number_positions]
        ranges = [kind_of(column).observed_range(column) for column in numbers]
        self._minimum, self._maximum = np.array(ranges).reshape(-1, 2).T
        strings = [schema.columns[i] for i in schema.string_positions]
        self._known = [kind_of(column).known_categories(column) for column in strings]

    def count(self, columns: Columns) -> NDArray[np.int64] | None:
        """Return how many values of each column are null, unseen and out of range, shape (3, D); None if none is."""
        numbers, observed = columns.numbers, columns.strings_observed
        inside = (numbers >= self._minimum) & (numbers <= self._maximum)  # no null is
        unseen = self._unseen(columns)
        if np.count_nonzero(inside) == inside.size and np.count_nonzero(observed) == observed.size and not any(unseen):
            return None
        is_null = np.isnan(numbers)
        counts = np.zeros((3, self._width), dtype=np.int64)
        counts[0, self._number_positions] = is_null.sum(axis=0)
        counts[0, self._string_positions] = (~observed).sum(axis=0)
        counts[1, self._string_positions] = unseen
        counts[2, self._number_positions] = (~(inside | is_null)).sum(axis=0)
        return counts

    def _unseen(self, columns: Columns) -> list[int]:
        """Return how many unknown categories each column of strings holds."""
        found = []
        for at, known in enumerate(self._known):
            values = columns.strings[:, at].tolist()
            if known is None or known.issuperset(values):
                found.append(0)
            else:
                pairs = zip(values, columns.strings_observed[:, at].tolist(), strict=True)
                found.append(sum(is_there and value not in known for value, is_there in pairs))
        return found


def score_buckets(folds: Sequence[NDArray[np.float64]]) -> Sequence[float]:
    """Return bounds that resolve the scores of normal records, then double their distance from the greatest of them."""
    scores = np.concatenate(folds)
    body = np.quantile(scores, _SCORE_FRACTIONS)
    greatest = float(scores.max())
    spread = max(greatest - float(np.median(scores)), abs(greatest) / 10, 1.0)
    tail = [greatest + spread * (2**i - 1) for i in range(_SCORE_TAIL_DOUBLINGS)]
    return sorted({float(f"{bound:.3g}") for bound in (*body, *tail)})

"""Every metric of the service; `docs/metrics.md` says what each means and what to do when it moves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from vaegis.service.artifact import Artifact
from vaegis.service.callers.keyring import Outcome
from vaegis.service.columns import Columns
from vaegis.service.contract import Column
from vaegis.service.errors import Fault
from vaegis.service.http.column_counts import ColumnCounter
from vaegis.service.http.counting.families import Families
from vaegis.service.http.counting.kinds import Count, CounterRow, Distribution
from vaegis.service.http.counting.processes import Processes
from vaegis.service.http.server.limits import CUT_REASONS
from vaegis.service.http.workers.board import RESTARTS
from vaegis.service.records.values import rule_of
from vaegis.service.verdicts import Verdicts

OTHER: Final = "_OTHER"
"""Label value for what is outside a bounded set: unknown paths, unknown methods."""

SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
P_VALUE_BUCKETS: Final = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
BATCH_BUCKETS: Final = tuple(2**i for i in range(15))

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_SCORE_FRACTIONS: Final = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_SCORE_TAIL_DOUBLINGS: Final = 10


class Metrics:
    """The metrics of one app, in a registry of its own."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        alpha: float,
        threshold: float,
        families: Families | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Register all metrics and set those that the model alone decides.

        Args:
            artifact: The model.
            alpha: Share of normal records that may be flagged, where a request does not say.
            threshold: At that alpha.
            families: Where to count; by default in this process alone.
            processes: What tells of the service's processes; by default of this one alone.
        """
        self.registry = CollectorRegistry()
        self.families = Families() if families is None else families
        self._counter = ColumnCounter(artifact.contract.columns)
        self._of_requests: dict[tuple[str, str, int], tuple[Count, Distribution]] = {}
        self._register_traffic()
        self._register_callers()
        self._register_records(artifact)
        self._register_model(artifact, alpha, threshold)
        self.registry.register(self.families)
        self.registry.register(Processes() if processes is None else processes)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. ``route`` is a route's template or `OTHER`, never a path."""
        of_requests = self._of_requests.get((method, route, status))
        if of_requests is None:  # finding a series by its labels costs more than counting
            labels = (method if method in METHODS else OTHER, route, str(status))
            of_requests = self._requests.labels(*labels), self._request_seconds.labels(*labels)
            if method in METHODS:  # others are without number
                self._of_requests[method, route, status] = of_requests
        count, duration = of_requests
        count.inc()
        duration.observe(seconds)

    def count_scored(self, columns: Columns, verdicts: Verdicts) -> None:
        """Count scored records."""
        self._scored.inc(len(columns))
        if flagged := int(np.count_nonzero(verdicts.is_anomaly)):
            self._flagged.inc(flagged)
        self._score.observe_all(verdicts.score)
        self._p_value.observe_all(verdicts.p_value)
        counts = self._counter.count(columns)
        if counts is None:
            return
        self._column_missing.add(counts.missing)
        self._column_unseen.add(counts.unseen)
        self._column_out_of_range.add(counts.out_of_range)

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
            self._refused.labels(code).inc()

    def count_cut(self, reason: str) -> None:
        """Count a connection that was cut, for one of `server.limits.CUT_REASONS`."""
        self._connections_cut.labels(reason).inc()

    def count_model_ready(self) -> None:
        """Count a model that was loaded and verified, and note the time."""
        self._loads.labels("succeeded").inc()
        self._loaded.set(time.time())

    def count_key_reload(self, outcome: Outcome) -> None:
        """Count a file of keys that changed."""
        self._key_reloads.labels(outcome).inc()

    def _register_callers(self) -> None:
        self._key_reloads = self.families.counter("vaegis_key_reloads", "Changes of the file of keys.", ("outcome",))
        for outcome in ("succeeded", "failed"):
            self._key_reloads.labels(outcome)
        self.log_lines_dropped = self.families.counter(
            "vaegis_log_lines_dropped", "Lines of the log that nobody took in time."
        )

    def _register_traffic(self) -> None:
        new, request = self.families, ("method", "route", "status")
        self._requests = new.counter("vaegis_requests", "HTTP requests answered.", request)
        self._request_seconds = new.histogram(
            "vaegis_request_duration_seconds",
            "Time from a request's headers to the end of its answer.",
            SECONDS_BUCKETS,
            request,
        )
        self.requests_in_flight = new.gauge("vaegis_requests_in_flight", "Requests being read, queued or computed.")
        self.connections = new.gauge("vaegis_connections", "Open connections.")
        self._connections_cut = new.counter(
            "vaegis_connections_cut", "Connections that a limit ended, by the limit.", ("reason",)
        )
        for reason in CUT_REASONS:
            self._connections_cut.labels(reason)
        self.queue_seconds = new.histogram(
            "vaegis_queue_seconds",
            "Time from the end of a body, or of a part of a stream, to the start of its computation.",
            SECONDS_BUCKETS,
        )
        self._inference_seconds = new.histogram(
            "vaegis_inference_seconds", "Time that the model takes for a request's records.", SECONDS_BUCKETS
        )
        new.gauge("vaegis_workers", "Processes that answer requests.").set(1)
        new.counter(RESTARTS, "Processes that were started in the place of one that ended.")

    def _register_records(self, artifact: Artifact) -> None:
        new = self.families
        self._scored = new.counter("vaegis_records_scored", "Records scored.")
        self._flagged = new.counter("vaegis_records_flagged", "Scored records that are anomalies.")
        self._refused = new.counter(
            "vaegis_records_refused", "Records at fault, by the code of their first fault.", ("code",)
        )
        self.records_generated = new.counter("vaegis_records_generated", "Records generated.")
        self._batch_records = new.histogram("vaegis_batch_records", "Records in a scored request.", BATCH_BUCKETS)
        self._score = new.histogram("vaegis_score", "Scores; 0 is typical.", score_buckets(artifact.calibration_folds))
        self._p_value = new.histogram("vaegis_p_value", "p-values of scored records.", P_VALUE_BUCKETS)
        columns = artifact.contract.columns.columns
        self._column_missing = self._column_counter("missing", "Scored records in which the column is null.", columns)
        self._column_unseen = self._column_counter(
            "unseen",
            "Scored records with a category unknown to training.",
            [column if column.kind == "categorical" else None for column in columns],
        )
        self._column_out_of_range = self._column_counter(
            "out_of_range",
            "Scored records with a number outside the range seen in training.",
            [column if rule_of(column) in ("numeric", "indicator") else None for column in columns],
        )

    def _register_model(self, artifact: Artifact, alpha: float, threshold: float) -> None:
        new, provenance = self.families, artifact.contract.provenance
        info = new.gauge("vaegis_model_info", "The model in use; always 1.", ("model", "digest", "version"), "max")
        info.set(1, provenance.model_name, f"sha256:{artifact.digest}", provenance.vaegis_version)
        new.gauge("vaegis_alpha_ratio", "Share of normal records that may be flagged.", across="max").set(alpha)
        new.gauge("vaegis_threshold", "Score above which a record is flagged.", across="max").set(threshold)
        new.gauge("vaegis_calibration_records", "Scores behind the p-values.", across="max").set(
            artifact.contract.calibration.records
        )
        self._loaded = new.gauge(
            "vaegis_model_loaded_timestamp_seconds", "When the model in use became ready.", across="max"
        )
        self._loads = new.counter("vaegis_model_loads", "Attempts to load a model.", ("outcome",))
        for outcome in ("succeeded", "failed"):
            self._loads.labels(outcome)

    def _column_counter(self, what: str, documentation: str, columns: Sequence[Column | None]) -> CounterRow:
        names = [None if column is None else column.name for column in columns]
        return self.families.counter_row(f"vaegis_column_{what}", documentation, "column", names)


def score_buckets(folds: Sequence[NDArray[np.float64]]) -> Sequence[float]:
    """Return bounds that resolve the scores of normal records, then double their distance from the greatest of them.

    Args:
        folds: Calibration scores of each fold.
    """
    scores = np.concatenate(folds)
    body = np.quantile(scores, _SCORE_FRACTIONS)
    greatest = float(scores.max())
    spread = max(greatest - float(np.median(scores)), abs(greatest) / 10, 1.0)
    tail = [greatest + spread * (2**i - 1) for i in range(_SCORE_TAIL_DOUBLINGS)]
    return sorted({float(f"{bound:.3g}") for bound in (*body, *tail)})

"""Every metric of the service; `docs/metrics.md` says what each means and what to do when it moves."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from vaegis.service.artifact import Artifact
from vaegis.service.auth.keys import ReloadOutcome
from vaegis.service.http.observability.multiprocess_metrics import MODEL_INFO, restarts_counter, without_sum_of_signed
from vaegis.service.http.routes import METHODS, OTHER
from vaegis.service.http.schemas import shown_digest
from vaegis.service.http.server.interface import CUT_REASONS

SECONDS_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
P_VALUE_BUCKETS: Final = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
BATCH_BUCKETS: Final = tuple(2**i for i in range(15))
_OUTCOMES: Final = ("succeeded", "failed")
SHADOW_VERDICTS: Final = ("neither", "live", "candidate", "both", "dropped", "failed")
"""Who flags a record, or why it was not compared."""
APART_BUCKETS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
BY_SIGNATURE: Final = "vaegis_anomalies_by_signature_total"
MOST_SIGNATURES: Final = 50
"""Signatures of one model that each worker counts by themselves; it counts all others as `OTHER_SIGNATURES`."""
OTHER_SIGNATURES: Final = "other"
_DRILL_OUTCOMES: Final = ("flagged", "missed")
_BY_MODEL: Final = ("model",)
_INFO_LABELS: Final = ("model", "digest", "version")


class BoundHistogram:
    """One series of a histogram, which observes many values at once. The library observes them one by one."""

    def __init__(self, histogram: Histogram) -> None:
        self._sum = histogram._sum  # noqa: SLF001 - the library has no other way to add several at once
        self._buckets = histogram._buckets  # noqa: SLF001
        self._bounds = histogram._upper_bounds[:-1]  # noqa: SLF001 - the last is infinity
        self._bounds_array = np.array(self._bounds)

    def observe(self, value: float) -> None:
        """Count ``value`` in the first bucket whose bound is at least as great."""
        self._buckets[bisect_left(self._bounds, value)].inc(1.0)
        self._sum.inc(value)

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Count each of ``values``, shape (n,)."""
        if len(values) == 1:
            self.observe(float(values[0]))
            return
        counts = np.bincount(self._bounds_array.searchsorted(values))
        for bucket in counts.nonzero()[0].tolist():
            self._buckets[bucket].inc(float(counts[bucket]))
        self._sum.inc(float(values.sum()))


class ScoreHistograms(Collector):
    """One histogram of scores for each model, with buckets of its own. The library has the same buckets for all."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._of_models: dict[str, Histogram] = {}

    def of(self, model: str, buckets: Sequence[float]) -> Histogram:
        """Return the histogram of a model; ``buckets`` hold from its first use, so that its series continue."""
        histogram = self._of_models.get(model)
        if histogram is None:
            histogram = Histogram(self._name, self._documentation, ("model",), buckets=buckets, registry=None)
            self._of_models[model] = histogram
        found: Histogram = histogram.labels(model)
        return found

    def collect(self) -> Iterable[Metric]:
        """Return one metric with the samples of all models."""
        merged = Metric(self._name, self._documentation, "histogram")
        for histogram in list(self._of_models.values()):
            for metric in histogram.collect():
                merged.samples += metric.samples
        return [without_sum_of_signed(merged)]

    def describe(self) -> Iterable[Metric]:
        """Return the metric without samples."""
        return [Metric(self._name, self._documentation, "histogram")]


class SignatureCounters:
    """A counter with the labels `model` and `signature`. The first signatures of a model have counts of their own."""

    def __init__(self, counter: Counter, model: str, known: Iterable[str]) -> None:
        """Bind the signatures in ``known``, which have been counted before, and the one of all others."""
        self._counter, self._model = counter, model
        self._counters = {signature: counter.labels(model, signature) for signature in {*known, OTHER_SIGNATURES}}

    def count(self, signatures: Iterable[str]) -> None:
        """Count one anomaly for each signature."""
        for signature in signatures:
            counter = self._counters.get(signature)
            if counter is None:
                counter = self._counters[OTHER_SIGNATURES]
                if len(self._counters) <= MOST_SIGNATURES:
                    counter = self._counters[signature] = self._counter.labels(self._model, signature)
            counter.inc()


class Metrics:
    """The metrics of one app, in a registry of its own.

    Attributes:
        registry: What `GET /metrics` exposes.
    """

    def __init__(self, collector: Collector | None = None) -> None:
        """Make all metrics; ``collector`` collects those of all processes, if this is one of several workers."""
        disable_created_metrics()  # the time at which a process began says little if others continue its counts
        self.registry = CollectorRegistry()
        self.scores = ScoreHistograms("vaegis_score", "Scores; 0 is typical.")
        if collector is None:
            self._registry: CollectorRegistry | None = self.registry
            ProcessCollector(registry=self.registry)
            self.registry.register(self.scores)
        else:
            self._registry = None  # the metrics count in files, from which ``collector`` collects
            self.registry.register(collector)
        self._of_requests: dict[tuple[str, str, int], tuple[Counter, BoundHistogram]] = {}
        self._of_signatures: dict[str, SignatureCounters] = {}
        self._make_traffic()
        self._make_records()
        self._make_shadow()
        self._make_model()

    def signature_counters(self, model: str) -> SignatureCounters:
        """Return the counters of a model, which its next version will continue."""
        if model not in self._of_signatures:
            # A worker in the place of one that ended continues with what all have counted, so that no more are added.
            found = self.registry.collect() if self._registry is None else ()
            samples = (sample for metric in found for sample in metric.samples if sample.name == BY_SIGNATURE)
            known = [sample.labels["signature"] for sample in samples if sample.labels["model"] == model]
            self._of_signatures[model] = SignatureCounters(self.by_signature, model, known)
        return self._of_signatures[model]

    def shadow_counts(
        self, model: str, live: str, version: str
    ) -> tuple[dict[str, int], float, dict[str, dict[str, int]]]:
        """Return what all workers counted of a version in shadow.

        Returns:
            Records by verdict; the sum of the orders of magnitude between p-values; records by the change of the
            leading column and by column.
        """
        counts = dict.fromkeys(SHADOW_VERDICTS, 0)
        leading: dict[str, dict[str, int]] = {"appeared": {}, "vanished": {}}
        apart = 0.0
        for metric in self.registry.collect():
            for sample in metric.samples if metric.name.startswith("vaegis_shadow_") else ():
                labels = sample.labels
                if (labels["model"], labels["live"], labels["version"]) != (model, live, version):
                    continue
                if sample.name == "vaegis_shadow_records_total":
                    counts[labels["verdict"]] = int(sample.value)
                elif sample.name == "vaegis_shadow_leading_total":
                    leading[labels["change"]][labels["column"]] = int(sample.value)
                elif sample.name == "vaegis_shadow_p_value_log10_difference_sum":
                    apart = sample.value
        return counts, apart, leading

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request. ``route`` is a route's template or `OTHER`, never a path."""
        of_requests = self._of_requests.get((method, route, status))
        if of_requests is None:  # finding a series by its labels costs more than counting
            labels = (method if method in METHODS else OTHER, route, str(status))
            duration = BoundHistogram(self._request_seconds.labels(*labels))
            of_requests = self._requests.labels(*labels), duration
            if method in METHODS:  # the number of others has no bound
                self._of_requests[method, route, status] = of_requests
        count, duration = of_requests
        count.inc()
        duration.observe(seconds)

    def count_cut(self, reason: str) -> None:
        """Count a connection that was cut, for one of `server.interface.CUT_REASONS`."""
        self._connections_cut.labels(reason).inc()

    def count_model_live(self, model: str, artifact: Artifact, *, alpha: float, threshold: float) -> None:
        """Count a model that was loaded, verified and is served from now on, and set what it alone decides."""
        labels = (model, shown_digest(artifact), artifact.contract.provenance.vaegis_version)
        before = self._live.get(model)
        if before is not None and before != labels:
            self._info.labels(*before).set(0)
            if self._registry is not None:
                self._info.remove(*before)  # in files it stays, as a 0 that is not shown
        self._live[model] = labels
        self._info.labels(*labels).set(1)
        self._alpha.labels(model).set(alpha)
        self._threshold.labels(model).set(threshold)
        self._calibration_records.labels(model).set(artifact.contract.calibration.records)
        self._loaded.labels(model).set(time.time())  # noqa: TID251 - for people
        self._load_failing.labels(model)
        for outcome in _DRILL_OUTCOMES:
            self._drills.labels(model, outcome)
        for outcome in _OUTCOMES:
            self._loads.labels(model, outcome).inc(outcome == "succeeded")

    def count_model_failure(self, model: str) -> None:
        """Count a model that could not be loaded, and show that it fails until `end_model_failure`."""
        self._loads.labels(model, "failed").inc()
        self._load_failing.labels(model).set(1)

    def end_model_failure(self, model: str) -> None:
        """Note that the version that should be live is."""
        self._load_failing.labels(model).set(0)

    def count_drill(self, model: str, *, is_flagged: bool) -> None:
        """Count a record that should be flagged, by whether it was."""
        self._drills.labels(model, _DRILL_OUTCOMES[not is_flagged]).inc()

    def count_key_reload(self, outcome: ReloadOutcome) -> None:
        """Count a file of keys that changed."""
        self._key_reloads.labels(outcome).inc()

    def _make_traffic(self) -> None:
        request = ("method", "route", "status")
        self._requests = self._counter("vaegis_requests", "HTTP requests answered.", request)
        self._request_seconds = self._histogram(
            "vaegis_request_duration_seconds",
            "Time from a request's headers to the end of its answer.",
            SECONDS_BUCKETS,
            request,
        )
        self.requests_in_flight = self._worker_gauge(
            "vaegis_requests_in_flight", "Requests being read, queued or computed."
        )
        self.connections = self._worker_gauge("vaegis_connections", "Open connections.")
        self._connections_cut = self._counter(
            "vaegis_connections_cut", "Connections that a limit ended, by the limit.", ("reason",), CUT_REASONS
        )
        self.queue_seconds = BoundHistogram(
            self._histogram(
                "vaegis_queue_seconds",
                "Time from the end of a body, or of a part of a large one, to the start of its computation.",
                SECONDS_BUCKETS,
            )
        )
        self._worker_gauge("vaegis_workers", "Processes that answer requests.").set(1)
        restarts_counter(self._registry)
        self._key_reloads = self._counter("vaegis_key_reloads", "Changes of the file of keys.", ("outcome",), _OUTCOMES)
        self.log_lines_dropped = self._counter("vaegis_log_lines_dropped", "Lines of the log that nobody took in time.")

    def _make_records(self) -> None:
        self.scored = self._counter("vaegis_records_scored", "Records scored.", _BY_MODEL)
        self.flagged = self._counter("vaegis_records_flagged", "Scored records that are anomalies.", _BY_MODEL)
        self.by_signature = self._counter(
            BY_SIGNATURE.removesuffix("_total"), "Anomalies, by their signature.", (*_BY_MODEL, "signature")
        )
        self.violating = self._counter("vaegis_records_violating", "Scored records that break a check.", _BY_MODEL)
        self.refused = self._counter(
            "vaegis_records_refused", "Records at fault, by the code of their first fault.", (*_BY_MODEL, "code")
        )
        self.generated = self._counter("vaegis_records_generated", "Records generated.", _BY_MODEL)
        self._drills = self._counter(
            "vaegis_drills", "Records made to be flagged, by whether they were.", (*_BY_MODEL, "outcome")
        )
        self.batch_records = self._histogram(
            "vaegis_batch_records", "Records in a scored request.", BATCH_BUCKETS, _BY_MODEL
        )
        self.inference_seconds = self._histogram(
            "vaegis_inference_seconds", "Time that the model takes for a request's records.", SECONDS_BUCKETS, _BY_MODEL
        )
        self.p_value = self._histogram("vaegis_p_value", "p-values of scored records.", P_VALUE_BUCKETS, _BY_MODEL)
        by_column = (*_BY_MODEL, "column")
        self.column_missing = self._counter(
            "vaegis_column_missing", "Scored records in which the column is null.", by_column
        )
        self.column_unseen = self._counter(
            "vaegis_column_unseen", "Scored records with a category unknown to training.", by_column
        )
        self.column_out_of_range = self._counter(
            "vaegis_column_out_of_range",
            "Scored records with a number outside the range seen in training.",
            by_column,
        )
        self.violations = self._counter(
            "vaegis_violations", "Values of scored records that break a check, by the check.", (*by_column, "code")
        )

    def _make_shadow(self) -> None:
        by_version = (*_BY_MODEL, "live", "version")
        self.shadow_records = self._counter(
            "vaegis_shadow_records", "Records that a version was to score in shadow.", (*by_version, "verdict")
        )
        self.shadow_apart = self._histogram(
            "vaegis_shadow_p_value_log10_difference",
            "Orders of magnitude between the p-values of the live version and of the one in shadow.",
            APART_BUCKETS,
            by_version,
        )
        self.shadow_leading = self._counter(
            "vaegis_shadow_leading",
            "Flagged records in which another column contributes most.",
            (*by_version, "column", "change"),
        )

    def _make_model(self) -> None:
        self._live: dict[str, tuple[str, ...]] = {}
        self._info = self._model_gauge(MODEL_INFO, "The model in use; always 1.", _INFO_LABELS)
        self._alpha = self._model_gauge("vaegis_alpha_ratio", "Share of normal records that may be flagged.")
        self._threshold = self._model_gauge("vaegis_threshold", "Score above which a record is flagged.")
        self._calibration_records = self._model_gauge("vaegis_calibration_records", "Scores behind the p-values.")
        self._loaded = self._model_gauge("vaegis_model_loaded_timestamp_seconds", "When the model in use became ready.")
        self._load_failing = Gauge(
            "vaegis_model_load_failing",
            "1 while the version that should be live cannot be used.",
            _BY_MODEL,
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self._loads = self._counter("vaegis_model_loads", "Attempts to load a model.", (*_BY_MODEL, "outcome"))

    def _counter(self, name: str, documentation: str, labels: Sequence[str] = (), known: Sequence[str] = ()) -> Counter:
        """Make a counter; the series of the ``known`` values of its only label are there before they count."""
        counter = Counter(name, documentation, labels, registry=self._registry)
        for value in known:
            counter.labels(value)
        return counter

    def _histogram(
        self, name: str, documentation: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self._registry)

    def _worker_gauge(self, name: str, documentation: str) -> Gauge:
        """Make a gauge that is the sum over the workers that run."""
        return Gauge(name, documentation, registry=self._registry, multiprocess_mode="livesum")

    def _model_gauge(self, name: str, documentation: str, labels: Sequence[str] = _BY_MODEL) -> Gauge:
        """Make a gauge with the value of the worker that loaded its model last."""
        return Gauge(name, documentation, labels, registry=self._registry, multiprocess_mode="livemostrecent")

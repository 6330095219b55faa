"""Measure metrics: processor time to count a request, and to expose the metrics of 8 workers and 100 columns."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
from conditions import ROOT, save
from prometheus_client import generate_latest, values

from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import NumericColumn, Schema
from vaegis.service.http.observability.metrics import Metrics
from vaegis.service.http.observability.model_metrics import ModelMetrics
from vaegis.service.http.observability.multiprocess_metrics import (
    ServiceCollector,
    count_in_files,
    count_in_memory,
    metrics_folder,
)
from vaegis.service.verdicts import Verdicts

MODEL = ROOT / "tests" / "golden" / "orders-v2.onnx"
COLUMNS = 100
WORKERS = 8
ROUTES = ("/score", "/generate", "/livez", "/readyz", "/metrics")
STATUSES = (200, 422, 429)
SCRAPE_LIMIT_MS = 25.0
REQUESTS, REPEATS = 1000, 100


def main() -> int:
    """Measure, save the figures, and return 1 if a scrape takes longer than its limit."""
    artifact = wide_artifact()
    figures: dict[str, object] = {"columns": COLUMNS, "workers": WORKERS, "n": REPEATS}
    for records in (1, 100):
        figures[f"count_request_of_{records}_us"] = {
            "single_process": count_us(artifact, records, lambda _: count_in_memory()),
            "worker": count_us(artifact, records, partial(count_in_files, process="0")),
            "worker_by_the_library_alone": count_us(artifact, records, count_by_the_library),
        }
    figures["scrape_ms"] = scrape_ms = scrape(artifact)
    save("metrics", figures | {"scrape_limit_ms": SCRAPE_LIMIT_MS})
    return int(scrape_ms > SCRAPE_LIMIT_MS)


def wide_artifact() -> Artifact:
    """Return the golden model as if it had `COLUMNS` numeric columns."""
    column = NumericColumn(
        name="",
        missing_share=0.0,
        minimum=-9.0,
        maximum=9.0,
        quantiles=(-9.0, -6.0, -3.0, 0.0, 3.0, 6.0, 9.0),
        step=0.0,
        noise_scale=1.0,
        degrees_of_freedom=5.0,
    )
    schema = Schema(columns=tuple(column.model_copy(update={"name": f"column_{i}"}) for i in range(COLUMNS)))
    artifact = load_artifact(MODEL)
    return replace(artifact, contract=artifact.contract.model_copy(update={"columns": schema}))


def count_by_the_library(folder: Path) -> None:
    """Have metrics count by the library's own type of number."""
    count_in_files(folder, "0")
    values.ValueClass = values.MultiProcessValue(lambda: "0")


def count_us(artifact: Artifact, records: int, choose: Callable[[Path], None]) -> float:
    """Return the least processor time of all counts of a request, in microseconds."""
    with metrics_folder() as folder:
        choose(folder)
        count = counting(Metrics(ServiceCollector(folder, dict)), artifact, records)
        count()
        seconds = min(timeit.repeat(count, timer=process_time, number=REQUESTS, repeat=REPEATS))
    return round(seconds / REQUESTS * 1e6, 2)


def counting(metrics: Metrics, artifact: Artifact, records: int) -> Callable[[], None]:
    """Return what counts a request of so many normal records."""
    rng = np.random.default_rng(0)
    columns = Columns(np.zeros((records, COLUMNS)), np.zeros((records, 0), object), np.zeros((records, 0), bool))
    zeros = np.zeros(records)
    verdicts = Verdicts(
        score=rng.normal(size=records),
        p_value=rng.uniform(size=records),
        is_anomaly=zeros > 0,
        elbo=zeros,
        reconstruction_error=zeros,
        kl=zeros,
        latent_contribution=zeros,
        violations=[()] * records,
        reasons=[()] * records,
        signature=[None] * records,
        contributions=[None] * records,
    )

    of_model = ModelMetrics(metrics, "orders", artifact)

    def count() -> None:
        metrics.queue_seconds.observe(0.0003)
        of_model.count_batch(records, 0.0004)
        of_model.count_scored(columns, verdicts)
        metrics.count_request("POST", "/score", 200, 0.002)

    return count


def scrape(artifact: Artifact) -> float:
    """Return the least processor time of a scrape, in milliseconds."""
    with metrics_folder() as folder:
        for number in range(WORKERS):
            count_in_files(folder, str(number))
            metrics = Metrics(ServiceCollector(folder, dict))
            ModelMetrics(metrics, "orders", artifact)
            metrics.count_model_live("orders", artifact, alpha=0.01, threshold=1.0)
            for route in ROUTES:
                for status in STATUSES:
                    metrics.count_request("POST", route, status, 0.002)
        expose = partial(generate_latest, metrics.registry)
        return round(min(timeit.repeat(expose, timer=process_time, number=1, repeat=REPEATS)) * 1e3, 1)


if __name__ == "__main__":
    raise SystemExit(main())

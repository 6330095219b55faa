"""GET /metrics: every metric is documented, and counts what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from vaegis.service.http.observability.metrics import MOST_SIGNATURES, BoundHistogram, SignatureCounters
from vaegis.service.http.observability.model_metrics import ShadowMetrics

DOCUMENT = Path(__file__).parents[5] / "docs" / "metrics.md"
BOUNDS = (0.0, 0.01, 1.0, 2.0)
VALUES = npst.arrays(np.float64, st.integers(0, 20), elements=st.floats(-3, 3) | st.sampled_from(BOUNDS))


def samples(app, send) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    text = send(app, "GET", "/metrics").text
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in parse_text(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def by(found, name, **labels):
    return found[name][tuple(sorted(labels.items()))]


def test_every_metric_is_documented_with_its_type_and_labels(new_app, send):
    app = new_app()
    send(app, "POST", "/score", json=[5])  # labels show only in series, and this code has none at the start
    ShadowMetrics(app.metrics, "orders", "1", "2").count_leading("amount", "country")
    registered = {}
    for family in app.metrics.registry.collect():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name + ("_total" if family.type == "counter" else "")
        registered[name] = (family.type, labels)
    documented = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            name, kind, labels, meaning, advice = (cell.strip() for cell in line.strip("|").split("|"))
            documented[name.strip("`")] = (kind, set(filter(None, labels.split(", "))))
            assert meaning
            assert advice
    assert documented == registered


def test_names_and_units_follow_the_conventions(new_app):
    for family in new_app().metrics.registry.collect():
        assert family.name.startswith(("vaegis_", "process_"))
        assert not re.search(r"_(ms|milliseconds|kb|mb|percent)(_|$)", family.name)
        assert family.documentation.endswith(".")


@given(st.lists(VALUES, max_size=3))
def test_batches_count_as_their_values_one_by_one_would(batches):
    bulk, single = CollectorRegistry(), CollectorRegistry()
    ours = BoundHistogram(Histogram("x", "A value.", buckets=BOUNDS, registry=bulk))
    theirs = Histogram("x", "A value.", buckets=BOUNDS, registry=single)
    for batch in batches:
        ours.observe_all(batch)
        for value in batch:
            theirs.observe(value)
    for bound in ("0.0", "0.01", "1.0", "2.0", "+Inf"):
        labels = {"le": bound}
        assert bulk.get_sample_value("x_bucket", labels) == single.get_sample_value("x_bucket", labels)
    assert bulk.get_sample_value("x_count") == sum(map(len, batches))
    assert bulk.get_sample_value("x_sum") == pytest.approx(single.get_sample_value("x_sum"))


def test_records_are_counted_scored_flagged_and_refused(new_app, send, record):
    app = new_app()
    send(app, "POST", "/score", json=[record, record | {"amount": 1e9}])
    send(app, "POST", "/score", json=[record, record | {"amount": "x", "colour": 1}, 5])
    found = samples(app, send)
    assert by(found, "vaegis_records_scored_total", model="orders") == 2
    assert by(found, "vaegis_records_flagged_total", model="orders") == 1
    assert by(found, "vaegis_records_refused_total", model="orders", code="unknown_column") == 1
    assert by(found, "vaegis_records_refused_total", model="orders", code="not_an_object") == 1
    assert by(found, "vaegis_batch_records_sum", model="orders") == 2
    assert by(found, "vaegis_score_bucket", model="orders", le="+Inf") == 2
    assert by(found, "vaegis_p_value_count", model="orders") == 2
    assert by(found, "vaegis_inference_seconds_count", model="orders") == 1
    assert by(found, "vaegis_queue_seconds_count") == 1  # a record at fault is not scored
    assert by(found, "vaegis_requests_in_flight") == 0


@pytest.mark.parametrize("most", [1, 256], ids=["on a thread", "in a batch"])
def test_a_record_refused_within_a_small_body_is_counted_once(new_app, send, record, most):
    app = new_app(max_batch_records=most)
    lines = "".join(json.dumps(line) + "\n" for line in (record, record, record | {"amount": "x"}))
    answer = send(app, "POST", "/score", content=lines, headers={"content-type": "application/x-ndjson"})
    assert (answer.status_code, len(answer.text.splitlines())) == (200, 3)
    found = samples(app, send)
    assert by(found, "vaegis_records_refused_total", model="orders", code="wrong_type") == 1
    assert by(found, "vaegis_records_scored_total", model="orders") == 2


def test_anomalies_are_counted_by_signature(new_app, send, record):
    app = new_app()
    answer = send(app, "POST", "/score", json=[record, record | {"amount": 1e9}, record | {"country": "Atlantis"}])
    found = samples(app, send)["vaegis_anomalies_by_signature_total"]
    assert [result["signature"] for result in answer.json()["results"]][:2] == [None, "amount:above_range"]
    assert found[("model", "orders"), ("signature", "amount:above_range")] == 1
    assert sum(found.values()) == by(samples(app, send), "vaegis_records_flagged_total", model="orders")


def test_signatures_beyond_the_first_ones_are_counted_as_others():
    registry = CollectorRegistry()
    counter = Counter("x", "A count.", ("model", "signature"), registry=registry)
    counters = SignatureCounters(counter, "orders", ["known"])
    for _ in range(2):
        counters.count(["known", *map(str, range(MOST_SIGNATURES + 5))])
    values = {
        s.labels["signature"]: s.value for metric in registry.collect() for s in metric.samples if s.name == "x_total"
    }
    assert len(values) == MOST_SIGNATURES + 1
    assert (values["known"], values["0"], values["other"]) == (2, 2, 2 * 6)


def test_columns_are_counted_missing_unseen_and_out_of_range(new_app, send, record):
    app = new_app()
    batch = [record | {"country": "Atlantis"}, record | {"country": None, "amount": 1e9}, record | {"amount": None}]
    send(app, "POST", "/score", json=batch)
    found = samples(app, send)
    assert by(found, "vaegis_column_unseen_total", model="orders", column="country") == 1
    assert by(found, "vaegis_column_missing_total", model="orders", column="country") == 1
    assert by(found, "vaegis_column_missing_total", model="orders", column="amount") == 1
    assert by(found, "vaegis_column_missing_total", model="orders", column="express") == 0
    assert by(found, "vaegis_column_out_of_range_total", model="orders", column="amount") == 1


def test_the_model_shows_its_digest_alpha_threshold_and_calibration(new_app, send, artifact, record):
    app = new_app(alpha=0.1)
    found = samples(app, send)
    (labels,) = found["vaegis_model_info"]
    assert dict(labels)["digest"] == f"sha256:{artifact.digest}"
    assert by(found, "vaegis_alpha_ratio", model="orders") == 0.1
    assert by(found, "vaegis_threshold", model="orders") == send(app, "POST", "/score", json=record).json()["threshold"]
    assert by(found, "vaegis_calibration_records", model="orders") == artifact.contract.calibration.records
    assert by(found, "vaegis_model_loads_total", model="orders", outcome="succeeded") == 1
    assert by(found, "vaegis_model_loads_total", model="orders", outcome="failed") == 0
    assert by(found, "vaegis_model_loaded_timestamp_seconds", model="orders") > 1e9


def test_request_labels_are_bounded_whatever_clients_send(new_app, send):
    app = new_app()
    send(app, "GET", "/livez")
    send(app, "GET", "/some/secret")
    send(app, "BREW", "/score")
    found = samples(app, send)["vaegis_requests_total"]
    assert {tuple(value for _, value in labels) for labels in found} == {
        ("GET", "/livez", "200"),
        ("GET", "_OTHER", "404"),
        ("_OTHER", "/score", "405"),
    }


def test_durations_resolve_half_a_millisecond(new_app, send):
    app = new_app()
    send(app, "GET", "/livez")
    buckets = samples(app, send)["vaegis_request_duration_seconds_bucket"]
    assert min(float(dict(labels)["le"]) for labels in buckets) == 0.0005


def test_two_apps_share_no_count(new_app, send, record):
    busy, idle = new_app(), new_app()
    send(busy, "POST", "/score", json=record)
    assert by(samples(idle, send), "vaegis_records_scored_total", model="orders") == 0


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ],
)
def test_the_format_follows_the_accept_header(new_app, send, accept, content_type):
    response = send(new_app(), "GET", "/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith(content_type)
    parse = parse_openmetrics if "openmetrics" in content_type else parse_text
    assert "vaegis_alpha_ratio" in {family.name for family in parse(response.text)}

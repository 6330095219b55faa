"""The histogram that takes batches agrees with the client library's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from prometheus_client import CollectorRegistry, Histogram

from service.http.bulk_histogram import BulkHistogram
from service.http.metrics import score_buckets

BOUNDS = (0.0, 0.01, 1.0, 2.0)
VALUES = npst.arrays(np.float64, st.integers(0, 20), elements=st.floats(-3, 3) | st.sampled_from(BOUNDS))


@given(st.lists(VALUES, max_size=3))
def test_batches_count_as_their_values_one_by_one_would(batches):
    bulk, single = CollectorRegistry(), CollectorRegistry()
    ours = BulkHistogram("x", "A value.", BOUNDS, bulk)
    theirs = Histogram("x", "A value.", buckets=BOUNDS, registry=single)
    for batch in batches:
        ours.observe(batch)
        for value in batch:
            theirs.observe(value)
    for bound in ("0.0", "0.01", "1.0", "2.0", "+Inf"):
        labels = {"le": bound}
        assert bulk.get_sample_value("x_bucket", labels) == single.get_sample_value("x_bucket", labels)
    count = sum(map(len, batches))
    assert bulk.get_sample_value("x_count") == count
    assert bulk.get_sample_value("x_sum") == pytest.approx(float(np.concatenate([*batches, np.zeros(0)]).sum()))


def test_no_sum_is_told_where_values_may_be_negative():
    registry = CollectorRegistry()
    BulkHistogram("x", "A value.", (-1.0, 1.0), registry).observe(np.array([-2.0, 0.5]))
    assert registry.get_sample_value("x_bucket", {"le": "-1.0"}) == 1
    assert registry.get_sample_value("x_bucket", {"le": "+Inf"}) == 2
    assert registry.get_sample_value("x_sum") is None


def test_a_name_given_twice_is_refused():
    registry = CollectorRegistry()
    BulkHistogram("x", "A value.", BOUNDS, registry)
    with pytest.raises(ValueError, match="Duplicated"):
        BulkHistogram("x", "A value.", BOUNDS, registry)


@given(npst.arrays(np.float64, st.integers(1, 50), elements=st.floats(-1e6, 1e6)))
def test_score_buckets_ascend_and_reach_beyond_all_calibration_scores(scores):
    calibration = np.sort(scores)
    bounds = score_buckets([calibration])
    assert list(bounds) == sorted(set(bounds))
    assert bounds[-1] > calibration[-1]
    assert len(bounds) <= 17
    assert score_buckets([scores[:1], scores[1:]]) == bounds


def test_score_buckets_resolve_normal_records_and_reach_scores_of_thousands():
    # Scores never lie below -2 log 2; here the greatest of 1,000 normal records is about 5.
    scores = np.random.default_rng(0).gamma(2.0, 0.9, 1000) - 1.39
    bounds = score_buckets([scores])
    assert sum(bound <= scores.max() for bound in bounds) >= 7
    assert bounds[0] >= -1.39
    assert bounds[-1] > 2000

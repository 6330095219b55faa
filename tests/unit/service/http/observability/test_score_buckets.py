"""The buckets of scores follow the calibration."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vaegis.service.http.observability.model_metrics import score_buckets


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

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import AlphaError
from service.pvalues import calibration_records_needed, p_values, threshold

# Few distinct values, so that ties are common.
SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60).map(lambda scores: np.array(sorted(scores)))
ALPHAS = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)


@st.composite
def fractions_of(draw: st.DrawFn) -> tuple[int, float]:
    """Give n and an alpha at, just below or just above a multiple of 1 / (n + 1), where rounding could decide."""
    n = draw(st.integers(1, 1000))
    exact = draw(st.integers(1, n)) / (n + 1)
    return n, draw(st.sampled_from([exact, math.nextafter(exact, 0.0), math.nextafter(exact, 1.0)]))


def test_the_p_value_counts_the_calibration_scores_at_or_above():
    calibration = np.array([1.0, 2.0, 2.0, 3.0])
    assert p_values(calibration, np.array([0.0, 2.0, 2.5, 3.0, 4.0])).tolist() == [1.0, 0.8, 0.4, 0.4, 0.2]


@given(SCORES, st.lists(st.floats(allow_nan=False), max_size=20))
def test_p_values_lie_above_zero_and_at_most_at_one(calibration, scores):
    p = p_values(calibration, np.array(scores, dtype=np.float64))
    assert ((p >= 1.0 / (calibration.size + 1)) & (p <= 1.0)).all()


@given(SCORES, st.lists(st.floats(-6, 6), min_size=2, max_size=20))
def test_a_higher_score_never_has_a_higher_p_value_and_equal_scores_have_equal_ones(calibration, scores):
    ordered = np.sort(np.array(scores))
    assert (np.diff(p_values(calibration, ordered)) <= 0).all()
    assert len(set(p_values(calibration, np.full(3, scores[0])).tolist())) == 1


def test_a_score_that_is_not_a_number_is_the_least_likely():
    assert p_values(np.array([1.0, 2.0, 3.0]), np.array([np.nan])).tolist() == [0.25]


@given(SCORES, ALPHAS, st.lists(st.integers(-6, 6).map(float), max_size=20))
def test_p_is_at_most_alpha_exactly_where_the_score_exceeds_the_threshold(calibration, alpha, scores):
    near = [math.nextafter(s, way) for s in calibration.tolist() for way in (-math.inf, math.inf)]
    scores = np.array(scores + near + calibration.tolist())
    try:
        limit = threshold(calibration, alpha)
    except AlphaError:
        assert (p_values(calibration, np.array([1e300])) > alpha).all()
    else:
        assert ((p_values(calibration, scores) <= alpha) == (scores > limit)).all()


@given(fractions_of())
@settings(max_examples=500)
def test_rounding_of_alpha_parts_neither_rule_from_the_other(case):
    n, alpha = case
    calibration = np.arange(n, dtype=np.float64)
    scores = np.append(calibration, float(n))
    try:
        limit = threshold(calibration, alpha)
    except AlphaError:
        limit = math.inf
    assert ((p_values(calibration, scores) <= alpha) == (scores > limit)).all()


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(99, 0.01, 1), (99, 0.29, 29), (999, 0.01, 10), (1000, 0.01, 10), (2, math.nextafter(1.0, 0.0), 2)],
)
def test_the_threshold_is_the_calibration_score_of_the_rank_that_alpha_allows(n, alpha, rank):
    calibration = np.arange(n, dtype=np.float64)
    assert threshold(calibration, alpha) == calibration[n - rank]


def test_normal_records_are_flagged_at_most_as_often_as_alpha_says():
    # n + 1 exchangeable scores with many ties; the last is the record to judge. P(p <= alpha) <= alpha is exact.
    rng, repeats, n = np.random.default_rng(0), 4000, 99
    scores = np.round(rng.normal(size=(repeats, n + 1)), 1)
    p = np.array([p_values(np.sort(row[:-1]), row[-1:])[0] for row in scores])
    for alpha in (0.01, 0.05, 0.1, 0.5):
        # Four standard deviations of a binomial share: a right rule fails here once in 30,000 seeds.
        assert (p <= alpha).mean() <= alpha + 4.0 * math.sqrt(alpha * (1.0 - alpha) / repeats)
    # Not by flagging nothing: without ties the rate would be alpha itself.
    assert (p <= 0.1).mean() > 0.05


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, math.nan, math.inf])
def test_an_alpha_that_is_no_fraction_is_refused(alpha):
    with pytest.raises(AlphaError, match=r"alpha: expected a fraction in \(0, 1\)") as refusal:
        threshold(np.array([1.0]), alpha)
    assert refusal.value.needed_records == 0


@given(ALPHAS | st.integers(2, 10_000).flatmap(lambda n: st.sampled_from([1 / n, math.nextafter(1 / n, 0.0)])))
def test_an_alpha_too_small_is_refused_with_the_number_needed_which_suffices_and_is_the_least(alpha):
    needed = calibration_records_needed(alpha)
    assert 1 / (needed + 1) <= alpha
    if 1 < needed <= 10_000:
        assert 1 / needed > alpha
        with pytest.raises(AlphaError, match=f"{needed} calibration records") as refusal:
            threshold(np.zeros(needed - 1), alpha)
        assert refusal.value.needed_records == needed
    if needed <= 10_000:
        assert threshold(np.zeros(needed), alpha) == 0.0


def test_an_alpha_too_small_to_invert_is_refused_like_any_other():
    with pytest.raises(AlphaError, match="calibration records"):
        threshold(np.zeros(10), 1e-320)

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.errors import AlphaError
from vaegis.service.pvalues import calibration_records_needed, false_alarm_bound, guarantee, p_values, threshold

# Few distinct values, so that ties are common.
SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=60).map(lambda scores: np.array(sorted(scores)))
FOLDS = st.lists(SCORES, min_size=1, max_size=4)
ALPHAS = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)


@st.composite
def fractions_of(draw: st.DrawFn) -> tuple[int, float]:
    """Give n and an alpha at, just below or just above a multiple of 1 / (n + 1), where rounding could decide."""
    n = draw(st.integers(1, 1000))
    exact = draw(st.integers(1, n)) / (n + 1)
    return n, draw(st.sampled_from([exact, math.nextafter(exact, 0.0), math.nextafter(exact, 1.0)]))


def of_one_fold(calibration, scores):
    """Return p-values where there is one fold, by the service."""
    return p_values([calibration], np.asarray(scores, dtype=np.float64)[:, None])


def test_the_p_value_counts_the_calibration_scores_at_or_above():
    calibration = np.array([1.0, 2.0, 2.0, 3.0])
    assert of_one_fold(calibration, [0.0, 2.0, 2.5, 3.0, 4.0]).tolist() == [1.0, 0.8, 0.4, 0.4, 0.2]


def test_each_fold_is_compared_with_the_score_of_its_own_member():
    folds = [np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])]
    fold_scores = np.array([[1.5, 25.0], [25.0, 1.5], [0.0, 0.0], [3.0, 31.0]])
    assert (p_values(folds, fold_scores) * 6).tolist() == [3.0, 4.0, 6.0, 1.0]


@given(SCORES, st.lists(st.floats(-6, 6) | st.integers(-6, 6).map(float), max_size=20))
def test_with_one_fold_the_p_value_is_the_split_conformal_one(calibration, scores):
    split = [(1 + sum(other >= score for other in calibration.tolist())) / (calibration.size + 1) for score in scores]
    assert of_one_fold(calibration, scores).tolist() == split


@given(FOLDS, st.data())
def test_p_values_lie_above_zero_and_at_most_at_one(folds, data):
    rows = st.lists(st.floats(allow_nan=False), min_size=len(folds), max_size=len(folds))
    fold_scores = np.array(data.draw(st.lists(rows, max_size=20))).reshape(-1, len(folds))
    p = p_values(folds, fold_scores)
    n = sum(fold.size for fold in folds)
    assert p.shape == (len(fold_scores),)
    assert ((p >= 1.0 / (n + 1)) & (p <= 1.0)).all()


@given(FOLDS, st.data())
def test_a_higher_score_of_any_member_never_has_a_higher_p_value_and_equal_scores_have_equal_ones(folds, data):
    scores = st.floats(-6, 6) | st.integers(-6, 6).map(float)
    row = np.array(data.draw(st.lists(scores, min_size=len(folds), max_size=len(folds))))
    raised = np.tile(row, (len(folds), 1)) + np.diag(
        data.draw(st.lists(st.floats(0, 12), min_size=len(folds), max_size=len(folds)))
    )
    p = p_values(folds, np.vstack([row, row, raised]))
    assert p[0] == p[1]
    assert (p[2:] <= p[0]).all()


def test_scores_of_another_number_of_members_are_refused():
    with pytest.raises(ValueError, match="zip"):
        p_values([np.zeros(3)], np.zeros((1, 2)))


def test_a_score_that_is_not_a_number_is_the_least_likely():
    assert of_one_fold(np.array([1.0, 2.0, 3.0]), [np.nan]).tolist() == [0.25]


@given(FOLDS, ALPHAS, st.lists(st.integers(-6, 6).map(float), max_size=20))
def test_where_the_members_agree_p_is_at_most_alpha_exactly_where_the_score_exceeds_the_threshold(folds, alpha, scores):
    pooled = np.concatenate(folds).tolist()
    near = [math.nextafter(s, way) for s in pooled for way in (-math.inf, math.inf)]
    scores = np.array(scores + near + pooled)
    agreed = np.tile(scores[:, None], len(folds))
    try:
        limit = threshold(folds, alpha)
    except AlphaError:
        assert (p_values(folds, np.full((1, len(folds)), 1e300)) > alpha).all()
    else:
        assert ((p_values(folds, agreed) <= alpha) == (scores > limit)).all()


@given(fractions_of())
@settings(max_examples=500)
def test_rounding_of_alpha_parts_neither_rule_from_the_other(case):
    n, alpha = case
    calibration = np.arange(n, dtype=np.float64)
    scores = np.append(calibration, float(n))
    try:
        limit = threshold([calibration], alpha)
    except AlphaError:
        limit = math.inf
    assert ((of_one_fold(calibration, scores) <= alpha) == (scores > limit)).all()


@pytest.mark.parametrize(
    ("n", "alpha", "rank"),
    [(99, 0.01, 1), (99, 0.29, 29), (999, 0.01, 10), (1000, 0.01, 10), (2, math.nextafter(1.0, 0.0), 2)],
)
@pytest.mark.parametrize("members", [1, 2])
def test_the_threshold_is_the_calibration_score_of_the_rank_that_alpha_allows(n, alpha, rank, members):
    calibration = np.arange(n, dtype=np.float64)
    assert threshold([calibration[k::members] for k in range(members)], alpha) == calibration[n - rank]


def test_normal_records_are_flagged_at_most_as_often_as_alpha_says():
    # n + 1 scores in random order with many ties; the last is the record to judge. P(p <= alpha) <= alpha is exact.
    rng, repeats, n = np.random.default_rng(0), 4000, 99
    scores = np.round(rng.normal(size=(repeats, n + 1)), 1)
    p = np.array([of_one_fold(np.sort(row[:-1]), row[-1:])[0] for row in scores])
    for alpha in (0.01, 0.05, 0.1, 0.5):
        # Four standard deviations of a binomial share: a right rule fails here once in 30,000 seeds.
        assert (p <= alpha).mean() <= alpha + 4.0 * math.sqrt(alpha * (1.0 - alpha) / repeats)
    # Not by flagging nothing: without ties the rate would be alpha itself.
    assert (p <= 0.1).mean() > 0.05


@pytest.mark.parametrize("sizes", [(10, 10, 10), (40, 2, 5, 13), (1,) * 20])
@pytest.mark.parametrize("stable", [True, False])
def test_cross_conformal_flags_normal_records_at_most_as_often_as_its_bound_says(sizes, stable):
    # A member scores by the distance from the mean of the other folds, or, as unstable as can be, from one record.
    rng, repeats, members = np.random.default_rng(1), 4000, len(sizes)
    fold_of = np.repeat(np.arange(members), sizes)
    p = np.empty(repeats)
    for repeat in range(repeats):
        records = rng.normal(size=sum(sizes) + 1)
        known = [records[:-1][fold_of != k] for k in range(members)]
        centres = [others.mean() if stable else others[0] for others in known]
        folds = [np.sort(np.abs(records[:-1][fold_of == k] - centres[k])) for k in range(members)]
        (p[repeat],) = p_values(folds, np.abs(records[-1] - np.array([centres])))
    for alpha in (0.03, 0.1, 0.3):
        bound = false_alarm_bound(folds, alpha)
        assert (p <= alpha).mean() <= bound + 4.0 * math.sqrt(bound * (1.0 - bound) / repeats)
    if stable:
        assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.02)


def test_members_at_odds_can_flag_more_than_alpha_but_not_more_than_the_bound():
    # Two p-values, each uniform, that sum to 0.1 wherever either is below it: their mean is 0.05 in a tenth of cases.
    rng, repeats, size, alpha = np.random.default_rng(2), 4000, 49, 0.06
    first = rng.random(repeats)
    second = np.where(first < 0.1, 0.1 - first, first)
    folds = [np.arange(size, dtype=np.float64)] * 2
    fold_scores = np.stack([size - np.ceil(part * (size + 1)) + 0.5 for part in (first, second)], axis=1)
    share = (p_values(folds, fold_scores) <= alpha).mean()
    assert 1.4 * alpha < share <= false_alarm_bound(folds, alpha)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=10), ALPHAS)
def test_the_bound_is_alpha_with_one_fold_and_at_least_that_with_several(sizes, alpha):
    bound = false_alarm_bound([np.zeros(size) for size in sizes], alpha)
    assert bound == alpha if len(sizes) == 1 else alpha <= bound <= 1.0


def test_the_guarantee_names_alpha_and_bound():
    split, cross = guarantee([np.zeros(999)], 0.01), guarantee([np.zeros(200)] * 5, 0.01)
    assert split.startswith("At alpha 0.01, a normal record is flagged with a probability of at most 1%, as long as")
    assert "at most 2.79% (proven; close to 1% in practice), as long as normal data stay" in cross


def test_the_guarantee_names_both_bounds_where_scores_of_anomalies_were_left_out():
    sentence = guarantee([np.zeros(999)], 0.01, 0.02)
    assert "in training. This holds if the highest 2% of the calibration scores" in sentence
    assert sentence.endswith("the probability is at most 2.98%.")


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, math.nan, math.inf])
def test_an_alpha_that_is_no_fraction_is_refused(alpha):
    with pytest.raises(AlphaError, match=r"alpha: expected a fraction in \(0, 1\)") as refusal:
        threshold([np.array([1.0])], alpha)
    assert refusal.value.needed_records == 0


@given(ALPHAS | st.integers(2, 10_000).flatmap(lambda n: st.sampled_from([1 / n, math.nextafter(1 / n, 0.0)])))
def test_an_alpha_too_small_is_refused_with_the_number_needed_which_suffices_and_is_the_least(alpha):
    needed = calibration_records_needed(alpha)
    assert 1 / (needed + 1) <= alpha
    if 1 < needed <= 10_000:
        assert 1 / needed > alpha
        with pytest.raises(AlphaError, match=f"{needed} calibration records") as refusal:
            threshold([np.zeros(needed - 1)], alpha)
        assert refusal.value.needed_records == needed
    if needed <= 10_000:
        assert threshold([np.zeros(needed)], alpha) == 0.0


def test_an_alpha_too_small_to_invert_is_refused_like_any_other():
    with pytest.raises(AlphaError, match="calibration records"):
        threshold([np.zeros(10)], 1e-320)

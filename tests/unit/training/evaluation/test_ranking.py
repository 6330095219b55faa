"""AUROC and average precision, with their intervals."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from vaegis.training.evaluation.ranking import rankings


def noisy(generator, labels, separation):
    return generator.normal(size=labels.size) + separation * labels


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_both_measures_agree_with_scikit_learn_with_and_without_ties(decimals):
    generator = np.random.default_rng(1)
    labels = generator.random(500) < 0.1
    scores = noisy(generator, labels, 1.5).round(decimals)
    ranking = rankings(labels, {"model": scores}, "model", generator)["model"]
    assert ranking.auroc.value == pytest.approx(roc_auc_score(labels, scores))
    assert ranking.average_precision.value == pytest.approx(average_precision_score(labels, scores))


def test_a_perfect_ranking_has_no_width():
    labels = np.array([False] * 50 + [True] * 5)
    ranking = rankings(labels, {"model": labels.astype(float)}, "model", np.random.default_rng(0))["model"]
    for estimate in (ranking.auroc, ranking.average_precision):
        assert (estimate.low, estimate.value, estimate.high) == (1.0, 1.0, 1.0)


def test_the_interval_of_the_auroc_has_the_width_of_its_known_variance():
    generator = np.random.default_rng(2)
    labels = np.arange(4000) < 400
    ranking = rankings(labels, {"model": generator.normal(size=4000)}, "model", generator)["model"]
    # Without any separation: variance (m + n + 1) / (12 m n), Mann and Whitney 1947.
    width = 2 * 1.96 * np.sqrt(4001 / (12 * 400 * 3600))
    assert ranking.auroc.high - ranking.auroc.low == pytest.approx(width, rel=0.1)
    assert ranking.auroc.low < 0.5 < ranking.auroc.high


def test_the_same_generator_state_gives_the_same_intervals():
    labels = np.arange(60) < 10
    scores = noisy(np.random.default_rng(3), labels, 1.0)
    first, second = (rankings(labels, {"model": scores}, "model", np.random.default_rng(4)) for _ in range(2))
    assert first == second


def test_a_lead_is_measured_on_shared_resamples():
    generator = np.random.default_rng(5)
    labels = generator.random(2000) < 0.1
    scores = noisy(generator, labels, 1.0)
    better = scores + 0.05 * labels  # hardly better, yet on every resample
    found = rankings(labels, {"model": scores, "better": better}, "model", generator)
    lead = found["better"].auroc_lead
    assert 0 < lead.low <= lead.value <= lead.high
    assert found["better"].auroc.low < found["model"].auroc.high
    assert found["model"].auroc_lead.value == 0.0

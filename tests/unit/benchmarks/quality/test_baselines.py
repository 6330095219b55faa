"""The baselines of the same run."""

import numpy as np
import pytest

from benchmarks.quality.baselines import BASELINES, FOREST, KNN, baseline_scores

pytestmark = pytest.mark.training


def test_nearest_neighbours_are_the_mean_of_five_distances_in_units_of_the_training_half():
    training = np.array([[0.0, 7.0], [10.0, 7.0], [20.0, 7.0], [30.0, 7.0], [40.0, 7.0], [50.0, 7.0]])
    found = baseline_scores(training, np.array([[0.0, 7.0], [60.0, 7.0]]), seed=0)[KNN]
    deviation = training[:, 0].std()
    assert found == pytest.approx(np.array([20.0, 30.0]) / deviation)  # 0 .. 40, and 10 .. 50 away


def test_both_find_what_lies_far_out_and_one_seed_gives_one_answer():
    generator = np.random.default_rng(0)
    training, far = generator.normal(size=(200, 3)), np.full((1, 3), 9.0)
    test = np.concatenate([generator.normal(size=(50, 3)), far])
    first, second = (baseline_scores(training, test, seed=3) for _ in range(2))
    assert tuple(first) == BASELINES
    for name in (KNN, FOREST):
        assert first[name].argmax() == 50
        assert (first[name] == second[name]).all()


def test_fewer_records_than_neighbours_are_enough():
    assert np.isfinite(baseline_scores(np.eye(3), np.eye(3), seed=0)[KNN]).all()

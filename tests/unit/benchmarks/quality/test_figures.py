"""Recall at a rate of false alarms, and the figures of one detector."""

import numpy as np
import pytest

from benchmarks.quality.figures import ranking, recall_at_false_alarms

pytestmark = pytest.mark.training


@pytest.mark.parametrize(
    ("normal", "rate", "expected"),
    [
        (200, 0.01, 0.5),  # 2 of 0 .. 199 may exceed: the threshold is 197
        (99, 0.01, 1.0),  # none may: it is 98
        (400, 0.01, 0.0),  # 4 may: it is 395
        (200, 0.0, 0.25),  # it is 199
    ],
)
def test_recall_is_taken_where_so_many_normal_records_exceed(normal, rate, expected):
    scores = np.concatenate([np.arange(normal), [150.0, 197.0, 198.0, 300.0]])
    labels = np.arange(scores.size) >= normal
    assert recall_at_false_alarms(labels, scores, rate) == expected


def test_equal_scores_are_no_recall():
    assert recall_at_false_alarms(np.arange(300) >= 200, np.ones(300), 0.01) == 0.0


def test_a_perfect_ranking_has_the_highest_figures_and_a_reversed_one_the_lowest():
    labels = np.arange(300) >= 200
    perfect, reversed_ = ranking(labels, labels.astype(float)), ranking(labels, -labels.astype(float))
    assert (perfect.auroc, perfect.ap, perfect.recall) == (1.0, 1.0, 1.0)
    assert (reversed_.auroc, reversed_.ap, reversed_.recall) == (0.0, pytest.approx(1 / 3), 0.0)

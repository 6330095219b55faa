"""What is found of the faults: by kind, by column, and by the baselines in columns of every kind."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.mixed.baselines import baseline_scores
from benchmarks.mixed.experiment import Promise, Row
from benchmarks.mixed.faults import Faulty
from benchmarks.mixed.figures import added, found, found_by_column, groups
from benchmarks.mixed.report import report
from benchmarks.quality.figures import Ranking
from vaegis.training.config import TrainConfig

NORMAL = 200
ONE = pa.table({"a": [1.0, 2.0]})
FAULTS = (Faulty("swapped", ONE, (("a", "b"), ("a", "c"))), Faulty("null", ONE, (("a",), ("b",))))
# The two that were swapped score above every normal record, the nulls below all of them.
SCORES = np.concatenate([np.linspace(0, 1, NORMAL), [2.0, 2.0, -1.0, -1.0]])


def test_figures_are_of_all_kinds_of_all_but_null_and_of_each():
    of = {name: members.tolist() for name, members in groups(FAULTS).items()}
    assert of == {
        "all": [True, True, True, True],
        "all but null": [True, True, False, False],
        "swapped": [True, True, False, False],
        "null": [False, False, True, True],
    }


@pytest.mark.parametrize(("kind", "share"), [("all", 0.5), ("swapped", 1.0), ("null", 0.0)])
def test_a_kind_is_compared_with_the_normal_records_alone(kind, share):
    figures = found(SCORES, NORMAL, groups(FAULTS)[kind])
    assert (figures.auroc, figures.recall) == (share, share)


def test_a_swap_counts_for_both_of_its_columns():
    counts = found_by_column(FAULTS, {"vaegis": SCORES, "kNN": -SCORES}, NORMAL)
    assert counts == {
        "swapped": {
            "a": {"records": 2, "vaegis": 2, "kNN": 0},
            "b": {"records": 1, "vaegis": 1, "kNN": 0},
            "c": {"records": 1, "vaegis": 1, "kNN": 0},
        },
        "null": {"a": {"records": 1, "vaegis": 0, "kNN": 1}, "b": {"records": 1, "vaegis": 0, "kNN": 1}},
    }
    assert added([counts, counts])["swapped"]["a"] == {"records": 4, "vaegis": 4, "kNN": 0}


def test_the_baselines_see_numbers_categories_and_nulls():
    generator = np.random.default_rng(0)
    kinds = generator.integers(0, 2, 300)
    training = pa.table(
        {
            "amount": pa.array(kinds * 100 + generator.normal(size=300), mask=generator.random(300) < 0.1),
            "country": np.array(["at", "ch"])[kinds].tolist(),
        }
    )
    test = pa.table({"amount": [100.0, 100.0, 6000.0], "country": ["ch", "at", "ch"]})
    scores = baseline_scores(training, test, TrainConfig(), seed=0)
    assert set(scores) == {"IsolationForest", "kNN, mean of 5"}
    usual, other_category, wrong_unit = scores["kNN, mean of 5"]
    assert usual < other_category < wrong_unit


def test_the_report_gives_means_over_the_seeds():
    def row(seed, removed, auroc):
        kinds = ["all", "all but null", "swapped"] + ([] if removed else ["null"])
        found_here = {kind: Ranking(auroc, 0.5, 0.25) for kind in kinds}
        promise = Promise(1000, 0.01, (0.005, 0.015), dict.fromkeys(kinds, 0.5))
        return Row("flights", removed, seed, 2000, 1000, 50, 1.0, {"vaegis": found_here}, promise, {})

    page = report([row(0, 0.0, 0.8), row(1, 0.0, 0.9), row(0, 0.1, 0.7)], "Machine.")
    assert "| 0% | vaegis | .850 (.800 to .900) | .250 (.250 to .250) |" in page
    assert "| 10% | vaegis | .700 (.700 to .700) | .250 (.250 to .250) |" in page
    assert page.count("| null |") == 2  # where no value was removed, and as a column of the promise
    assert "| 0% | 1.00% | 2 of 2 | .500 | .500 | .500 |" in page

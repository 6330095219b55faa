"""Faults put into calibration records, who finds them, and residuals that correlate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from vaegis.service.columns import Columns
from vaegis.service.contract import Calibration, EvaluationDocument
from vaegis.training.calibration import calibrate
from vaegis.training.config import CalibrationSettings
from vaegis.training.evaluation.injected import UNALTERED, evaluate, residual_correlations

ALPHA = 0.05


@pytest.fixture(scope="module")
def calibration(exported_all) -> Calibration:
    scorer, held_out = exported_all.model.scorer, exported_all.held_out
    return calibrate(scorer, held_out, CalibrationSettings(alpha=ALPHA), "split-conformal")


@pytest.fixture(scope="module")
def measure(exported_all, calibration) -> Callable[..., EvaluationDocument]:
    schema, scorer = exported_all.prepared.schema, exported_all.model.scorer

    def run(reference: Columns | None = None) -> EvaluationDocument:
        return evaluate(scorer, schema, calibration, exported_all.held_out[0], 1, reference)

    return run


def test_rules_find_what_lies_beyond_a_column_and_nothing_that_only_other_columns_tell(measure, calibration):
    found = {row.fault: row for row in measure().faults}
    assert set(found) == {UNALTERED, "ten_times", "lost", "exchanged", "mistyped"}
    assert all(set(row.found) == {"limits", "score", "score_or_check"} for row in found.values())
    assert found["mistyped"].found["limits"] == found["mistyped"].records
    # Another normal record's value is beyond no limit that the record itself kept to.
    assert found["exchanged"].found["limits"] <= 2 * found[UNALTERED].found["limits"]
    assert found[UNALTERED].found["score"] <= ALPHA * (calibration.records + 1)
    for row in found.values():
        assert row.found["score"] <= row.found["score_or_check"] <= row.records


def test_baselines_are_measured_on_the_same_records_only_where_they_are_asked_for(measure, exported_all):
    reference = exported_all.prepared.columns.rows(exported_all.splits.fit[0])
    alone, beside = measure(), measure(reference)
    for row, other in zip(alone.faults, beside.faults, strict=True):
        assert other.found.items() > row.found.items()
        assert other.found.keys() - row.found.keys() == {"IsolationForest", "kNN, mean of 5"}


def test_the_same_seed_gives_the_same_document(measure):
    assert measure() == measure()


def test_residuals_that_rise_together_correlate_and_those_of_unrelated_columns_do_not(new_records):
    records = new_records(400, names=("amount", "weight", "items", "country"))
    random = np.random.default_rng(0)
    expected = random.normal(size=(400, 4))
    expected[:, 3] = np.inf  # no category at all: the residual is the same for all records
    residuals = np.stack([random.normal(size=400), np.zeros(400), random.normal(size=400)], axis=1)
    residuals[:, 1] = -np.exp(residuals[:, 0])
    numbers = expected[:, :3] + residuals
    numbers[::7, 1] = np.nan
    columns = Columns(numbers, records.columns.strings, np.ones_like(records.columns.strings_observed))
    names, (between, *unrelated) = residual_correlations(records.schema, columns, expected)
    assert names == ("amount", "weight", "items")
    assert between < -0.85
    assert np.abs(unrelated).max() < 0.15

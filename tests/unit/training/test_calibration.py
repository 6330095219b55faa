from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.pvalues import p_values, threshold
from service.runtime import open_session
from service.scorer import Scorer
from training.calibration import TIE_TOLERANCE, calibrate, check_alpha
from training.errors import CalibrationError

pytestmark = pytest.mark.training


def test_an_alpha_that_the_split_is_too_small_for_is_refused_with_the_number_needed():
    with pytest.raises(CalibrationError, match=r"alpha = 0\.01: expected at least 99 calibration records, got 98"):
        check_alpha(0.01, 98)
    check_alpha(0.01, 99)


@pytest.mark.parametrize("records", [10, 49, 50, 98, 137, 999])
def test_the_least_alpha_that_is_named_can_be_had(records):
    with pytest.raises(CalibrationError) as caught:
        check_alpha(1e-4, records)
    check_alpha(float(str(caught.value).rsplit(" ", 1)[1]), records)


def test_calibration_keeps_the_scores_of_the_records_ascending(exported_all):
    scorer, records = exported_all.model.scorer, exported_all.prepared.columns
    calibration = calibrate(scorer, records, 0.05)
    scores = np.sort(scorer.score(records).score)
    stored = np.array(calibration.scores)
    assert (np.diff(stored) >= 0).all()
    np.testing.assert_allclose(stored, scores + TIE_TOLERANCE * np.maximum(1.0, np.abs(scores)))
    assert (calibration.alpha, calibration.tie_tolerance) == (0.05, TIE_TOLERANCE)


def test_a_calibration_record_is_never_flagged_for_the_rounding_of_its_own_score(exported_all):
    scorer, records = exported_all.model.scorer, exported_all.prepared.columns
    stored = np.array(calibrate(scorer, records, 0.05).scores)
    n = len(records)
    alone = np.concatenate([scorer.score(records.rows(slice(i, i + 1))).score for i in range(n)])
    # Its own score is among those at or above it, in whatever batch it was scored.
    ranks = n - np.argsort(np.argsort(alone, kind="stable"), kind="stable")
    assert (p_values(stored, alone) >= (1 + ranks) / (n + 1)).all()
    assert (alone > threshold(stored, 0.05)).mean() <= 0.05


def test_too_few_records_for_alpha_are_refused(exported_all):
    with pytest.raises(CalibrationError, match="needs 99 calibration records"):
        calibrate(exported_all.model.scorer, exported_all.prepared.columns.rows(slice(0, 50)), 0.01)


def test_scores_that_are_not_finite_are_refused(exported_all):
    proto = onnx.ModelProto()
    proto.CopyFrom(exported_all.model.proto)
    for initializer in proto.graph.initializer:
        if initializer.name.endswith("typical_kl"):
            initializer.CopyFrom(numpy_helper.from_array(np.array(np.nan, dtype=np.float32), initializer.name))
    broken = Scorer(open_session(proto.SerializeToString()), exported_all.prepared.schema)
    with pytest.raises(CalibrationError, match="expected finite scores, got 200 that are not"):
        calibrate(broken, exported_all.prepared.columns, 0.05)

"""What the settings of a benchmark may change: the alpha that so few records cannot promise, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.quality.trained import Trained, with_attainable_alpha
from vaegis.service.pvalues import p_values
from vaegis.training.config import TrainConfig, with_overrides

pytestmark = pytest.mark.training


def test_enough_records_leave_the_settings_alone():
    assert with_attainable_alpha(TrainConfig(), 396) == TrainConfig()  # 99 calibration records


@pytest.mark.parametrize(("records", "alpha"), [(395, 0.01), (100, 0.01), (34, 0.0286)])
def test_alpha_is_raised_to_what_so_few_records_can_promise(records, alpha):
    changed = with_attainable_alpha(TrainConfig(), records)
    assert changed == with_overrides(TrainConfig(), {"calibration.alpha": alpha})


def test_a_higher_alpha_stays():
    config = with_overrides(TrainConfig(), {"calibration.alpha": 0.2})
    assert with_attainable_alpha(config, 34) == config


@pytest.fixture
def trained() -> Trained:
    return Trained(
        scores=np.array([3.0, 1.0, 2.0]),
        p_values=np.array([0.01, 0.5, 0.05]),
        fit_seconds=1.0,
        records_per_second=1.0,
        file_bytes=1,
        calibration_records=99,
        calibration_method="split-conformal",
    )


def test_records_are_flagged_at_any_alpha_by_their_p_values(trained):
    assert trained.flagged(0.05).tolist() == [True, False, True]
    assert trained.flagged(0.001).tolist() == [False, False, False]


@pytest.mark.parametrize("share", [0.0, 0.019, 0.2])
def test_a_share_of_anomalies_in_the_history_moves_p_values_as_calibration_does(trained, share):
    calibration = np.sort(np.random.default_rng(0).normal(size=99))
    scores = np.linspace(-3.0, 3.0, 50)[:, None]
    kept = calibration[: 99 - int(share * 99)]
    moved = replace(trained, p_values=p_values([calibration], scores)).with_history_anomalies(share)
    assert moved.calibration_records == kept.size
    np.testing.assert_allclose(moved.p_values, p_values([kept], scores))

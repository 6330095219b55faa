"""Intervals agree with their closed forms and with the distributions that they come from."""

import numpy as np
import pytest
from scipy import stats

from vaegis.training.evaluation.intervals import promised_band, share


@pytest.mark.parametrize(("hits", "of"), [(3, 10), (1, 1000), (999, 1000), (50, 100)])
def test_a_share_has_the_interval_of_an_inverted_score_test(hits, of):
    estimate = share(hits, of)
    for bound in (estimate.low, estimate.high):
        distance = abs(estimate.value - bound) / np.sqrt(bound * (1 - bound) / of)
        assert distance == pytest.approx(stats.norm.ppf(0.975))


def test_a_share_of_none_reaches_down_to_zero_and_one_of_all_up_to_one():
    assert (share(0, 10).low, share(10, 10).high) == (0.0, 1.0)
    assert share(0, 10).high == pytest.approx(1 - share(10, 10).low)


@pytest.mark.parametrize(
    ("calibration_records", "normal_records", "alpha", "m"),
    [(999, 5000, 0.01, 10), (7646, 15000, 0.01, 76), (99, 10, 0.01, 1), (99, 400, 0.29, 29), (3000, 50000, 0.0005, 1)],
)
def test_the_band_of_the_promise_is_beta_binomial(calibration_records, normal_records, alpha, m):
    band = promised_band(calibration_records, normal_records, alpha)
    exact = stats.betabinom(normal_records, m, calibration_records + 1 - m)
    assert band.value == pytest.approx(m / (calibration_records + 1))
    assert [band.low, band.high] == pytest.approx(exact.ppf([0.025, 0.975]) / normal_records)


def test_the_band_holds_the_false_alarm_rates_of_real_p_values():
    generator = np.random.default_rng(0)
    band = promised_band(199, 300, 0.05)
    calibration = np.sort(generator.normal(size=(4000, 199)), axis=1)
    fresh = generator.normal(size=(4000, 300))
    flagged = (fresh > calibration[:, [199 - 10]]).mean(axis=1)
    within = ((flagged >= band.low) & (flagged <= band.high)).mean()
    assert 0.945 < within < 0.98  # discrete, so a little more than 0.95

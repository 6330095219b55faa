from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.config import SplitSettings
from training.data.splits import FEWEST_RECORDS, split_at_random, split_by_time
from training.errors import DataError

pytestmark = pytest.mark.training
SHARES = SplitSettings()


def assert_partition(splits, records):
    together = np.concatenate([splits.fit, splits.validation, splits.calibration])
    assert np.array_equal(np.sort(together), np.arange(records))
    for part in (splits.fit, splits.validation, splits.calibration):
        assert part.size >= FEWEST_RECORDS
        assert (np.diff(part) > 0).all()


@settings(deadline=None)
@given(st.integers(40, 2000), st.integers(0, 2**32), st.floats(0.15, 0.4), st.floats(0.15, 0.4))
def test_splits_are_disjoint_cover_all_records_and_have_their_shares(records, seed, validation, calibration):
    shares = SplitSettings(validation_share=validation, calibration_share=calibration)
    splits = split_at_random(records, shares, np.random.default_rng(seed))
    assert_partition(splits, records)
    assert abs(splits.validation.size - records * validation) <= 0.5
    assert abs(splits.calibration.size - records * calibration) <= 0.5


@settings(deadline=None)
@given(st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")), min_size=40, max_size=200))
def test_by_time_the_newest_calibrate_and_the_oldest_are_fitted(times):
    times = np.array(times)
    undated = int(np.isnan(times).sum())
    dated = times.size - undated
    sizes = round(times.size * SHARES.validation_share) + round(times.size * SHARES.calibration_share)
    if dated < max(sizes, 1):
        with pytest.raises(DataError, match="expected a time"):
            split_by_time(times, SHARES)
        return
    splits = split_by_time(times, SHARES)
    assert_partition(splits, times.size)
    assert splits.undated == undated
    assert np.isnan(times[splits.fit]).sum() == undated
    newest_fitted = np.nanmax(times[splits.fit], initial=-np.inf)
    assert newest_fitted <= times[splits.validation].min()
    assert times[splits.validation].max() <= times[splits.calibration].min()


def test_one_seed_gives_one_split():
    one, same, other = (split_at_random(500, SHARES, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one.calibration, same.calibration)
    assert not np.array_equal(one.calibration, other.calibration)


def test_records_of_one_time_stay_in_their_order():
    splits = split_by_time(np.zeros(100), SHARES)
    assert splits.fit.tolist() == list(range(60))
    assert splits.calibration.tolist() == list(range(75, 100))


@pytest.mark.parametrize("records", [0, 1, 30])
def test_too_few_records_are_refused_with_the_number_needed(records):
    with pytest.raises(DataError, match=rf"expected at least 31 records, .* got {records}"):
        split_at_random(records, SHARES, np.random.default_rng(0))


def test_the_number_needed_is_enough():
    assert_partition(split_at_random(31, SHARES, np.random.default_rng(0)), 31)


def test_records_without_any_time_cannot_be_split_by_it():
    with pytest.raises(DataError, match="expected a time"):
        split_by_time(np.full(100, np.nan), SHARES)

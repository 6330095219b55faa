from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.pvalues import p_values
from vaegis.training.config import SplitSettings
from vaegis.training.data.splits import FEWEST_RECORDS, Splits, split_at_random, split_by_group, split_by_time
from vaegis.training.errors import DataError

pytestmark = pytest.mark.training
TWO = SplitSettings(method="split", calibration_share=0.25)
FOLDS = SplitSettings(method="cross", folds=5)
MANY = 50_000


def new_split(records: int, settings: SplitSettings, seed: int = 0) -> Splits:
    return split_at_random(records, settings, np.random.default_rng(seed), most_calibrating=MANY)


def assert_two_parts(splits: Splits, records: int) -> None:
    (fit,), (calibration,) = splits.fit, splits.calibration
    assert splits.method == "split-conformal"
    assert np.array_equal(np.sort(np.concatenate([fit, calibration])), np.arange(records))
    for part in (fit, calibration):
        assert part.size >= FEWEST_RECORDS
        assert (np.diff(part) > 0).all()


@settings(deadline=None)
@given(st.integers(40, 2000), st.integers(0, 2**32), st.floats(0.15, 0.85))
def test_two_parts_are_disjoint_cover_all_records_and_have_their_shares(records, seed, share):
    splits = new_split(records, SplitSettings(method="split", calibration_share=share), seed)
    assert_two_parts(splits, records)
    assert abs(splits.calibration_records - records * share) <= 0.5
    assert np.array_equal(splits.fitted_records, splits.fit[0])


@settings(deadline=None)
@given(st.integers(100, 2000), st.integers(0, 2**32), st.integers(2, 20))
def test_folds_partition_the_records_and_no_member_sees_its_own(records, seed, folds):
    splits = new_split(records, SplitSettings(method="cross", folds=folds), seed)
    assert splits.method == "cross-conformal"
    assert len(splits.fit) == len(splits.calibration) == folds
    assert np.array_equal(np.sort(np.concatenate(splits.calibration)), np.arange(records))
    assert splits.calibration_records == records
    for fit, calibration in zip(splits.fit, splits.calibration, strict=True):
        assert not np.intersect1d(fit, calibration).size
        assert (np.diff(fit) > 0).all()
        assert (np.diff(calibration) > 0).all()


@settings(deadline=None)
@given(st.integers(100, 2000), st.integers(2, 20))
def test_folds_differ_by_one_record_at_most_and_a_member_leaves_out_as_few_of_the_others(records, folds):
    splits = new_split(records, SplitSettings(method="cross", folds=folds))
    sizes = [fold.size for fold in splits.calibration]
    assert max(sizes) - min(sizes) <= 1
    assert splits.fit.shape == (folds, records - max(sizes))
    assert splits.fitted_records.size >= records - 1


def test_few_records_are_made_into_folds_and_more_are_cut_in_two():
    few = SplitSettings(method="auto", cross_below=200)
    assert new_split(199, few).method == "cross-conformal"
    assert new_split(200, few).method == "split-conformal"


@pytest.mark.parametrize("records", [50, 5000])
def test_a_method_that_is_asked_for_is_taken_whatever_the_number_of_records(records):
    assert_two_parts(new_split(records, TWO), records)
    assert new_split(records, FOLDS).method == "cross-conformal"


@settings(deadline=None)
@given(st.lists(st.floats(-1e12, 1e12) | st.just(float("nan")), min_size=40, max_size=200))
def test_by_time_the_newest_calibrate_and_the_same_share_of_those_without_a_time(times):
    times = np.array(times)
    undated = int(np.isnan(times).sum())
    calibrating = round(times.size * TWO.calibration_share)
    undated_calibrating = undated * calibrating // times.size
    dated_calibrating = calibrating - undated_calibrating
    if min(dated_calibrating, times.size - undated - dated_calibrating) < FEWEST_RECORDS:
        with pytest.raises(DataError, match=r"with a time|expected a time"):
            split_by_time(times, TWO, most_calibrating=MANY)
        return
    splits = split_by_time(times, TWO, most_calibrating=MANY)
    assert_two_parts(splits, times.size)
    (fit,), (calibration,) = splits.fit, splits.calibration
    assert splits.undated == undated
    assert np.isnan(times[calibration]).sum() == undated_calibrating
    assert np.nanmax(times[fit], initial=-np.inf) <= np.nanmin(times[calibration])


def test_records_with_a_time_are_never_made_into_folds():
    assert (
        split_by_time(np.arange(100.0), SplitSettings(cross_below=10_000), most_calibrating=MANY).method
        == "split-conformal"
    )
    with pytest.raises(DataError, match=r"expected splits\.method auto or split with a time column, got cross"):
        split_by_time(np.arange(100.0), FOLDS, most_calibrating=MANY)


@pytest.mark.parametrize("settings", [TWO, FOLDS], ids=["split", "cross"])
def test_one_seed_gives_one_split(settings):
    one, same, other = (new_split(500, settings, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.fit, same.fit)
    assert all(map(np.array_equal, one.calibration, same.calibration))
    assert not np.array_equal(one.calibration[0], other.calibration[0])


def test_records_of_one_time_stay_in_their_order():
    splits = split_by_time(np.zeros(100), TWO, most_calibrating=MANY)
    assert splits.fit[0].tolist() == list(range(75))
    assert splits.calibration[0].tolist() == list(range(75, 100))


@pytest.mark.parametrize(
    ("records", "settings", "needed"), [(0, TWO, 19), (1, TWO, 19), (18, TWO, 19), (0, FOLDS, 25), (24, FOLDS, 25)]
)
def test_too_few_records_are_refused_with_the_number_needed_which_is_enough(records, settings, needed):
    with pytest.raises(DataError, match=rf"expected at least {needed} records, .* got {records}"):
        new_split(records, settings)
    splits = new_split(needed, settings)
    assert min(part.size for part in (*splits.fit, *splits.calibration)) >= FEWEST_RECORDS


def test_records_without_any_time_cannot_be_split_by_it():
    with pytest.raises(DataError, match="expected a time in at least one record, got none"):
        split_by_time(np.full(100, np.nan), TWO, most_calibrating=MANY)


def test_too_few_records_with_a_time_are_refused_with_their_number():
    times = np.where(np.arange(100) < 12, 1.0, np.nan)
    with pytest.raises(DataError, match="expected records with a time in both splits, at least 5 each, got 12"):
        split_by_time(times, TWO, most_calibrating=MANY)


def test_records_beyond_the_most_that_calibrate_are_fitted():
    at_random = split_at_random(1000, TWO, np.random.default_rng(0), most_calibrating=100)
    by_time = split_by_time(np.arange(1000.0), TWO, most_calibrating=100)
    for splits in (at_random, by_time):
        assert_two_parts(splits, 1000)
        assert splits.calibration_records == 100
    assert by_time.calibration[0].tolist() == list(range(900, 1000))


def test_a_split_below_the_most_that_calibrate_is_the_same_whatever_that_is():
    one, other = (split_at_random(1000, TWO, np.random.default_rng(0), most_calibrating=most) for most in (250, 50_000))
    assert np.array_equal(one.fit, other.fit)


def test_folds_calibrate_by_all_records():
    splits = split_at_random(100, FOLDS, np.random.default_rng(0), most_calibrating=10)
    assert splits.calibration_records == 100


@settings(deadline=None)
@given(st.integers(100, 600), st.integers(20, 50), st.integers(0, 2**32), st.sampled_from([TWO, FOLDS]))
def test_no_group_is_fitted_and_calibrates_one_member(records, most_groups, seed, chosen):
    groups = np.random.default_rng(seed).integers(-1, most_groups, records)
    splits = split_by_group(groups, chosen, np.random.default_rng(seed), most_calibrating=MANY)
    for fit, calibration in zip(splits.fit, splits.calibration, strict=True):
        assert not np.intersect1d(fit, calibration).size
        assert not np.intersect1d(groups[fit][groups[fit] >= 0], groups[calibration]).size
        assert calibration.size >= FEWEST_RECORDS
    calibrating = np.concatenate(splits.calibration)
    assert np.unique(calibrating).size == calibrating.size
    if chosen is FOLDS:
        assert calibrating.size == groups.size
    else:
        assert_two_parts(splits, groups.size)
        largest = np.unique(groups[groups >= 0], return_counts=True)[1].max()
        assert abs(calibrating.size - 0.25 * groups.size) <= largest


def test_few_groups_are_made_into_folds_and_more_are_cut_in_two():
    auto, generator = SplitSettings(calibration_share=0.2), np.random.default_rng(0)

    def method(groups: int) -> str:
        many = np.repeat(np.arange(groups), 4)
        return split_by_group(many, auto, generator, most_calibrating=MANY).method

    assert [method(groups) for groups in (499, 500)] == ["cross-conformal", "split-conformal"]


@pytest.mark.parametrize("chosen", [TWO, FOLDS], ids=["split", "cross"])
def test_too_few_groups_are_refused_with_their_number(chosen):
    with pytest.raises(DataError, match=r"splits\.group_column: expected groups for \d parts .* got 1 groups"):
        split_by_group(np.zeros(200, dtype=np.int64), chosen, np.random.default_rng(0), most_calibrating=MANY)


def test_records_of_new_groups_are_flagged_at_alpha_if_whole_groups_calibrate_and_far_more_often_if_not():
    """100 groups of 20 records, twice as far apart between groups as within; the score is the distance to the nearest.

    Over four draws, the rate is about 6% with records that calibrate drawn one by one, and 1% with whole groups.
    """

    def nearest(fitted, records):
        squares = ((records[:, None] - fitted[None]) ** 2).sum(-1)
        return np.sqrt(squares.min(1))

    def rate(splits, records, fresh):
        pairs = [(records[fit], records[held]) for fit, held in zip(splits.fit, splits.calibration, strict=True)]
        folds = [np.sort(nearest(fit, held)) for fit, held in pairs]
        scores = np.stack([nearest(fit, fresh) for fit, _ in pairs], axis=1)
        return (p_values(folds, scores) <= 0.01).mean()

    groups = np.repeat(np.arange(100), 20)
    one_by_one, whole = [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        both = np.repeat(2.0 * rng.normal(size=(200, 4)), 20, axis=0) + rng.normal(size=(4000, 4))
        records, fresh = both[:2000], both[2000:]
        alone = split_at_random(2000, SplitSettings(), rng, most_calibrating=MANY)
        together = split_by_group(groups, SplitSettings(), rng, most_calibrating=MANY)
        one_by_one.append(rate(alone, records, fresh))
        whole.append(rate(together, records, fresh))
    assert np.mean(one_by_one) > 0.04
    assert np.mean(whole) < 0.02

"""Draws of one column, over any distribution that a decoder could give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.contract import NumericColumn, TimestampColumn
from vaegis.service.draws import DecodedColumn, codes, instants, numbers, possible

RECORDS = 200
NO_LOCATION = np.zeros(RECORDS)
seeds = st.integers(0, 2**32)


def numeric(*, minimum: float, maximum: float, step: float, noise_scale: float = 1.0) -> NumericColumn:
    return NumericColumn(
        name="x",
        missing_share=0.0,
        minimum=minimum,
        maximum=maximum,
        quantiles=tuple(np.linspace(minimum, maximum, 7).tolist()),
        step=step,
        noise_scale=noise_scale,
        degrees_of_freedom=4.0,
    )


def timestamp(earliest: float, latest: float) -> TimestampColumn:
    return TimestampColumn(name="t", missing_share=0.0, earliest=earliest, latest=latest)


def always(*, hour: int, weekday: int, records: int = RECORDS) -> DecodedColumn:
    probabilities = np.tile(np.eye(24)[hour], (records, 1)), np.tile(np.eye(7)[weekday], (records, 1))
    return DecodedColumn(NO_LOCATION, probabilities)


@given(
    seed=seeds,
    units=st.integers(-1000, 1000),
    width=st.integers(0, 1000),
    decimals=st.integers(-2, 6),
    scale=st.floats(1e-3, 1e6),
    location=st.floats(-1e9, 1e9),
)
def test_numbers_lie_on_the_grid_and_inside_the_range(seed, units, width, decimals, scale, location):
    step = float(f"1e{-decimals}")
    minimum, maximum = float(f"{units}e{-decimals}"), float(f"{units + width}e{-decimals}")
    column = numeric(minimum=minimum, maximum=maximum, step=step, noise_scale=scale)
    drawn = numbers(column, DecodedColumn(np.full(RECORDS, location)), np.random.default_rng(seed))
    assert (drawn >= minimum).all()
    assert (drawn <= maximum).all()
    on_grid = {float(f"{n}e{-decimals}") for n in range(units, units + width + 1)}
    assert set(drawn.tolist()) <= on_grid


@given(seed=seeds, minimum=st.floats(-1e300, 1e300), width=st.floats(0, 1e6), location=st.floats(-1e300, 1e300))
def test_numbers_without_a_grid_lie_inside_the_range(seed, minimum, width, location):
    column = numeric(minimum=minimum, maximum=minimum + width, step=0.0)
    drawn = numbers(column, DecodedColumn(np.full(RECORDS, location)), np.random.default_rng(seed))
    assert (drawn >= column.minimum).all()
    assert (drawn <= column.maximum).all()


def test_numbers_do_not_pile_up_at_a_bound_within_the_bulk():
    column = numeric(minimum=0.0, maximum=100.0, step=0.0)
    drawn = numbers(column, DecodedColumn(np.zeros(10_000)), np.random.default_rng(1))
    assert np.count_nonzero(drawn == 0.0) < 100


def test_numbers_follow_the_student_t_likelihood():
    column = numeric(minimum=-1e9, maximum=1e9, step=0.0, noise_scale=3.0)
    drawn = numbers(column, DecodedColumn(np.full(100_000, 7.0)), np.random.default_rng(1))
    # Quartiles of a Student-t with four degrees of freedom lie 0.7407 scales from its centre.
    assert np.quantile(drawn, [0.25, 0.5, 0.75]) == pytest.approx([7 - 2.222, 7.0, 7 + 2.222], abs=0.06)


def test_a_whole_column_never_holds_a_negative_zero():
    drawn = numbers(
        numeric(minimum=-1.0, maximum=1.0, step=1.0), DecodedColumn(np.zeros(RECORDS)), np.random.default_rng(1)
    )
    assert not np.signbit(drawn[drawn == 0.0]).any()


def test_placeholders_are_drawn_with_their_probability():
    column = numeric(minimum=-999.0, maximum=30.0, step=0.0).model_copy(update={"placeholders": (-999.0,)})
    probabilities = np.tile([0.9, 0.1], (10_000, 1))
    drawn = numbers(column, DecodedColumn(np.full(10_000, 20.0), [probabilities]), np.random.default_rng(1))
    assert np.mean(drawn == -999.0) == pytest.approx(0.1, abs=0.02)
    assert np.median(drawn) == pytest.approx(20.0, abs=0.2)


@given(seed=seeds, weights=st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(lambda w: sum(w) > 1e-3))
def test_a_category_without_probability_is_never_drawn(seed, weights):
    drawn = codes(np.tile(weights, (RECORDS, 1)), np.random.default_rng(seed))
    assert drawn.min() >= 0
    assert drawn.max() < len(weights)
    assert all(weights[code] > 0 for code in set(drawn.tolist()))


def test_categories_come_by_their_probabilities():
    drawn = codes(np.tile([0.2, 0.5, 0.3], (100_000, 1)), np.random.default_rng(1))
    assert np.bincount(drawn) / drawn.size == pytest.approx([0.2, 0.5, 0.3], abs=0.01)


@given(
    seed=seeds,
    earliest=st.floats(-6e10, 2.5e11),
    width=st.floats(0, 1e9),
    hour=st.integers(0, 23),
    weekday=st.integers(0, 6),
)
def test_instants_lie_inside_the_range(seed, earliest, width, hour, weekday):
    column = timestamp(earliest, earliest + width)
    drawn = instants(column, always(hour=hour, weekday=weekday), np.random.default_rng(seed))
    assert (drawn >= column.earliest).all()
    assert (drawn <= column.latest).all()


@given(seed=seeds, hour=st.integers(0, 23), weekday=st.integers(0, 6))
def test_instants_have_the_hour_and_the_weekday_drawn(seed, hour, weekday):
    year = timestamp(1_700_000_000.0, 1_731_622_400.0)
    drawn = instants(year, always(hour=hour, weekday=weekday), np.random.default_rng(seed))
    midnights = drawn.astype("datetime64[s]").astype("datetime64[D]")
    assert set(((drawn % 86_400) // 3600).tolist()) == {hour}
    # numpy counts business days from Monday.
    assert np.is_busday(midnights, weekmask=np.eye(7, dtype=bool)[weekday]).all()


def test_instants_cover_the_whole_range():
    year = timestamp(1_700_000_000.0, 1_731_622_400.0)
    evenly = np.full((50_000, 24), 1 / 24), np.full((50_000, 7), 1 / 7)
    drawn = instants(year, DecodedColumn(NO_LOCATION, evenly), np.random.default_rng(1))
    assert np.quantile(drawn, [0.25, 0.5, 0.75]) == pytest.approx(
        np.linspace(year.earliest, year.latest, 5)[1:4], abs=3 * 86_400
    )


def test_a_weekday_outside_a_range_of_days_gives_way_to_a_day_within():
    monday = 1_700_438_400.0  # 2023-11-20T00:00:00Z
    column = timestamp(monday, monday + 2 * 86_400 - 1)
    drawn = instants(column, always(hour=5, weekday=6), np.random.default_rng(1))
    assert set(((drawn - monday) // 86_400).tolist()) == {0.0, 1.0}
    assert set(((drawn % 86_400) // 3600).tolist()) == {5.0}


def test_an_instant_that_lies_between_two_seconds_is_kept():
    column = timestamp(1_700_000_000.25, 1_700_000_000.75)
    drawn = instants(column, always(hour=0, weekday=0), np.random.default_rng(1))
    assert set(drawn.tolist()) == {1_700_000_000.25}


def test_what_training_never_saw_is_impossible_and_what_it_always_saw_is_certain():
    given_by_decoder = np.full((2, 3), 0.4)
    assert possible(given_by_decoder, np.array([0.0, 0.3, 1.0])).tolist() == [[0.0, 0.4, 1.0]] * 2


def test_dates_follow_the_probabilities_of_their_parts():
    three_years = timestamp(1_609_459_200.0, 1_704_067_199.0).model_copy(update={"calendar": ("month", "day")})
    months, days = np.full((2000, 12), 0.01 / 11), np.full((2000, 31), 0.4 / 29)
    months[:, 6], days[:, [0, 14]] = 0.99, 0.3
    evenly = np.full((2000, 24), 1 / 24), np.full((2000, 7), 1 / 7)
    drawn = instants(three_years, DecodedColumn(NO_LOCATION, (*evenly, months, days)), np.random.default_rng(1)).astype(
        "datetime64[s]"
    )
    month = drawn.astype("datetime64[M]")
    day = (drawn.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int)
    assert (month.astype(int) % 12 == 6).mean() > 0.95
    assert np.isin(day, [0, 14]).mean() > 0.25  # in three Julys, on three of the seven weekdays; 6% without

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.training.model.likelihoods.timestamp import ENCODED_WIDTH, FIELDS, calendar, encoded, fields

pytestmark = pytest.mark.training
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(*instants: float) -> torch.Tensor:
    return torch.tensor([instants], dtype=torch.float64)


@given(st.datetimes(timezones=st.just(UTC)))
@settings(max_examples=500, deadline=None)
def test_hour_and_weekday_are_those_of_the_calendar(instant):
    whole = instant.replace(microsecond=0)
    ((field,),) = fields(seconds((whole - EPOCH) / timedelta(seconds=1))).tolist()
    assert field == [whole.hour, whole.weekday()]


@given(st.datetimes(timezones=st.just(UTC)))
@settings(max_examples=500, deadline=None)
def test_month_and_day_are_those_of_the_calendar(instant):
    month, day = calendar(seconds((instant.replace(microsecond=0) - EPOCH) / timedelta(seconds=1)))
    assert (month.item(), day.item()) == (instant.month - 1, instant.day - 1)


@pytest.mark.parametrize(
    ("instant", "hour", "weekday"),
    [
        (0.0, 0, 3),  # a Thursday
        (-1e-3, 23, 2),
        (3599.999, 0, 3),
        (3600.0, 1, 3),
        (4 * 86400.0 - 1, 23, 6),
        (4 * 86400.0, 0, 0),
        (-3 * 86400.0, 0, 0),
    ],
)
def test_edges_of_hours_days_and_weeks_belong_to_what_begins(instant, hour, weekday):
    assert fields(seconds(instant)).tolist() == [[[hour, weekday]]]


@given(st.floats(allow_nan=False))
@settings(deadline=None)
def test_any_instant_has_an_hour_and_a_weekday_and_finite_features(instant):
    ((field,),) = fields(seconds(instant)).tolist()
    assert 0 <= field[0] < FIELDS[0]
    assert 0 <= field[1] < FIELDS[1]
    features = encoded(seconds(instant))
    assert features.shape == (1, ENCODED_WIDTH)
    assert (features.abs() <= 1.0 + 1e-6).all()


@given(st.floats(-1e10, 1e10))
@settings(deadline=None)
def test_features_are_the_sines_and_cosines_of_the_day_and_the_week(instant):
    day, week = 2 * math.pi * (instant % 86400) / 86400, 2 * math.pi * ((instant + 3 * 86400) % 604800) / 604800
    expected = [math.sin(day), math.sin(week), math.cos(day), math.cos(week)]
    assert encoded(seconds(instant))[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_midnight_lies_beside_a_minute_to_midnight():
    features = encoded(torch.tensor([[-60.0], [0.0]], dtype=torch.float64))
    assert float((features[0] - features[1]).norm()) < 0.01


def test_several_columns_keep_their_order_sines_first():
    both = encoded(seconds(1e9, 2e9))
    first, second = encoded(seconds(1e9)), encoded(seconds(2e9))
    # For t columns: sines of the days, of the weeks, then cosines alike.
    expected = torch.stack([first, second], dim=2).flatten(1)
    torch.testing.assert_close(both, expected)

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.contract import NumericColumn
from vaegis.service.grid import on_grid

AMOUNT = NumericColumn(
    name="amount",
    missing_share=0.1,
    minimum=0.0,
    maximum=100.0,
    quantiles=(1.0, 5.0, 10.0, 20.0, 30.0, 50.0, 90.0),
    step=0.01,
    noise_scale=1.0,
    degrees_of_freedom=4.0,
)


@pytest.mark.parametrize(
    ("step", "value", "shown"),
    [
        (0.0, 1234.56789, 1234.57),
        (0.0, 0.000123456789, 0.000123457),
        (0.01, 20.004, 20.0),
        (0.01, 20.006, 20.01),
        (0.1, 0.30000000000000004, 0.3),
        (1e-6, 1.23456749, 1.234567),
        (1.0, 2.5000001, 3),
        (1.0, -0.2, 0),
        (1.0, 1e15, 10**15),
    ],
)
def test_expected_numbers_lie_on_the_grid_of_their_column(step, value, shown):
    given_ = on_grid(AMOUNT.model_copy(update={"step": step}))(value)
    assert given_ == shown
    assert type(given_) is type(shown)


@given(st.floats(-1e9, 1e9), st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 1e-4, 2.5, 1e-7, 1 / 3]))
def test_a_value_on_the_grid_is_the_decimal_that_it_stands_for(value, step):
    shown = on_grid(AMOUNT.model_copy(update={"step": step}))(value)
    assert shown == float(Decimal(round(value / step)) * Decimal(str(step)))


@pytest.mark.parametrize(("value", "shown"), [(-3.0, 10), (24.0, 20), (36.0, 50), (1e9, 100)])
def test_an_expected_number_of_few_values_is_one_of_them(value, shown):
    column = AMOUNT.model_copy(update={"step": 1.0, "values": (10.0, 20.0, 50.0, 100.0)})
    given_ = on_grid(column)(value)
    assert given_ == shown
    assert type(given_) is int

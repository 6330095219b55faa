from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.contract import CategoricalColumn, NumericColumn, Reading, Schema, TimestampColumn
from vaegis.training.data.schema import standard_unit
from vaegis.training.model.preprocessing import (
    NULL_CODE,
    Preprocessing,
    categorical_sizes,
    center,
    rows,
    unit,
    unseen_mass,
)

pytestmark = pytest.mark.training
NAN = float("nan")


def numeric(*values: float, step: float = 0.0, name: str = "x") -> NumericColumn:
    quantiles = tuple(float(q) for q in np.quantile(values, (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)))
    return NumericColumn(
        name=name,
        missing_share=0.0,
        minimum=min(values),
        maximum=max(values),
        quantiles=quantiles,
        step=step,
        noise_scale=standard_unit(np.array(values), step),
        degrees_of_freedom=4.0,
    )


def standardised(column: NumericColumn, *values: float) -> list[float]:
    with torch.no_grad():
        batch = Preprocessing(Schema(columns=(column,)))(torch.tensor(values, dtype=torch.float64)[:, None])
    return batch.numeric[:, 0].tolist()


def test_normal_values_get_a_standard_deviation_of_one_around_their_median():
    values = 1e4 + 50.0 * np.random.default_rng(0).normal(size=20_000)
    out = np.array(standardised(numeric(*values), *values))
    assert np.median(out) == pytest.approx(0.0, abs=1e-3)
    assert out.std() == pytest.approx(1.0, rel=0.03)


def test_gross_values_move_neither_centre_nor_unit_by_much():
    values = np.random.default_rng(0).normal(size=2000)
    dirty = np.concatenate([values, np.full(9, 1e9)])  # not quite half a per cent
    assert center(numeric(*dirty)) == pytest.approx(center(numeric(*values)), abs=0.1)
    assert unit(numeric(*dirty)) == pytest.approx(unit(numeric(*values)), rel=0.5)


@pytest.mark.parametrize("base", [1.7e9, 1e12, 2.0**44])
def test_large_numbers_keep_their_digits(base):
    # As float32, these would all be one number.
    column = numeric(*(base + i for i in range(101)), step=1.0)
    out = standardised(column, base, base + 1, base + 50, base + 51)
    assert unit(column) == pytest.approx(101 / 12**0.5, rel=0.01)  # of a uniform
    assert out[1] - out[0] == pytest.approx(out[3] - out[2], rel=1e-5)
    assert out[1] - out[0] == pytest.approx(1.0 / unit(column), rel=1e-5)


@given(st.floats(allow_nan=False))
@settings(deadline=None)
def test_any_number_is_finite_when_standardised_and_order_is_kept(value):
    low, middle, high = standardised(numeric(0.0, 1.0, 2.0), -abs(value), 1.0, abs(value) + 2.0)
    assert np.isfinite([low, middle, high]).all()
    assert low <= middle <= high


def test_a_value_off_a_constant_column_stands_far_off_and_the_constant_at_zero():
    at, off = standardised(numeric(*[1e6] * 10), 1e6, 1e6 + 100.0)
    assert at == 0.0
    assert off == pytest.approx(100.0)  # a millionth of the value is the unit


def test_nulls_are_zero_and_not_observed_in_every_kind(prepared):
    preprocessing = Preprocessing(prepared.schema)
    values = preprocessing(torch.full((2, 4), NAN, dtype=torch.float64), torch.full((2, 2), NULL_CODE))
    assert not values.observed.any()
    for part in (values.numeric, values.boolean, values.cyclic, values.elapsed):
        assert (part == 0).all()
    assert (values.codes[:, :2] == NULL_CODE).all()


def test_observed_flags_are_in_schema_order(prepared):
    columns, schema = prepared.columns, prepared.schema
    values = prepared.values(prepared.model())
    for position, name in enumerate(schema.names):
        if position in schema.string_positions:
            expected = columns.strings_observed[:, schema.string_positions.index(position)]
        else:
            expected = ~np.isnan(columns.numbers[:, schema.number_positions.index(position)])
        assert np.array_equal(values.observed[:, position].numpy(), expected), name


def test_categories_come_first_among_the_codes_then_hours_and_weekdays(prepared):
    # Schema order of the numbers: amount, placed_at, express, weight.
    numbers = torch.tensor([[1.0, 4 * 86400.0 + 7200.0, 1.0, 1.0]], dtype=torch.float64)
    values = Preprocessing(prepared.schema)(numbers, torch.tensor([[2, 1]]))
    assert values.codes.tolist() == [[2, 1, 2, 0]]
    assert values.boolean.tolist() == [[1.0]]


def test_a_schema_without_categories_needs_no_codes():
    schema = Schema(columns=(numeric(0.0, 1.0), TimestampColumn(name="t", missing_share=0, earliest=0, latest=1)))
    values = Preprocessing(schema)(torch.tensor([[0.5, 0.0]], dtype=torch.float64))
    assert values.codes.tolist() == [[0, 3]]
    assert values.observed.tolist() == [[True, True]]


def test_times_outside_those_of_training_are_placed_at_its_ends():
    schema = Schema(columns=(TimestampColumn(name="t", missing_share=0.0, earliest=1e9, latest=3e9),))
    seconds = torch.tensor([[1e9], [2e9], [3e9], [9e9], [-1e300]], dtype=torch.float64)
    values = Preprocessing(schema)(seconds)
    newest = 12**0.5 * 0.45  # from nine tenths of the time on
    assert values.elapsed[:, 0].tolist() == pytest.approx([-newest, 12**0.5 * 0.05, newest, newest, -newest])


def test_two_weeks_have_one_place_because_the_next_ones_would_be_at_their_edge():
    schema = Schema(columns=(TimestampColumn(name="t", missing_share=0.0, earliest=0.0, latest=14 * 86_400.0),))
    values = Preprocessing(schema)(torch.tensor([[0.0], [1e6], [9e9]], dtype=torch.float64))
    assert not values.elapsed.any()


def test_a_time_that_a_history_without_a_whole_day_lacks_counts_as_the_last_of_its_time_of_day():
    monday, hour = 4 * 86_400.0, 3_600.0
    at = {"missing_share": 0.0, "earliest": monday + 9 * hour, "latest": monday + (24 + 11) * hour}
    week = Preprocessing(Schema(columns=(TimestampColumn(name="at", **at),)))
    times = monday + hour * torch.tensor(
        [10.0, 30.0, 40.0, 54.0, 65.0, 7 * 24 + 5.0, 7 * 24 + 12.0], dtype=torch.float64
    )
    codes = week(times[:, None]).codes
    assert codes[:, 1].tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert codes[:, 0].tolist() == [10, 6, 16, 6, 17, 5, 12]


def test_a_history_of_less_than_a_day_has_one_time_but_times_of_day_have_their_own():
    hour = 3_600.0
    at = {"missing_share": 0.0, "earliest": 9 * hour, "latest": 17 * hour}
    hours = torch.tensor([[10.0], [16.0], [3.0], [40.0]], dtype=torch.float64)
    short = Preprocessing(Schema(columns=(TimestampColumn(name="at", **at),)))
    assert short(hours * hour).codes[:, :2].tolist() == [[9, 3]] * 4
    assert not short(hours * hour).elapsed.any()
    times = TimestampColumn(name="at", **at, reading=Reading(format="%H:%M:%S"))
    assert Preprocessing(Schema(columns=(times,)))(hours[:3] * hour).codes[:, 0].tolist() == [10, 16, 3]


def test_a_weekday_that_a_short_history_lacks_counts_as_its_last_whole_day():
    monday, hour = 4 * 86_400.0, 3_600.0  # 1970-01-05
    at = {"missing_share": 0.0, "earliest": monday + 9 * hour, "latest": monday + (2 * 24 + 8) * hour}
    week = Preprocessing(Schema(columns=(TimestampColumn(name="at", **at),)))
    times = monday + hour * torch.tensor([10.0, 34.0, 50.0, 58.0, 82.0, 154.0, 178.0, 250.0], dtype=torch.float64)
    codes = week(times[:, None]).codes
    assert codes[:, 1].tolist() == [0, 1, 2, 1, 1, 1, 0, 1]  # Wednesday after 8, Thursday, Sunday; the next week
    assert codes[:, 0].tolist() == [10, 10, 2, 10, 10, 10, 10, 10]
    at["latest"] = monday + 7 * 24 * hour
    whole = Preprocessing(Schema(columns=(TimestampColumn(name="at", **at),)))
    assert whole(times[:, None]).codes[:, 1].tolist() == [0, 1, 2, 2, 3, 6, 0, 3]


def test_sizes_and_shares_outside_are_those_of_the_fields():
    schema = Schema(
        columns=(
            TimestampColumn(name="t", missing_share=0.0, earliest=0.0, latest=1.0),
            CategoricalColumn(name="c", missing_share=0.0, categories=("a", "b"), shares=(0.5, 0.3)),
        )
    )
    sizes, outside = categorical_sizes(schema, 100)
    assert sizes == [2, 24, 7]
    assert outside == pytest.approx([0.2, 0.0, 0.0])


def test_the_unseen_mass_is_near_the_share_of_fresh_values_that_training_did_not_see():
    rng = np.random.default_rng(0)
    for exponent in (1.5, 2.0, 3.0):
        seen, fresh = rng.zipf(exponent, (2, 2000))
        values, counts = np.unique(seen, return_counts=True)
        column = CategoricalColumn(
            name="c", missing_share=0.0, categories=tuple(map(str, values)), shares=tuple(counts / 2000)
        )
        new = float((~np.isin(fresh, values)).mean())
        assert unseen_mass(column, 2000) == pytest.approx(new, rel=0.3, abs=0.005)


def test_rows_takes_the_same_records_of_every_part(prepared):
    values = prepared.values(prepared.model())
    some = rows(values, torch.tensor([5, 3]))
    assert all(torch.equal(part, whole[[5, 3]]) for part, whole in zip(some, values, strict=True))


def test_rows_of_an_index_matrix_are_those_of_each_member(prepared):
    values = prepared.values(prepared.model())
    index = torch.tensor([[5, 3], [3, 0], [7, 7]])
    for part, *of_each in zip(rows(values, index), *(rows(values, row) for row in index), strict=True):
        assert torch.equal(part, torch.stack(of_each))


def test_a_placeholder_is_distinguished_from_the_numbers_next_to_it_also_after_float32():
    column = numeric(*np.linspace(10.0, 30.0, 100)).model_copy(update={"placeholders": (-999.9, 1e6)})
    given_ = [20.0, -999.9, float(np.float32(-999.9)), -999.8, 1e6, NAN]
    with torch.no_grad():
        batch = Preprocessing(Schema(columns=(column,)))(torch.tensor(given_, dtype=torch.float64)[:, None])
    assert batch.codes[:, 0].tolist() == [0, 1, 1, 0, 2, 0]
    assert batch.placeholders.tolist() == [[0, 0], [1, 0], [1, 0], [0, 0], [0, 1], [0, 0]]
    assert (batch.numeric[[1, 2, 4, 5], 0] == 0.0).all()
    assert batch.numeric[3, 0] < -100.0

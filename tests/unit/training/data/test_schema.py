from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.contract import (
    QUANTILE_FRACTIONS,
    BooleanColumn,
    CategoricalColumn,
    NumericColumn,
    TimestampColumn,
)
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.schema import (
    build_schema,
    category_codes,
    columns_of,
    grid_step,
    standard_unit,
    with_noise_scales,
)
from vaegis.training.errors import DataError
from vaegis.training.model.preprocessing import NULL_CODE, unit

pytestmark = pytest.mark.training


@pytest.fixture
def schema_of(new_sample):
    """Build a schema from columns given as lists; kinds by column name."""

    def build(columns, kinds, *, fit_rows=None, max_categories=10):
        table = pa.table(columns)
        plans = tuple(ColumnPlan(name, kinds.get(name), "an identifier") for name in table.column_names)
        rows = np.arange(table.num_rows) if fit_rows is None else np.array(fit_rows)
        return build_schema(plans, new_sample(table), rows, max_categories=max_categories)

    return build


def test_each_kind_has_the_statistics_of_the_fit_split_alone(schema_of):
    schema = schema_of(
        {
            "n": [1.0, 2.0, 3.0, None, 1e9],
            "b": [True, False, False, False, True],
            "c": ["x", "x", "y", None, "later"],
            "t": [0.0, 86400.0, None, 10.0, 1e10],
        },
        {"n": "numeric", "b": "boolean", "c": "categorical", "t": "timestamp"},
        fit_rows=[0, 1, 2, 3],
    )
    n, b, c, t = schema.columns
    assert isinstance(n, NumericColumn)
    assert (n.minimum, n.maximum, n.quantiles[3], n.missing_share, n.step) == (1.0, 3.0, 2.0, 0.25, 1.0)
    assert isinstance(b, BooleanColumn)
    assert (b.true_share, b.missing_share, b.as_number) == (0.25, 0.0, False)
    assert isinstance(c, CategoricalColumn)
    assert (c.categories, c.missing_share) == (("x", "y"), 0.25)
    assert c.shares == pytest.approx((2 / 3, 1 / 3))
    assert isinstance(t, TimestampColumn)
    assert (t.earliest, t.latest, t.missing_share) == (0.0, 86400.0, 0.25)


def test_columns_that_are_not_scored_keep_their_reason(schema_of):
    schema = schema_of({"id": ["a", "b"], "n": [1.0, 2.0]}, {"n": "numeric"})
    assert [(column.name, column.reason) for column in schema.ignored] == [("id", "an identifier")]


@pytest.mark.parametrize("kind", ["numeric", "boolean", "categorical", "timestamp"])
def test_a_column_that_is_null_throughout_the_fit_split_is_ignored(schema_of, kind):
    values = pa.array([None, None, "1"] if kind == "categorical" else [None, None, 1.0])
    schema = schema_of({"x": values, "n": [1.0, 2.0, 3.0]}, {"x": kind, "n": "numeric"}, fit_rows=[0, 1])
    assert schema.names == ("n",)
    assert schema.ignored[0].reason == "null in every record of the fit split"


def test_records_without_any_value_are_refused(schema_of):
    with pytest.raises(DataError, match="expected a column with values in the fit split"):
        schema_of({"x": pa.array([None, None], pa.float64())}, {"x": "numeric"})


def test_the_most_frequent_categories_are_kept_and_ties_go_by_name(schema_of):
    values = ["b", "a", "c", "c", "d"]
    (column,) = schema_of({"x": values}, {"x": "categorical"}, max_categories=3).columns
    assert isinstance(column, CategoricalColumn)
    assert column.categories == ("c", "a", "b")
    assert column.shares == pytest.approx((0.4, 0.2, 0.2))


def test_a_boolean_of_zeros_and_ones_is_remembered_as_a_number(schema_of):
    for values, as_number in (([0, 1], True), ([True, False], False), (["true", "False"], False), (["0", "1"], True)):
        (column,) = schema_of({"x": values}, {"x": "boolean"}).columns
        assert isinstance(column, BooleanColumn)
        assert column.as_number is as_number


def test_infinite_numbers_count_as_nulls(schema_of, new_sample):
    table = {"x": [1.0, float("inf"), float("nan"), 4.0]}
    schema = schema_of(table, {"x": "numeric"})
    (column,) = schema.columns
    assert isinstance(column, NumericColumn)
    assert (column.maximum, column.missing_share) == (4.0, 0.5)
    columns = columns_of(new_sample(pa.table(table)), schema)
    assert np.isnan(columns.numbers[:, 0]).tolist() == [False, True, True, False]


def test_a_value_that_is_not_of_its_kind_is_refused_with_its_place(schema_of):
    with pytest.raises(DataError, match=r"records\.csv, row 2, column x: expected a number"):
        schema_of({"x": ["1", "much"]}, {"x": "numeric"})


def test_columns_follow_the_schema_and_codes_its_categories(prepared):
    columns, schema = prepared.columns, prepared.schema
    codes = category_codes(columns, schema).numpy()
    assert columns.numbers.shape == (200, 4)
    for at, position in enumerate(schema.string_positions):
        column = schema.columns[position]
        assert isinstance(column, CategoricalColumn)
        cells = zip(columns.strings[:, at], columns.strings_observed[:, at], codes[:, at], strict=True)
        for value, there, code in cells:
            assert (column.categories[code] == value) if there else (code == NULL_CODE)


def test_an_unseen_category_has_the_code_behind_the_last(prepared):
    columns = prepared.columns.rows(np.array([0]))  # a copy, as the records are shared
    columns.strings[:] = "never seen"
    columns.strings_observed[:] = True
    assert category_codes(columns, prepared.schema).tolist() == [[3, 2]]


def test_noise_scales_are_put_down_in_the_unit_of_their_column(prepared):
    schema = with_noise_scales(prepared.schema, [0.5, 2.0])
    pairs = zip(prepared.schema.columns, schema.columns, strict=True)
    shares = [fitted.noise_scale / unit(plain) for plain, fitted in pairs if isinstance(plain, NumericColumn)]
    assert shares == pytest.approx([0.5, 2.0])
    assert schema.names == prepared.schema.names


def test_the_unit_of_a_column_is_its_standard_deviation():
    values = np.random.default_rng(0).normal(50.0, 3.0, 2000)
    assert standard_unit(values, 0.0) == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize("gross", [1e3, 1e9, 1e300])
def test_gross_values_do_not_widen_the_unit(gross):
    values = np.random.default_rng(0).normal(50.0, 3.0, 2000)
    values[:4] = [gross, -gross, gross, gross]
    assert standard_unit(values, 0.0) == pytest.approx(3.0, rel=0.05)


def test_a_column_with_few_values_off_its_main_one_takes_a_tenth_of_its_range():
    assert standard_unit(np.array([0.0] * 5000 + [20.0]), 1.0) == 2.0


@pytest.mark.parametrize(
    ("value", "step", "unit_of_it"),
    [(2.0, 1.0, 1.0), (0.25, 0.01, 0.01), (0.0, 1.0, 1.0), (0.0, 0.0, 1e-6), (1e9 / 3.0, 0.0, 1e3 / 3.0)],
)
def test_a_constant_column_takes_its_grid_step_or_a_millionth_of_its_value(value, step, unit_of_it):
    assert standard_unit(np.full(100, value), step) == pytest.approx(unit_of_it)


def test_rounding_is_no_width():
    values = np.full(1000, 0.1 + 0.2)
    values[::2] = 0.3
    assert standard_unit(values, 0.0) == pytest.approx(1e-6)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50))
def test_every_column_has_a_unit_above_zero(values):
    found = standard_unit(np.array(values), grid_step(np.array(values)))
    assert np.isfinite(found)
    assert found > 0.0


@pytest.mark.parametrize(
    ("values", "step"),
    [
        ([3.0, 250.0], 1.0),
        ([0.0, -7.0], 1.0),
        ([0.5, 12.25], 0.01),
        ([0.1, 0.2, 0.30000000000000004], 0.1),
        ([1e-6], 1e-6),
        ([1e-7], 0.0),
        ([np.pi], 0.0),
        ([2.0**60], 0.0),
        ([1e300], 0.0),
    ],
)
def test_the_grid_is_the_coarsest_power_of_ten_that_holds_all_values(values, step):
    assert grid_step(np.array(values)) == step


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.integers(0, 6))
def test_decimal_fractions_lie_on_their_grid(mantissas, decimals):
    values = np.array(mantissas) / 10.0**decimals
    step = grid_step(values)
    assert step >= 10.0**-decimals * (1 - 1e-12)
    assert np.abs(values / step - np.round(values / step)).max() < 1e-3


@pytest.mark.parametrize(("middle", "width"), [(1e3, 10.0), (1e6, 1.0), (1e9, 0.2)])
def test_numbers_that_lie_on_no_grid_have_none_however_large_they_are(middle, width):
    assert grid_step(np.random.default_rng(0).normal(middle, width, 2000)) == 0.0


def test_a_constant_that_was_float32_stays_near_itself_as_its_shortest_decimal():
    constant = np.full(100, np.float64(np.float32(0.1)))
    assert abs(0.1 - constant[0]) < 0.1 * standard_unit(constant, grid_step(constant))


def test_a_frequent_placeholder_has_no_part_in_the_scale_of_its_column(new_sample):
    rng = np.random.default_rng(0)
    depth = rng.normal(20.0, 3.0, 2000)
    plans = (ColumnPlan("depth", "numeric", ""), ColumnPlan("rarely", "numeric", ""))
    held = pa.table(
        {"depth": np.append(depth, [-999.0] * 174), "rarely": np.append(depth, [1.0] * 154 + [-999.0] * 20)}
    )
    schema = build_schema(plans, new_sample(held), np.arange(2174), max_categories=5)
    column, rarely = schema.numeric
    assert (column.placeholders, rarely.placeholders) == ((-999.0,), ())
    assert column.noise_scale == pytest.approx(standard_unit(depth, 0.0))
    assert column.quantiles == pytest.approx(np.quantile(depth, QUANTILE_FRACTIONS))
    assert column.minimum == -999.0


@pytest.mark.parametrize(("days", "calendar"), [(40, ()), (400, ("day",)), (800, ("month", "day"))])
def test_a_date_far_from_all_others_does_not_make_the_history_span_years(schema_of, days, calendar):
    year_9999 = 253_402_214_400.0
    t = schema_of({"until": [*(86_400.0 * day for day in range(days)), year_9999]}, {"until": "timestamp"}).columns[0]
    assert t.calendar == calendar

from __future__ import annotations

import numpy as np
import pytest

from vaegis.service.columns import Columns, build_columns
from vaegis.service.contract import NO_CATEGORY, BooleanColumn, CategoricalColumn, Schema, TimestampColumn


@pytest.fixture
def columns() -> Columns:
    return Columns(
        numbers=np.array([[1.0, np.nan], [2.0, 5.0], [3.0, 6.0]]),
        strings=np.array([["a"], [""], ["c"]], dtype=object),
        strings_observed=np.array([[True], [False], [True]]),
    )


def test_its_length_is_the_number_of_records(columns):
    assert len(columns) == 3


def test_its_length_stands_also_where_no_column_is_a_number(columns):
    assert len(Columns(columns.numbers[:, :0], columns.strings, columns.strings_observed)) == 3


@pytest.mark.parametrize("index", [slice(1, 3), np.array([1, 2]), np.array([False, True, True])])
def test_rows_takes_the_same_records_of_every_part(columns, index):
    part = columns.rows(index)
    assert part.numbers.tolist() == [[2.0, 5.0], [3.0, 6.0]]
    assert part.strings.tolist() == [[""], ["c"]]
    assert part.strings_observed.tolist() == [[False], [True]]


def test_rows_may_be_none(columns):
    assert len(columns.rows(slice(0, 0))) == 0


def test_columns_are_built_in_the_order_of_the_inputs_and_null_where_there_are_no_values():
    country, city = (
        CategoricalColumn(name=name, missing_share=0.0, categories=("a",), shares=(1.0,))
        for name in ("country", "city")
    )
    ok = BooleanColumn(name="ok", missing_share=0.0, true_share=0.5)
    at = TimestampColumn(name="at", missing_share=0.0, earliest=0.0, latest=1.0)
    columns = build_columns(
        Schema(columns=(country, ok, city, at)),
        2,
        lambda position, column: np.array([position, 7.0]) if column.name == "at" else None,
        lambda position, column: (["a", str(position)], [True, False]) if column.name == "city" else None,
    )
    np.testing.assert_array_equal(columns.numbers, [[np.nan, 3.0], [np.nan, 7.0]])
    assert columns.strings.tolist() == [[NO_CATEGORY, "a"], [NO_CATEGORY, "2"]]
    assert columns.strings_observed.tolist() == [[False, True], [False, False]]

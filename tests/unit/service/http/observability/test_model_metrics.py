"""Counts by column of what is missing, unseen or out of range."""

from __future__ import annotations

import numpy as np

from vaegis.service.columns import Columns
from vaegis.service.contract import BooleanColumn, CategoricalColumn, NumericColumn, Schema, TimestampColumn
from vaegis.service.http.observability.model_metrics import ColumnCounter

NUMERIC = NumericColumn(
    name="size",
    missing_share=0.0,
    minimum=1.0,
    maximum=9.0,
    quantiles=(1.0, 2.0, 3.0, 5.0, 7.0, 8.0, 9.0),
    step=0.0,
    noise_scale=1.0,
    degrees_of_freedom=5.0,
)
COLOUR = CategoricalColumn(name="colour", missing_share=0.0, categories=("red", "blue"), shares=(0.5, 0.5))
SCHEMA = Schema(
    columns=(
        COLOUR,
        NUMERIC,
        BooleanColumn(name="open", missing_share=0.0, true_share=0.5),
        TimestampColumn(name="at", missing_share=0.0, earliest=0.0, latest=1.0),
    )
)


def test_counts_stand_in_schema_order():
    columns = Columns(
        numbers=np.array([[0.9, 1.0, 5.0], [9.1, np.nan, np.nan], [1.0, 0.0, 1e9], [np.nan, 1.0, 0.0]]),
        strings=np.array([["red"], ["green"], [""], [""]], dtype=object),
        strings_observed=np.array([[True], [True], [False], [True]]),
    )
    missing, unseen, out_of_range = ColumnCounter(SCHEMA).count(columns).tolist()
    assert missing == [1, 1, 1, 1]
    assert unseen == [2, 0, 0, 0]
    assert out_of_range == [0, 2, 0, 0]


def test_nothing_is_counted_where_nothing_is_unusual():
    columns = Columns(
        numbers=np.array([[1.0, 1.0, -1e12], [9.0, 0.0, 1e12]]),
        strings=np.array([["red"], ["blue"]], dtype=object),
        strings_observed=np.array([[True], [True]]),
    )
    assert ColumnCounter(SCHEMA).count(columns) is None


def test_a_schema_may_have_one_kind_only():
    numbers, strings = np.array([[10.0]]), np.array([["green"]], dtype=object)
    no_strings = Columns(numbers, np.zeros((1, 0), dtype=object), np.zeros((1, 0), dtype=bool))
    assert ColumnCounter(Schema(columns=(NUMERIC,))).count(no_strings)[2].tolist() == [1]
    no_numbers = Columns(np.zeros((1, 0)), strings, np.array([[True]]))
    assert ColumnCounter(Schema(columns=(COLOUR,))).count(no_numbers)[1].tolist() == [1]

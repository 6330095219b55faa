from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.errors import RecordError
from vaegis.service.records.python_records import columns_from_records

FULL = {"amount": 1.5, "shop": {"country": "DE", "id": "x"}, "express": True, "placed_at": "1970-01-02"}


def faults_of(records, schema, **options):
    with pytest.raises(RecordError) as caught:
        columns_from_records(records, schema, **options)
    return caught.value


def codes_of(records, schema):
    return [(fault.row, fault.column, fault.code) for fault in faults_of(records, schema).faults]


def test_a_record_fills_its_columns_in_schema_order(schema):
    columns = columns_from_records([FULL], schema)
    assert columns.numbers.tolist() == [[1.5, 1.0, 86_400.0]]
    assert columns.strings.tolist() == [["DE"]]
    assert columns.strings_observed.tolist() == [[True]]


def test_nested_and_dotted_names_are_the_same_column(schema):
    dotted = {**FULL, "shop.country": "DE"}
    del dotted["shop"]
    nested, flat = columns_from_records([FULL], schema), columns_from_records([dotted], schema)
    assert nested.strings.tolist() == flat.strings.tolist()
    assert np.array_equal(nested.numbers, flat.numbers)


def test_null_and_absent_are_the_same(schema):
    for record in (
        {"amount": 1},
        {"amount": 1, "express": None, "placed_at": None, "shop": None},
        {"amount": 1, "shop": {}},
    ):
        columns = columns_from_records([record], schema)
        assert np.isnan(columns.numbers[0, 1:]).all()
        assert columns.strings.tolist() == [[""]]
        assert not columns.strings_observed.any()


def test_text_is_what_a_file_of_text_would_make_of_it(schema):
    record = {"amount": " 1.5", "express": "TRUE", "placed_at": "86400"}
    assert columns_from_records([record], schema).numbers.tolist() == [[1.5, 1.0, 86_400.0]]
    blank = dict.fromkeys(record, " ")
    assert np.isnan(columns_from_records([blank], schema).numbers).all()


def test_no_records_give_no_rows(schema):
    columns = columns_from_records([], schema)
    assert columns.numbers.shape == (0, 3)
    assert columns.strings.shape == (0, 1)


def test_ignored_columns_may_hold_anything(schema):
    columns = columns_from_records([{"amount": 1, "shop": {"id": [{"deep": []}]}}], schema)
    assert columns.numbers[0, 0] == 1.0


def test_a_category_may_be_a_number_in_one_record_and_text_in_another(schema):
    columns = columns_from_records([{"shop.country": value} for value in ("DE", 5, True, "a\0b", "")], schema)
    assert columns.strings[:, 0].tolist() == ["DE", "5", "true", "a\0b", ""]
    assert columns.strings_observed[:, 0].tolist() == [True, True, True, True, False]  # empty text is a null


@pytest.mark.parametrize(
    ("change", "column", "code"),
    [
        ({"amount": "one"}, "amount", "wrong_type"),
        ({"amount": "1e400"}, "amount", "too_large"),
        ({"amount": True}, "amount", "wrong_type"),
        ({"amount": {}}, "amount", "wrong_type"),
        ({"amount": math.nan}, "amount", "not_finite"),
        ({"amount": math.inf}, "amount", "too_large"),
        ({"amount": 10**400}, "amount", "too_large"),
        ({"express": 2}, "express", "wrong_type"),
        ({"express": "maybe"}, "express", "wrong_type"),
        ({"placed_at": "soon"}, "placed_at", "invalid_timestamp"),
        ({"placed_at": 1e300}, "placed_at", "invalid_timestamp"),
        ({"shop": {"country": 1.5}}, "shop.country", "wrong_type"),
        ({"shop": {"country": "\ud800"}}, "shop.country", "invalid_text"),
        ({"amount": "\ud800"}, "amount", "wrong_type"),
        ({"shop": 5}, "shop", "wrong_type"),
        ({"shop.country": "DE"}, "shop.country", "duplicate_key"),
        ({"shop": {"city": "Bonn"}}, "shop.city", "unknown_column"),
        ({"amuont": 1}, "amuont", "unknown_column"),
    ],
)
def test_a_fault_names_row_column_and_code(schema, change, column, code):
    assert codes_of([FULL, {**FULL, **change}, FULL], schema) == [(1, column, code)]


def test_a_fault_says_what_was_expected_and_what_came(schema):
    fault = faults_of([FULL, {**FULL, "amount": "secret"}], schema).faults[0]
    assert fault.message == "records[1].amount: expected a number, got text"


def test_an_unknown_column_is_answered_with_the_nearest_name(schema):
    assert "the nearest is amount" in faults_of([{**FULL, "amuont": 1}], schema).faults[0].message


@pytest.mark.parametrize("record", [None, 5, "x", [], [FULL]])
def test_a_record_is_an_object(schema, record):
    assert codes_of([FULL, record], schema) == [(1, None, "not_an_object")]


def test_a_record_without_any_column_of_the_model_is_a_fault(schema):
    assert codes_of([FULL, {}, {"shop": {"id": 1}}], schema) == [
        (1, None, "no_known_column"),
        (2, None, "no_known_column"),
    ]


def test_the_index_of_a_data_frame_is_passed_over(schema):
    index = {"": 7, "Unnamed: 0": 7, "__index_level_0__": 7}
    columns = columns_from_records([{**FULL, **index}], schema)
    assert columns.numbers.tolist() == columns_from_records([FULL], schema).numbers.tolist()


def test_unknown_columns_can_be_ignored(schema):
    columns = columns_from_records([{**FULL, "x": {"y": [1]}}], schema, unknown_columns="ignore")
    assert columns.numbers[0, 0] == 1.5
    with pytest.raises(RecordError) as caught:
        columns_from_records([{"x": 1}], schema, unknown_columns="ignore")
    assert caught.value.faults[0].code == "no_known_column"


def test_faults_come_by_row_and_then_by_column(schema):
    records = [{**FULL, "placed_at": "x", "amount": "x"}, {"nothing": 1}, {**FULL, "amount": "x"}]
    assert [fault[:2] for fault in codes_of(records, schema)] == [
        (0, "amount"),
        (0, "placed_at"),
        (1, "nothing"),
        (2, "amount"),
    ]


def test_faults_beyond_the_limit_are_counted(schema):
    error = faults_of([{**FULL, "amount": "x", "express": 7}] * 50, schema, max_faults=3)
    assert [(fault.row, fault.column) for fault in error.faults] == [(0, "amount"), (0, "express"), (1, "amount")]
    assert error.omitted == 97
    assert "97 more" in str(error)


def test_ten_thousand_unknown_columns_make_a_short_answer(schema):
    record = {f"column {i}": i for i in range(10_000)}
    error = faults_of([record], schema, max_faults=10)
    assert len(error.faults) == 10
    assert error.omitted == 9_990


def test_a_long_or_unencodable_name_is_shown_cut_and_encodable(schema):
    for name in ("x" * 100_000, "\ud800"):
        fault = faults_of([{**FULL, name: 1}], schema).faults[0]
        assert len(fault.message.encode()) < 300
        assert len(fault.column.encode()) < 100


def test_an_unknown_object_is_one_fault_however_much_it_holds(schema):
    error = faults_of([{**FULL, "k" * 1_000_000: {str(i): i for i in range(10_000)}}], schema)
    assert len(error.faults) == 1
    assert error.omitted == 0


@given(st.lists(st.sampled_from(["amount", "express", "placed_at", "shop"]), unique=True, min_size=1))
def test_the_order_of_keys_does_not_matter(schema, keys):
    record = {key: FULL[key] for key in keys}
    backwards = {key: FULL[key] for key in reversed(keys)}
    if keys == ["shop"] or set(keys) - {"shop"}:
        one, other = columns_from_records([record], schema), columns_from_records([backwards], schema)
        assert np.array_equal(one.numbers, other.numbers, equal_nan=True)
        assert one.strings.tolist() == other.strings.tolist()


NUMBERS = st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.fixed_dictionaries({"amount": NUMBERS, "shop.country": st.none() | st.text() | st.integers()})))
def test_a_record_gives_the_same_row_alone_as_among_others(schema, records):
    together = columns_from_records(records, schema)
    for row, record in enumerate(records):
        alone = columns_from_records([record], schema)
        assert np.array_equal(alone.numbers[0], together.numbers[row], equal_nan=True)
        assert alone.strings[0].tolist() == together.strings[row].tolist()
        assert alone.strings_observed[0].tolist() == together.strings_observed[row].tolist()

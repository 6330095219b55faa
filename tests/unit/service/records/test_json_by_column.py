from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.errors import RecordError, ServiceError
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.faults import Faults
from vaegis.service.records.json import parse_json
from vaegis.service.records.json_fast import TypedJson
from vaegis.service.records.python_records import columns_from_records, filled_from_lists, is_by_column

FULL = {"amount": [1.5, None], "shop.country": ["DE", None], "express": [True, 0], "placed_at": ["1970-01-02", 0]}


def exact(lists, schema, **options):
    faults = Faults(10)
    columns = filled_from_lists(lists, schema, faults, **{"unknown_columns": "reject", "max_faults": 10, **options})
    faults.raise_any()
    return columns


def typed(schema, body, max_values=1000, max_records=100):
    reader = TypedJson(schema, max_depth=4, max_values=max_values, max_records=max_records)
    return reader.columns(body, lambda: None)


def assert_equal(one, other):
    np.testing.assert_array_equal(one.numbers, other.numbers)
    assert one.strings.tolist() == other.strings.tolist()
    assert one.strings_observed.tolist() == other.strings_observed.tolist()


@pytest.mark.parametrize(
    ("document", "expected"),
    [({"a": []}, True), ({"a": [1], "b": [2]}, True), ({"a": [1], "b": 2}, False), ({}, False), ([[1]], False)],
)
def test_records_come_by_column_where_all_values_are_lists(document, expected):
    assert is_by_column(document) is expected


def test_lists_give_what_their_records_give(schema):
    records = [dict(zip(FULL, row, strict=True)) for row in zip(*FULL.values(), strict=True)]
    assert_equal(exact(FULL, schema), columns_from_records(records, schema))
    assert_equal(typed(schema, json.dumps(FULL).encode()), exact(FULL, schema))


def test_objects_may_stand_in_a_list(schema):
    columns = exact({"amount": [1, 2], "shop": [{"country": "DE"}, None]}, schema)
    assert columns.strings.tolist() == [["DE"], [""]]


@pytest.mark.parametrize(
    ("change", "faults"),
    [
        (
            {"amount": [1]},
            [
                (None, "shop.country", "wrong_length"),
                (None, "express", "wrong_length"),
                (None, "placed_at", "wrong_length"),
            ],
        ),
        ({"amuont": [1, 2]}, [(None, "amuont", "unknown_column")]),
        ({"amount": [1, "x"]}, [(1, "amount", "wrong_type")]),
        ({"amount": [1, [2]]}, [(1, "amount", "wrong_type")]),
        ({"shop.country": [1.5, "DE"]}, [(0, "shop.country", "wrong_type")]),
    ],
)
def test_faults_are_named(schema, change, faults):
    with pytest.raises(RecordError) as caught:
        exact(FULL | change, schema)
    assert [(fault.row, fault.column, fault.code) for fault in caught.value.faults] == faults
    assert typed(schema, json.dumps(FULL | change).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"shop.id": [1]}',
        b'{"amount": []}',
        b'{"amount": [1], "express": 1}',
        b'{"amount": [1], "amount": [2]}',
        b'{"amount": [1], "am\\u006funt": [2]}',
        b'{"amount": [' + b"1," * 100 + b"1]}",
    ],
)
def test_the_rest_is_left_to_the_exact_way(schema, body):
    assert typed(schema, body) is None


def test_more_values_than_allowed_are_left_to_the_exact_way(schema):
    assert typed(schema, b'{"amount": [1,2,3]}', max_values=3) is None


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)
NAMES = st.sampled_from(["amount", "express", "placed_at", "shop.country", "shop.id", "other"])


@given(st.dictionaries(NAMES, st.lists(VALUES, min_size=1, max_size=3), min_size=1))
@settings(max_examples=300)
def test_the_fast_way_gives_what_the_exact_way_gives_or_nothing(schema, lists):
    body = json.dumps(lists).replace("Infinity", "1e999").encode()
    fast = typed(schema, body)
    try:
        document = parse_json(body, max_depth=3)
        assert is_by_column(document)
        wanted = exact(document, schema)
    except (ServiceError, BodyError):
        assert fast is None
    else:
        if fast is not None:
            assert_equal(fast, wanted)

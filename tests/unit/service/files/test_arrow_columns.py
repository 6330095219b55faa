from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.errors import FileError
from vaegis.service.files.arrow_columns import (
    RefusedCellError,
    block_past_faults,
    categories_of,
    columns_from_batch,
    name_fault,
    numbers_of,
    text_of,
)
from vaegis.service.files.batches import FileBatch
from vaegis.service.files.record_files import open_records
from vaegis.service.records.column_names import positions_of
from vaegis.service.records.faults import MOST_FAULTS
from vaegis.service.records.kinds import BOOLEAN, INDICATOR, NUMERIC, TIMESTAMP
from vaegis.service.records.python_records import columns_from_records

PATH = Path("records.csv")
DAY = 86_400.0


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array([1, None, 3]), NUMERIC, [1.0, np.nan, 3.0]),
        (pa.array([2**64 - 1], pa.uint64()), NUMERIC, [2.0**64]),
        (pa.array([0.5, float("nan")]), NUMERIC, [0.5, np.nan]),
        (pa.array([1.5], pa.float16()), NUMERIC, [1.5]),
        (pa.array([Decimal("1.25")]), NUMERIC, [1.25]),
        (pa.array([" 1.5", "", None, "+2", "1e3"]), NUMERIC, [1.5, np.nan, np.nan, 2.0, 1000.0]),
        (pa.array(["1"], pa.large_string()), NUMERIC, [1.0]),
        (pa.nulls(2), NUMERIC, [np.nan, np.nan]),
        (pa.array([True, None]), BOOLEAN, [1.0, np.nan]),
        (pa.array([0, 1]), BOOLEAN, [0.0, 1.0]),
        (pa.array(["TRUE", "0", " ", "1.0"]), BOOLEAN, [1.0, 0.0, np.nan, 1.0]),
        (pa.array([True, None]), INDICATOR, [1.0, np.nan]),
        (pa.array([0, 1, 2]), INDICATOR, [0.0, 1.0, 2.0]),
        (pa.array(["TRUE", "0", " ", "-2.5"]), INDICATOR, [1.0, 0.0, np.nan, -2.5]),
        (pa.array([date(1970, 1, 2), None]), TIMESTAMP, [DAY, np.nan]),
        (pa.array([date(1970, 1, 2)], pa.date64()), TIMESTAMP, [DAY]),
        (pa.array([datetime(1970, 1, 2)]), TIMESTAMP, [DAY]),  # noqa: DTZ001 - naive means UTC
        (pa.array([datetime(1970, 1, 2, tzinfo=UTC)], pa.timestamp("ns", "Europe/Berlin")), TIMESTAMP, [DAY]),
        (pa.array(["1970-01-02", "1970-01-01 12:00"]), TIMESTAMP, [DAY, DAY / 2]),
        (pa.array(["1970-01-02T02:00:00+02:00"]), TIMESTAMP, [DAY]),
        (pa.array(["1970-01-02T00:00:00Z", "1970-01-02", "86400", None]), TIMESTAMP, [DAY, DAY, DAY, np.nan]),
        (pa.array([1.7e12, 1.7e9]), TIMESTAMP, [1.7e9, 1.7e9]),
    ],
)
def test_values_become_numbers_by_kind(array, kind, expected):
    np.testing.assert_array_equal(numbers_of(array, kind), expected)


@pytest.mark.parametrize(
    ("array", "kind", "index", "code"),
    [
        (pa.array(["1", None, "x"]), NUMERIC, 2, "wrong_type"),
        (pa.array([None, True]), NUMERIC, 1, "wrong_type"),
        (pa.array([None, datetime(2026, 1, 1)]), NUMERIC, 1, "wrong_type"),  # noqa: DTZ001 - naive means UTC
        (pa.array([1.0, float("inf")]), NUMERIC, 1, "too_large"),
        (pa.array(["1", "1e400"]), NUMERIC, 1, "too_large"),
        (pa.array([0, 1, 2]), BOOLEAN, 2, "wrong_type"),
        (pa.array(["true", "maybe"]), BOOLEAN, 1, "wrong_type"),
        (pa.array([b"x"]), BOOLEAN, 0, "wrong_type"),
        (pa.array(["2", "maybe"]), INDICATOR, 1, "wrong_type"),
        (pa.array(["2026-01-01", "2026-02-30"]), TIMESTAMP, 1, "invalid_timestamp"),
        (pa.array([1.0, 1e300]), TIMESTAMP, 1, "invalid_timestamp"),
        (pa.array([True]), TIMESTAMP, 0, "wrong_type"),
    ],
)
def test_the_first_value_that_is_not_of_the_kind_is_named(array, kind, index, code):
    with pytest.raises(RefusedCellError, match="expected") as caught:
        numbers_of(array, kind)
    assert (caught.value.index, caught.value.code) == (index, code)


def test_infinities_can_become_nulls():
    array = pa.array([1.0, float("inf"), float("-inf")])
    np.testing.assert_array_equal(numbers_of(array, NUMERIC, infinities="null"), [1.0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array(["a", None, ""]), ["a", "", ""]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array([5, None]), ["5", ""]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.nulls(1), [""]),
    ],
)
def test_values_become_categories(array, expected):
    strings, observed = categories_of(array)
    assert strings.tolist() == expected
    assert observed.tolist() == [value is not None for value in array.to_pylist()]
    assert text_of(array).null_count == array.null_count


@pytest.mark.parametrize("array", [pa.array([1.5]), pa.array([date(2026, 1, 1)]), pa.array([[1]])])
def test_other_types_name_no_category(array):
    with pytest.raises(RefusedCellError, match="expected a string, an integer or a boolean, got the type"):
        categories_of(array)


def test_a_bad_value_is_reported_by_file_row_and_column(schema):
    batch = pa.record_batch({"amount": ["1", "secret"]})
    with pytest.raises(FileError, match=r"records\.csv, row 12, column amount: expected a number, got text") as caught:
        columns_from_batch(batch, schema, path=PATH, first_row=11)
    assert (caught.value.row, caught.value.column) == (12, "amount")
    assert "secret" not in str(caught.value)


def test_infinities_that_become_nulls_hide_no_fault(schema):
    batch = pa.record_batch({"amount": ["1e999"] * (MOST_FAULTS + 1), "express": [None] * MOST_FAULTS + ["secret"]})
    with pytest.raises(FileError, match=r"row 10001, column express: expected"):
        columns_from_batch(batch, schema, path=PATH, first_row=1, infinities="null")


def test_columns_that_a_file_lacks_are_null(schema):
    columns = columns_from_batch(pa.record_batch({"amount": ["1"]}), schema, path=PATH, first_row=1)
    np.testing.assert_array_equal(columns.numbers, [[1.0, np.nan, np.nan]])
    assert not columns.strings_observed.any()


def test_a_file_must_have_a_column_of_the_model(schema):
    with pytest.raises(FileError, match="at least one column of the model"):
        columns_from_batch(pa.record_batch({"shop.id": ["x"]}), schema, path=PATH, first_row=1)


def test_an_unknown_column_is_refused_unless_told_to_ignore_it(schema):
    batch = pa.record_batch({"amount": ["1"], "amuont": ["x"]})
    assert len(block_past_faults(FileBatch(batch, PATH, 1), schema, "ignore").columns) == 1
    with pytest.raises(FileError, match=r"column amuont: .* the nearest is amount"):
        columns_from_batch(batch, schema, path=PATH, first_row=1)


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__"])
def test_the_index_of_a_data_frame_is_passed_over(schema, name):
    assert name_fault([*schema.names, name], schema, "reject") is None
    assert name not in positions_of([*schema.names, name], schema, "reject", 10)


def test_an_object_that_is_null_throughout_is_no_unknown_column(schema):
    batch = pa.record_batch({"amount": pa.array([1.0]), "shop": pa.nulls(1)})
    assert len(columns_from_batch(batch, schema, path=PATH, first_row=1)) == 1


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.none() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False),
            "shop": st.none() | st.fixed_dictionaries({"country": st.none() | st.text(st.characters(codec="utf-8"))}),
            "express": st.none() | st.booleans(),
            "placed_at": st.none()
            | st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda moment: moment.isoformat()),  # noqa: DTZ001 - naive means UTC
        }
    ),
    min_size=1,
    max_size=20,
)


@given(RECORDS)
def test_records_give_the_same_columns_from_json_and_from_a_file(schema, tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records") / "records.ndjson"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (batch,) = open_records(path).batches()
    from_file = columns_from_batch(batch.batch, schema, path=path, first_row=1)
    from_json = columns_from_records(records, schema)
    np.testing.assert_array_equal(from_file.numbers, from_json.numbers)
    assert from_file.strings.tolist() == from_json.strings.tolist()
    assert from_file.strings_observed.tolist() == from_json.strings_observed.tolist()

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from vaegis.service.contract import CategoricalColumn, NumericColumn, Reading, Schema, TimestampColumn
from vaegis.service.errors import FileError, RecordError
from vaegis.service.files.arrow_columns import columns_from_batch
from vaegis.service.records.cells import columns_of_cells
from vaegis.service.records.faults import Faults
from vaegis.service.records.json_types import record_types
from vaegis.service.records.python_records import columns_from_records
from vaegis.service.records.reading import instant_in_format, written_number


def number_column(reading=None, low=0.0, high=9.0):
    return NumericColumn(
        name="x",
        reading=reading,
        missing_share=0.0,
        minimum=low,
        maximum=high,
        quantiles=(low,) * 7,
        step=0.0,
        noise_scale=1.0,
        degrees_of_freedom=4.0,
    )


def time_column(reading):
    return TimestampColumn(name="x", reading=reading, missing_share=0.0, earliest=0.0, latest=1.0)


def in_all_formats(column, values):
    """Return what values become as JSON, as cells of CSV, Arrow and V2, and in files, which must be the same."""
    schema, faults = Schema(columns=(column,)), Faults(10)
    by_row = columns_from_records([{"x": value} for value in values], schema)
    is_text = all(value is None or isinstance(value, str) for value in values)
    is_code = column.kind == "categorical"
    cells = list(map(str, values)) if is_text or is_code else np.array(values, dtype=np.float64)
    by_column = columns_of_cells(schema, lambda *_: cells, len(values), faults)
    from_file = columns_from_batch(pa.record_batch({"x": pa.array(values)}), schema, path=Path("a"), first_row=1)
    faults.raise_any()
    for other in (by_column, from_file):
        np.testing.assert_array_equal(by_row.numbers, other.numbers)
        assert by_row.strings.tolist() == other.strings.tolist()
        assert by_row.strings_observed.tolist() == other.strings_observed.tolist()
    return by_row


@pytest.mark.parametrize(
    ("reading", "text", "expected"),
    [
        (Reading(unit="\u20ac"), "\u20ac1,234.50", 1234.5),
        (Reading(unit="\u20ac"), "-\u20ac3", -3.0),
        (Reading(unit="\u20ac"), "7.5", 7.5),
        (Reading(unit="\u20ac", decimal=","), "1.234,50 \u20ac", 1234.5),
        (Reading(unit="", decimal=","), "1.234", 1234.0),
        (Reading(unit="kg"), "9.5kg", 9.5),
        (Reading(unit="%"), "12 %", 12.0),
        (Reading(unit=""), "(1'234.5)", -1234.5),
        (Reading(unit=""), "12,34,567", 1234567.0),
        (Reading(unit=""), "1,825,660.5", 1825660.5),
        (Reading(unit="", decimal=","), "1,826e+03", 1826.0),
        (Reading(unit=""), "\u2212\u0661\u0662.\u0665", -12.5),
        (Reading(unit=""), "\uff0d\uff11\uff0c\uff12\uff13\uff14\uff0e\uff15", -1234.5),
        (Reading(null_values=("late",)), " late", math.nan),
        (Reading(null_values=("-999",)), "-999.0", math.nan),
        (Reading(unit="kg", null_values=("-999",)), "-999 kg", math.nan),
        (Reading(unit="$"), "$ (1,234.50)", -1234.5),
        (Reading(unit="$"), "$ -", 0.0),
        (Reading(unit="\u20ac", decimal=","), "- \u20ac", 0.0),
        (Reading(unit="Rs."), "Rs. 11,09,081.60", 1109081.6),
        (Reading(unit="Fr."), "Fr. 1'003.-", 1003.0),
        (Reading(unit="\u20ac", decimal=","), "1.234,- \u20ac", 1234.0),
        (Reading(unit=""), "4,19,345/-", 419345.0),
        (Reading(unit=""), "000101135+", 101135.0),
        (Reading(unit=""), "12.50-", -12.5),
        (Reading(unit="'"), "'1101", 1101.0),
        (Reading(unit="'"), "'-3.5", -3.5),
        (Reading(unit="'", decimal=","), "'1.234,5", 1234.5),
        (None, "#DIV/0!", math.nan),
        (None, "#NV", math.nan),
        (None, "****", math.nan),
        (None, "\uff0d", math.nan),
        (None, r"\N", math.nan),
    ],
)
def test_a_number_is_read_alike_in_all_formats(reading, text, expected):
    np.testing.assert_array_equal(in_all_formats(number_column(reading), [text, "1"]).numbers, [[expected], [1.0]])


@pytest.mark.parametrize(
    ("reading", "text"),
    [(Reading(unit="kg"), "3 g"), (Reading(unit="", decimal=","), "1,234.5"), (None, "3 kg"), (None, "1,234")],
)
def test_a_number_of_another_unit_or_separator_is_refused(reading, text):
    with pytest.raises(Exception, match="expected a number, got"):
        in_all_formats(number_column(reading), [text])


@pytest.mark.parametrize(
    ("column", "text", "also"),
    [
        (number_column(Reading(unit="\u20ac", decimal=",")), "$3", "numbers with a decimal comma and the unit \u20ac"),
        (number_column(Reading(unit="kg")), "3 g", "numbers with the unit kg"),
        (time_column(Reading(format="%d/%m/%Y")), "31/02/2025", "the form %d/%m/%Y"),
    ],
    ids=["comma", "unit", "date"],
)
def test_a_refusal_names_the_form_that_the_column_reads_in_all_formats(column, text, also):
    schema, faults = Schema(columns=(column,)), Faults(10)
    also = f"; this column also reads {also}"
    with pytest.raises(RecordError) as of_json:
        columns_from_records([{"x": text}], schema)
    columns_of_cells(schema, lambda *_: [text], 1, faults)
    with pytest.raises(RecordError) as of_cells:
        faults.raise_any()
    with pytest.raises(FileError) as of_file:
        columns_from_batch(pa.record_batch({"x": pa.array([text])}), schema, path=Path("a"), first_row=1)
    assert [str(error.value).endswith(also) for error in (of_json, of_cells, of_file)] == [True] * 3


def test_a_number_that_stands_for_a_null_is_one_in_all_formats():
    found = in_all_formats(number_column(Reading(null_values=("-999",))), [-999, 2.0]).numbers
    np.testing.assert_array_equal(found, [[math.nan], [2.0]])


@pytest.mark.parametrize(
    ("reading", "value", "expected"),
    [
        (Reading(format="%d/%m/%Y %H:%M"), "02/01/1970 01:00", 90_000.0),
        (Reading(format="%m/%d/%Y %I:%M %p"), "01/02/1970 01:00 AM", 90_000.0),
        (Reading(format="%d/%m/%Y"), "1970-01-02", 86_400.0),
        (Reading(format="%d.%m.%Y|%m/%d/%Y"), "02.01.1970", 86_400.0),
        (Reading(format="%d.%m.%Y|%m/%d/%Y"), "01/02/1970", 86_400.0),
        (Reading(format="%d. %B %Y"), "2. J\u00e4nner 1970", 86_400.0),
        (Reading(format="%d %b %Y"), "2 janv. 1970", 86_400.0),
        (Reading(format="%A %d %B %Y"), "viernes 2 de enero de 1970", 86_400.0),
        (Reading(format="%a %d %b %Y"), "mar. 3 mars 1970", 61 * 86_400.0),
        (Reading(format="%H:%M:%S"), "01:00:00", 3_600.0),
        (Reading(format="%Y%m%d"), 19700102, 86_400.0),
        (Reading(null_values=("1900-01-01",)), "1900-01-01T00:00:00Z", math.nan),
        (None, "1970-01-02 01:00:00 UTC", 90_000.0),
        (None, "1970-01-02 01:00:00 +0100", 86_400.0),
        (None, "1970-01-02 01:00:00 +0100 CET", 86_400.0),
        (None, "1970-01-02 01:00:00.5 CEST", 82_800.5),
        (None, "1970-01-01 20:00:00 EST", 90_000.0),
        (Reading(format="%d.%m.%Y %H:%M"), "02.01.1970", 86_400.0),
        (Reading(format="%d.%m.%Y %H:%M"), "00.00.0000", math.nan),
        (None, "1970/1/2 1:00", 90_000.0),
        (None, "Fri, 02 Jan 1970 01:00:00 GMT", 90_000.0),
        (None, "[02/Jan/1970:01:00:00 +0000]", 90_000.0),
        (None, "1970-01-02T01:00:00+01:00[Europe/Berlin]", 86_400.0),
        (None, "/Date(90000000)/", 90_000.0),
        (None, "0000-00-00 00:00:00", math.nan),
        (Reading(format="%Y%m%d%H%M"), 197001020100, 90_000.0),
        (None, "19700102010000", 90_000.0),
        (None, 19700102010000, 90_000.0),
    ],
)
def test_an_instant_is_read_alike_in_all_formats(reading, value, expected):
    np.testing.assert_array_equal(in_all_formats(time_column(reading), [value]).numbers, [[expected]])


@pytest.mark.parametrize(
    "value", [45369.425, "45369", 20241318101200, "2024-13-01 10:00 UTC", "2024-12-01 10:00 BST", "31/01/1970"]
)
def test_digits_that_are_no_instant_are_refused_in_all_formats(value):
    with pytest.raises(Exception, match="expected"):
        in_all_formats(time_column(None), [value])


def test_an_integer_beyond_every_float_is_refused_in_a_column_of_dates_in_a_format():
    schema = Schema(columns=(time_column(Reading(format="%Y%m%d")),))
    with pytest.raises(RecordError, match="expected"):
        columns_from_records([{"x": 10**400}], schema)


def test_a_fraction_of_more_than_six_digits_is_read():
    assert instant_in_format("08:15:00.1234567", "%H:%M:%S.%f") == instant_in_format("08:15:00.123456", "%H:%M:%S.%f")
    assert instant_in_format("08:15:00.1234567890", "%H:%M:%S.%f") is None


def test_text_that_is_far_too_long_for_an_instant_is_not_parsed():
    assert instant_in_format("2" + " " * 10 + "mars 1970", "%d %B %Y") is not None
    assert instant_in_format("2" + " " * 100 + "mars 1970", "%d %B %Y") is None


@pytest.mark.parametrize(
    ("known", "values"), [("101", ["101", "101.0"]), ("101.0", ["101", "101.0"]), ("101", [101.0])]
)
def test_a_whole_float_is_its_integer_in_a_column_of_codes(known, values):
    column = CategoricalColumn(name="x", missing_share=0.0, categories=(known, "b"), shares=(0.5, 0.5))
    assert {text for (text,) in in_all_formats(column, values).strings.tolist()} == {known}


def test_an_empty_text_is_a_null_in_all_formats_unless_it_is_a_known_category():
    column = CategoricalColumn(name="x", missing_share=0.0, categories=("a",), shares=(1.0,))
    assert in_all_formats(column, ["", "a"]).strings_observed.tolist() == [[False], [True]]
    (fast,) = record_types(Schema(columns=(column,)), 2)
    records = msgspec.json.decode(b'[{"x": ""}, {"x": "a"}]', type=list[fast.type])
    for count in (1, 2):
        assert fast.columns(records[:count])[0].strings_observed.tolist() == [[False], [True]][:count]
    known = column.model_copy(update={"categories": ("a", ""), "shares": (0.5, 0.5)})
    assert in_all_formats(known, ["", "a"]).strings_observed.tolist() == [[True], [True]]


def test_a_set_null_is_one_in_a_column_of_categories():
    column = CategoricalColumn(
        name="x", reading=Reading(null_values=("late",)), missing_share=0.0, categories=("a",), shares=(1.0,)
    )
    assert in_all_formats(column, ["late", "a"]).strings_observed.tolist() == [[False], [True]]


def test_a_number_that_was_constant_takes_truth_values():
    assert in_all_formats(number_column(low=1.0, high=1.0), ["true", "no", "3"]).numbers.ravel().tolist() == [1, 0, 3]


@pytest.mark.parametrize("text", ["", "kg", "\u20ac5 kg", "--5", "(5", "1.2.3", "08:15"])
def test_other_text_is_no_number_with_a_unit(text):
    written = written_number(text)
    assert written is None or (written.plain(".") is None and written.plain(",") is None)

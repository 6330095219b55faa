from __future__ import annotations

import json
import re
import tomllib
from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from vaegis.service.files import csv, ndjson
from vaegis.service.files.record_files import open_records
from vaegis.training.config import ColumnSettings, DataSettings, KindSettings, TrainConfig
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.sampling import profile_and_sample
from vaegis.training.errors import ConfigError, DataError

pytestmark = pytest.mark.training


def profile_of(path, config=None):
    return profile_and_sample(open_records(path), config or TrainConfig(), np.random.default_rng(0))[0]


def plans_of(path, config=None):
    config = config or TrainConfig()
    profile, sample = profile_and_sample(open_records(path), config, np.random.default_rng(0))
    return {plan.name: plan for plan in plan_columns(profile, config, sample.first)}


def with_kind(column, kind):
    return TrainConfig(columns={column: ColumnSettings(kind=kind)})


def cycled(values, count=60):
    return [values[i % len(values)] for i in range(count)]


CSV_CASES = [
    ("numbers", cycled(["1.5", " 2 ", "-3e2", None]), "numeric", "numbers"),
    ("zero and one", cycled(["0", "1"]), "boolean", "numbers, all 0 or 1"),
    (
        "numbers that a spreadsheet marks as text",
        cycled(["'12", "'-3.5", "'480"]),
        "numeric",
        "numbers after an apostrophe",
    ),
    ("codes that a spreadsheet marks as text", cycled(["'0012", "'0480"]), "categorical", "text"),
    ("ones alone", ["1"] * 60, "numeric", "numbers"),
    ("switches", cycled(["on", "OFF", "yes"]), "boolean", "text, all true or false"),
    ("truths in German", cycled(["ja", "Nein", None]), "boolean", "text, all true or false"),
    ("truths in French", cycled(["oui", "non", "inconnu"]), "boolean", "text, all true or false"),
    ("sizes", cycled(["38", "40", "42", "M", "L"]), "categorical", "text"),
    ("weeks of part of a year", cycled(["KW 7", "KW 8"]), None, "periods such as KW 7"),
    ("months of part of a year", cycled(["January", "May"]), None, "periods such as January"),
    ("months of years", cycled(["Mar-24", "Apr-24"]), None, "periods such as Mar-24"),
    ("years and months", cycled(["2024 Mar", "2024 Apr"]), None, "periods such as 2024 Mar"),
    ("plants", cycled(["Plant 01", "Plant 02"]), "categorical", "text"),
    ("all quarters", cycled(["Q1", "Q2", "Q3", "Q4"]), "categorical", "text"),
    ("truths", cycled(["true", "FALSE", "1"]), "boolean", "text, all true or false"),
    ("one flag", cycled(["Y", None]), "boolean", "text, all true or false"),
    ("one flag of Postgres", ["f"] * 60, "boolean", "text, all true or false"),
    ("a sex", ["F"] * 60, "categorical", "text"),
    ("countries", cycled(["DE", "FR", None]), "categorical", "text"),
    ("a constant text", ["DE"] * 60, "categorical", "text"),
    ("postcodes", cycled(["01234", "53111"]), "categorical", "leading zeros"),
    ("dates", cycled(["2026-01-01", "2026-01-02T10:00:00Z"]), "timestamp", "dates and times in text"),
    ("row numbers", [str(i) for i in range(60)], None, "row number"),
    ("shuffled numbers", [str(i * 7 % 60) for i in range(60)], "numeric", "numbers"),
    ("identifiers", [f"u-{i}" for i in range(60)], "text", "an identifier: 60 of 60 values differ"),
    ("decimal commas", cycled(['"2.400,19"', '"7,25"', '"-0,5"']), "numeric", "numbers with separators"),
    ("a numbered list", cycled(["2. Middle Atlantic"]), "categorical", "text"),
    ("a list of words", cycled(["1. White", "2. Black"]), "categorical", "text"),
    ("thousands", [f'"{i + 1},016.16"' for i in range(60)], "numeric", "numbers with separators"),
    ("millions", cycled(['"1,825,660"', '"12,34,567"', '"-10"']), "numeric", "numbers with separators"),
    (
        "minus signs of their own",
        cycled(["\u22125", "(2.50)", "3-", "7"]),
        "numeric",
        "numbers with separators or signs",
    ),
    ("thousands with points", ["435", "12", "980", "4.614", "12.250", "1.000.500"] * 9, "numeric", "with separators"),
    ("thousands with points and signs", ["-435", "+12", "980", "-4.614", "12.250", "1.500"] * 9, "numeric", "with sep"),
    ("eighths", ["435", "12", "1200", "4.125", "12.250", "1.375"] * 9, "numeric", "numbers"),
    ("Indian rupees", cycled(['"Rs. 11,09,081.60"', "Rs. 950"]), "numeric", "numbers with the unit Rs."),
    ("Excel's accounts", cycled(['" $ (4,207.04)"', " $ 546.96 ", " $ -   "]), "numeric", "a currency sign ($)"),
    ("identifiers of hexadecimal digits", [f"{i:024x}" for i in range(60)], "text", "an identifier"),
    ("thousands by letters", cycled(["1.2K", "3.4K", "12K", "643"]), "categorical", "text"),
    ("exponents", cycled(['"1,826e+03"', '"2,5e2"']), "numeric", "numbers with separators"),
    ("Arabic digits", cycled(["\u0661\u0668\u0662.\u0665", "\u0667"]), "numeric", "numbers with separators"),
    ("full-width digits", cycled(["\uff13\uff0e\uff13\uff15", "\uff17"]), "numeric", "numbers with separators"),
    ("telephone numbers", cycled(["555 123 456", "601 333 000"]), "categorical", "text"),
    ("IP addresses", cycled(["81.84.92.203", "203.176.171.152", "81.7.175.9"]), "categorical", "text"),
    ("SAS dates", cycled(["01MAR2024", "28OCT2023"]), "timestamp", "dates in the form %d%b%Y"),
    ("Oracle times", cycled(["13-OCT-24 12.01.52.547 AM"]), "timestamp", "%d-%b-%y %I.%M.%S.%f %p"),
    ("Java times", cycled(["Tue Oct 01 00:01:52 UTC 2024"]), "timestamp", "%a %b %d %H:%M:%S %Z %Y"),
    ("times of day", cycled(["08:15", "23:59"]), "timestamp", "times of day in the form %H:%M"),
    ("times of day in nanoseconds", cycled(["08:15:00.000000000", "23:59:01.500000000"]), "timestamp", "%H:%M:%S.%f"),
    ("years of two digits first", [f"23-12-{day:02}" for day in range(1, 31)], "timestamp", "%y-%m-%d"),
    ("years of two digits last", [f"{day:02}-12-23" for day in range(1, 31)], "timestamp", "%d-%m-%y"),
    ("halves of the day", cycled(["2024-03-01 08:15:00 PM"]), "timestamp", "%Y-%m-%d %I:%M:%S %p"),
    ("dates that lack midnight", cycled(["01.03.2024", "01.03.2024 08:15"]), "timestamp", "%d.%m.%Y %H:%M"),
    ("two forms", cycled(["2024-03-01", "13.03.2024"]), "timestamp", "dates in the form %d.%m.%Y and in ISO 8601"),
    ("three forms", cycled(["2024-03-01", "13.03.2024", "3/14/2024"]), "timestamp", "%m/%d/%Y and %d.%m.%Y and in ISO"),
    ("times with and without seconds", cycled(["08:15", "08:15:30"]), "timestamp", "%H:%M and %H:%M:%S"),
    ("years of two and four digits", cycled(["13.03.2024", "01.04.23"]), "timestamp", "%d.%m.%Y and %d.%m.%y"),
    ("months in French", cycled(["1 mars 2024", "3 avr. 2024"]), "timestamp", "dates in the form %d %b %Y"),
    ("results", cycled(["2:1", "0:0", "10:3"]), "categorical", "text"),
    ("dates and epochs", cycled(["2024-03-01 08:15", "1709280900"]), "timestamp", "numbers since 1970"),
    ("versions", cycled(["2.2.8", "3.9.16", "1.10.31", "2.0.12"]), "categorical", "text"),
    ("no date of SAP", cycled(["00000000", "20240301"]), "numeric", "numbers"),
    ("durations", cycled(["08:15", "30:25"]), "categorical", "text"),
    ("months", cycled(["2024-03", "2024-04"]), None, "periods such as 2024-03"),
    ("quarters", cycled(["Q1 2024", "Q2 2024"]), None, "periods such as Q1 2024"),
    ("free text", cycled(["word " * 40, "other " * 40]), "text", "free text: 220 characters"),
    ("nulls", [None] * 60, None, "every value is null"),
    ("infinite", cycled(["inf", "-inf"]), None, "NaN or infinite"),
]


@pytest.mark.parametrize(
    ("values", "kind", "reason"), [case[1:] for case in CSV_CASES], ids=[case[0] for case in CSV_CASES]
)
def test_a_csv_column_gets_its_kind_from_how_its_text_looks(csv_of, values, kind, reason):
    plan = plans_of(csv_of(x=values))["x"]
    assert plan.kind == kind
    assert reason in plan.reason


TYPED_CASES = [
    ("integers", pa.array(cycled([3, 5, None])), "numeric"),
    ("floats", pa.array(cycled([0.5, float("nan")])), "numeric"),
    ("zero and one", pa.array(cycled([0.0, 1.0])), "boolean"),
    ("booleans", pa.array(cycled([True, None])), "boolean"),
    ("texts of numbers", pa.array(cycled(["1", "2"])), "numeric"),
    ("dictionary", pa.array(cycled(["a", "b"])).dictionary_encode(), "categorical"),
    ("ISO texts", pa.array(cycled(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00+02:00"])), "timestamp"),
    ("dates", pa.array(cycled([date(2026, 1, 1)])), "timestamp"),
    ("timestamps", pa.array(cycled([0, 1, 2]), pa.timestamp("ns")), "timestamp"),
    ("times of day", pa.array(cycled([3_600, 7_200]), pa.time32("s")), "timestamp"),
    ("durations", pa.array(cycled([90, 30]), pa.duration("ms")), "numeric"),
    ("row numbers", pa.array(range(60)), None),
    ("text that is not marked as such", pa.array([b"x"] * 60), "categorical"),
    ("bytes", pa.array([b"\xff"] * 60), None),
    ("lists", pa.array([[1]] * 60), None),
    ("nulls", pa.nulls(60), None),
]


@pytest.mark.parametrize(("array", "kind"), [case[1:] for case in TYPED_CASES], ids=[case[0] for case in TYPED_CASES])
def test_a_typed_column_gets_its_kind_from_its_type_and_values(parquet_of, array, kind):
    assert plans_of(parquet_of(x=array, constant=[7] * 60))["x"].kind == kind


def test_row_numbers_may_start_again_in_each_file(csv_of, tmp_path):
    for name in ("1.csv", "2.csv"):
        csv_of(name, x=range(60), y=cycled([4, 9]))
    assert plans_of(tmp_path)["x"].kind is None


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["1.5"] * 60, ["late"] * 40, r"expected a number as in 60\.0% of the values, got other text"),
        (["2026-01-01"] * 60, ["soon"] * 40, r"expected an ISO 8601 date or timestamp as in 60\.0%"),
    ],
)
def test_a_csv_column_that_changes_its_type_half_way_stops_with_its_place(csv_of, monkeypatch, first, second, expected):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 128)
    path = csv_of(x=first + second)
    with pytest.raises(DataError, match=rf"a\.csv, row 61, column x: {expected}") as caught:
        plans_of(path)
    assert f'columns.x.null_values = ["{second[0]}"], if this text, which 40.0% hold' in str(caught.value)
    assert 'kind = "categorical"' in str(caught.value)
    assert plans_of(path, with_kind("x", "categorical"))["x"].kind == "categorical"
    assert plans_of(path, with_kind("x", "ignore"))["x"].kind is None


@pytest.mark.parametrize("text", ["1'000.5", "1 234,5", "1\u202f234", "12,5", "12.03.2024", "5 kg", "\u20ac5"])
def test_one_repeated_text_does_not_decide_the_kind_of_a_column(csv_of, text):
    with pytest.raises(DataError, match=r'row 2, column x: .* train\.toml columns\.x\.null_values = \["else"\]'):
        plans_of(csv_of(x=cycled([f'"{text}"', "else", f'"{text}"'])))
    config = TrainConfig(columns={"x": ColumnSettings(null_values=["else"])})
    assert plans_of(csv_of(x=cycled([f'"{text}"', "else", f'"{text}"'])), config)["x"].kind in {"numeric", "timestamp"}


@pytest.mark.parametrize("text", ["192.168.100.200", "1,2,3", "a,b", "A 100", "53111x", "1 2", "12A", "Q3"])
def test_a_code_is_not_taken_for_a_number_with_a_unit(csv_of, text):
    assert plans_of(csv_of(x=cycled([f'"{text}"', "else", f'"{text}"'])))["x"].kind == "categorical"


@pytest.mark.parametrize(
    ("values", "example"),
    [
        (['"1.825,66 \u20ac"', '"7,00 \u20ac"'], '"1.825,66 \u20ac" is read as 1825.66'),
        (["13.03.2024 08:15"], '"13.03.2024 08:15" is read as 2024-03-13T08:15:00'),
        (["13.03.2024"], '"13.03.2024" is read as 2024-03-13'),
        (["08:15"], '"08:15" is read as 08:15:00'),
    ],
)
def test_a_reason_shows_how_text_is_read(csv_of, values, example):
    plan = plans_of(csv_of(x=cycled(values)))["x"]
    assert plan.reason.endswith(example)
    assert not plan.warnings


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        (["08:15", "30:25"], 'looks like times or durations, such as "08:15"'),
        (["2024-03-01 00:01 IST"], "columns.x.format"),
        (["1.2K", "3.4K", "643"], "several units (K, none)"),
        ([f'~{i}.5"' for i in range(60)], 'looks like numbers, such as "~0.5'),
        (["12 min 5 s", "3 min 30 s"], 'looks like times or durations, such as "12 min 5 s"'),
        (["Berlin", "Berlin", "berlin "], '"Berlin" and "berlin " differ in case or blanks alone'),
        (["New York", "New York", "New\u00a0York"], '"New York" and "New\\u00a0York" differ'),
        (
            ["red", "None"],
            '"None" is taken for a value: if it stands for no value, set in train.toml columns.x.null_val',
        ),
        (["38", "40", "42", "M", "L"], "60% of the values are numbers, but their size is not watched"),
    ],
)
def test_a_warning_shows_what_to_set_or_to_correct(csv_of, values, warning):
    assert warning in plans_of(csv_of(x=cycled(values)))["x"].warnings[0]


def test_leading_zeros_give_a_warning_unless_the_name_says_that_they_are_codes(csv_of):
    plans = plans_of(csv_of(zip_code=cycled(["01234", "53111"]), weight=cycled(["01234", "53111"])))
    assert plans["zip_code"].warnings == ()
    assert "numbers with leading zeros are taken for codes" in plans["weight"].warnings[0]


@pytest.mark.parametrize("values", [["1. White", "2. Black", "3. Asian"], ["4000 Sales", "5000 Costs"]])
def test_a_numbered_list_gets_no_warning_of_units(csv_of, values):
    assert not plans_of(csv_of(x=cycled(values)))["x"].warnings


@pytest.mark.parametrize(
    "text", ["{:%Y-%m-%dT00:00:00Z/%Y-%m-%dT01:00:00Z}", "export_{:%Y%m%d}.csv", "day of {:%d.%m.%Y}"]
)
def test_texts_that_hold_a_date_are_no_categories(csv_of, text):
    days = [text.format(date(2024, 3, 1) + timedelta(days=at // 10)) for at in range(300)]
    plan = plans_of(csv_of(x=days))["x"]
    assert (plan.kind, plan.reason[:17]) == ("text", "texts with a date")
    assert plans_of(csv_of(x=cycled(["v2024-03-04", "v2024-06-01"])))["x"].kind == "categorical"


@pytest.mark.parametrize(
    "values", [cycled(["mild", "none"]), [f"{1960 + at // 12} {date(2000, at % 12 + 1, 1):%b}" for at in range(120)]]
)
def test_a_value_that_people_name_none_and_months_of_many_years_get_no_advice(csv_of, values):
    assert not plans_of(csv_of(x=values))["x"].warnings


def test_codes_with_leading_zeros_and_some_letters_are_not_taken_for_quantities(csv_of):
    plan = plans_of(csv_of(x=cycled(["01", "02", "13", "2A"])))["x"]
    assert (plan.kind, plan.warnings) == ("categorical", ())


def test_a_line_of_totals_is_reported(csv_of):
    with pytest.raises(DataError, match=r"row 61, column x: .* got other text; that line seems to hold a total"):
        plans_of(csv_of(x=[*cycled(["1.5", "2"]), "Total"]))


def test_an_empty_text_is_a_null_in_every_format(parquet_of):
    path = parquet_of(x=cycled(["red", "", "blue"]))
    assert plans_of(path)["x"].reason == "text"
    assert profile_of(path).columns[0].nulls == 20


def test_the_line_to_write_is_toml(csv_of):
    with pytest.raises(DataError, match=r"null_values") as caught:
        plans_of(csv_of(**{"Gr\u00f6\u00dfe \U0001f600": [*cycled(["1.5", "2"]), "klein", "klein"]}))
    line = re.search(r'columns\."[^"]+"\.null_values = \[[^\]]+\]', str(caught.value))[0]
    assert tomllib.loads(line) == {"columns": {"Gr\u00f6\u00dfe \U0001f600": {"null_values": ["klein"]}}}


def test_a_header_that_is_repeated_is_reported(csv_of):
    with pytest.raises(DataError, match=r"a\.csv, row 61, column x: .* the header seems to be repeated"):
        plans_of(csv_of(x=[*cycled(["1.5", "2"]), "x", "3"]))


@pytest.mark.parametrize("value", ["31.02.2024", "5.O2"])
def test_a_wrong_value_that_comes_once_is_reported_by_its_place_alone(csv_of, value):
    values = [f"{day:02}.03.2024" for day in range(1, 31)] if value.startswith("3") else cycled(["1.5", "2"], 30)
    with pytest.raises(DataError, match=r"a\.csv, row 31, column x: expected .* as in 96\.8% of the values") as caught:
        plans_of(csv_of(x=[*values, value]))
    assert value not in str(caught.value)


def test_a_footer_is_no_number_with_a_unit(csv_of):
    with pytest.raises(DataError, match=r"row 61, column x: .* numbers in several units \(none, rows\)"):
        plans_of(csv_of(x=[*cycled(["1.5", "2"]), "(60 rows)"]))


def test_a_second_line_of_the_header_is_reported(csv_of):
    with pytest.raises(DataError, match=r"a\.csv, row 1, column x: .* such as units or more names, remove that line"):
        plans_of(csv_of(x=["kg", *cycled(["1.5", "2"])]))


def test_values_in_two_forms_are_reported_by_their_form_alone(csv_of):
    days = [f"{day} days of 3/2024" for day in range(10, 37)]
    with pytest.raises(
        DataError, match=r'27 different texts are in another form, such as "99 aaaa aa 9/9999": write all'
    ) as caught:
        plans_of(csv_of(x=[*(f"2024-03-{day:02}" for day in range(1, 31)), *days]))
    assert days[0] not in str(caught.value)


def test_days_of_both_orders_are_refused_with_both(csv_of):
    values = cycled(["13/03/2024", "01/02/2024", "02/28/2024", "14/03/2024"])
    with pytest.raises(DataError, match=r"row 3, .* form %d/%m/%Y as in 75\.0% .* got one in the form %m/%d/%Y:"):
        plans_of(csv_of(x=values))


def test_a_few_numbers_of_another_unit_are_refused_with_their_row(csv_of):
    prices = [*(f"{number}.50 \u20ac" for number in range(60)), "12%"]
    with pytest.raises(DataError, match=r"row 61, column x: expected a number with a currency sign .* as in 98\.4%"):
        plans_of(csv_of(x=prices))
    sizes = plans_of(csv_of(x=cycled(["500 ml"] * 9 + ["1 l"])))["x"]
    assert sizes.kind == "categorical"


def test_numbers_of_which_some_have_another_unit_are_refused_with_the_units(csv_of):
    with pytest.raises(DataError, match=r"numbers in several units \(none, K\): write all in one unit"):
        plans_of(csv_of(x=[*(f"{i}" for i in range(1, 60)), "1.2K", "3K"]))


def test_text_of_which_few_values_look_like_numbers_is_text(csv_of):
    assert plans_of(csv_of(x=cycled(["a", "b", "3"])))["x"].kind == "categorical"


def test_a_type_that_changes_within_ndjson_stops_with_its_place(tmp_path, monkeypatch):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(json.dumps({"x": i if i < 60 else "late"}) + "\n" for i in range(100)), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"a\.ndjson, row 61, column x: expected a number as in 60\.0% .* got other text"
    ):
        plans_of(path)
    monkeypatch.setattr(ndjson, "BLOCK_BYTES", len('{"x": 10}\n') * 10)
    with pytest.raises(
        DataError, match=r"row 61, column x: expected a number .* got .*\.kind, which may be \"numeric\""
    ):
        plans_of(path)


def test_objects_beside_other_values_in_another_file_stop_with_both_places(tmp_path):
    for name, value in (("1", "x"), ("2", {"a": 1})):
        (tmp_path / f"{name}.ndjson").write_text(json.dumps({"x": value, "y": 1}) + "\n", encoding="utf-8")
    message = r"2\.ndjson, row 1, column x: .* another value at .*1\.ndjson, row 1; .* columns\.x\.kind = \"ignore\""
    with pytest.raises(DataError, match=message):
        plans_of(tmp_path)
    files, ignored = open_records(tmp_path, ignored=["x"]), with_kind("x", "ignore")
    profile, _ = profile_and_sample(files, ignored, np.random.default_rng(0))
    assert [column.name for column in profile.columns] == ["x", "y"]


def test_an_object_that_is_null_in_a_whole_file_is_no_column(tmp_path):
    for name, value in (("1", None), ("2", {"a": 1})):
        (tmp_path / f"{name}.ndjson").write_text(json.dumps({"x": value, "y": 1}) + "\n", encoding="utf-8")
    assert list(plans_of(tmp_path)) == ["y", "x.a"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([12.5, "3", "n/a"], "numeric"), ([True, "no", 1], "boolean"), (["DE", "FR", 5], "categorical")],
)
def test_ndjson_values_of_several_types_have_the_kind_that_fits_all(tmp_path, values, kind):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(json.dumps({"x": value}) + "\n" for value in cycled(values)), encoding="utf-8")
    assert plans_of(path)["x"].kind == kind


def test_a_type_that_changes_across_parquet_files_stops_with_its_place(parquet_of, tmp_path):
    parquet_of("1.parquet", x=[1, 2, 3])
    parquet_of("2.parquet", x=[None, "DE", "FR"])
    with pytest.raises(
        DataError, match=r"2\.parquet, row 2, column x: expected a number as in the records before, got text"
    ):
        plans_of(tmp_path)
    assert plans_of(tmp_path, with_kind("x", "categorical"))["x"].kind == "categorical"


def test_integers_and_floats_are_one_type(parquet_of, tmp_path):
    parquet_of("1.parquet", x=[1, 2, 3])
    parquet_of("2.parquet", x=[1.5, 2.0, None])
    assert plans_of(tmp_path)["x"].kind == "numeric"


def test_a_category_with_too_many_values_is_counted_within_bounds_and_its_form_watched(csv_of):
    config = TrainConfig(kinds=KindSettings(max_distinct=100))
    path = csv_of(x=[f"v{i % 1500}" for i in range(2000)])
    text = profile_of(path, config).columns[0].text
    assert (text.distinct, text.is_capped, len(text.counts)) == (100, True, 100)
    plan = plans_of(path, config)["x"]
    assert plan.kind == "text"
    assert "too varied: at least 100 values" in plan.reason
    assert plan.reason.endswith("only its form will be watched")


def test_a_category_with_a_long_tail_is_kept_where_its_common_values_cover_enough(csv_of):
    config = TrainConfig(kinds=KindSettings(max_categories=2))
    values = cycled(["a", "b"], 80) + [f"v{i}" for i in range(20)]
    assert plans_of(csv_of(x=values), config)["x"].kind == "categorical"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2"], "categorical"),
        (["1", "0"], "numeric"),
        (["1.7e9", "2026-01-01"], "categorical"),
        (["1700000000"] * 2, "timestamp"),
    ],
)
def test_a_kind_that_is_set_replaces_the_inferred_one(csv_of, values, kind):
    plan = plans_of(csv_of(x=cycled(values)), with_kind("x", kind))["x"]
    assert (plan.kind, plan.reason) == (kind, "set in train.toml")


@pytest.mark.parametrize(
    ("values", "kind"), [(["1", "x"], "numeric"), (["true", "maybe"], "boolean"), (["x", "2026-01-01"], "timestamp")]
)
def test_a_kind_that_text_cannot_have_is_refused_with_its_place(csv_of, values, kind):
    with pytest.raises(DataError, match=rf"a\.csv, row \d, column x: expected text that can be {kind}"):
        plans_of(csv_of(x=cycled(values)), with_kind("x", kind))


@pytest.mark.parametrize(
    ("array", "kind"),
    [(pa.array([Decimal("0.5")]), "categorical"), (pa.array([True]), "numeric"), (pa.array([b"\xff"]), "categorical")],
)
def test_a_kind_that_a_type_cannot_have_is_refused(parquet_of, array, kind):
    with pytest.raises(DataError, match=rf"column x: expected values that can be {kind}, as set in train\.toml"):
        plans_of(parquet_of(x=array), with_kind("x", kind))


def test_bytes_that_are_no_text_are_named_with_the_first_place(parquet_of):
    path = parquet_of(x=[b"ok", b"s\xfcd"], y=["a", "b"])
    assert re.match(r"bytes that are not UTF-8 \(.*, row 2\) are not scored", plans_of(path)["x"].reason)
    with pytest.raises(DataError, match=r"row 2, column x: expected .* categorical, .* bytes that are not UTF-8"):
        plans_of(path, with_kind("x", "categorical"))


def test_settings_must_name_columns_that_exist(csv_of):
    path = csv_of(amount=["1"])
    with pytest.raises(ConfigError, match=r'columns\."amuont": .* got \'amuont\'; the nearest is amount'):
        plans_of(path, with_kind("amuont", "numeric"))
    with pytest.raises(ConfigError, match=r"data\.time_column: expected a column of the records, got 'placed_at'"):
        plans_of(path, TrainConfig(data=DataSettings(time_column="placed_at")))


def test_files_without_records_are_refused(tmp_path):
    for name, content in (("a.csv", "a,b\n"), ("a.ndjson", "\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=f"/{name}: expected records, got none"):
            plans_of(tmp_path / name)
    (tmp_path / "b.csv").write_text("a,b\n", encoding="utf-8")
    (tmp_path / "a.ndjson").unlink()
    with pytest.raises(DataError, match=r"/a\.csv and 1 more files: expected records, got none"):
        plans_of(tmp_path)


def test_records_without_any_usable_column_are_refused_with_the_reasons(parquet_of):
    path = parquet_of(x=pa.nulls(30), y=list(range(30)))
    with pytest.raises(DataError, match=r"got 2 that cannot be \(x: every value is null; y: consecutive integers"):
        plans_of(path)
    with pytest.raises(DataError, match="got 1 that cannot be"):
        plans_of(parquet_of(x=pa.array([{}] * 3, pa.struct([("a", pa.null())]))))


def test_one_record_and_one_constant_column_are_planned(csv_of):
    assert {name: plan.kind for name, plan in plans_of(csv_of(x=["a"])).items()} == {
        "x": "categorical",
        "constant": "numeric",
    }


def test_instants_of_differing_zones_are_instants_and_those_that_do_not_exist_are_not(csv_of):
    path = csv_of(x=cycled(["2026-01-01T00:00:00Z", "2026-01-01", "2026-02-30"], 99))
    with pytest.raises(DataError, match=r"row 3, column x: expected an ISO 8601 date or timestamp as in 66\.7%"):
        plans_of(path)


def test_a_type_that_no_kind_takes_beside_another_is_refused(parquet_of, tmp_path):
    parquet_of("1.parquet", x=["DE"], y=[1])
    parquet_of("2.parquet", x=[[1]], y=[1])
    with pytest.raises(DataError, match=r"2\.parquet, row 1, column x: expected text .* got a value of another type"):
        plans_of(tmp_path)


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_infinities_are_warned_of_with_the_setting_that_makes_them_nulls_in_scoring_too(tmp_path, format_, csv_of):
    numbers = [*(i + 0.5 for i in range(60)), float("inf"), float("-inf"), float("nan")]
    if format_ == "csv":
        path = csv_of(x=list(map(str, numbers)))
    else:
        path = tmp_path / "x.parquet"
        pa.parquet.write_table(pa.table({"x": numbers}), path)
    (warning,) = plans_of(path)["x"].warnings
    assert warning.startswith("training reads 2 infinite values as null, but scoring refuses such values.")
    line = re.search(r"columns\.x\.null_values = .*", warning)[0]
    config = TrainConfig.model_validate(tomllib.loads(line))
    plan = plans_of(path, config)["x"]
    assert (plan.kind, plan.warnings, plan.reading.null_values) == ("numeric", (), ("inf", "-inf"))

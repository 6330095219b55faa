"""The Python API: what `vaegis.load` opens, what `Model.score` takes, and what it gives."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import vaegis
from vaegis.service.artifact import load_artifact
from vaegis.service.pvalues import guarantee, threshold

RECORDS = [
    {"amount": 23.5, "express": False, "country": "FR", "placed_at": datetime(2023, 11, 14, 9, 30, tzinfo=UTC)},
    {"amount": 9000.0, "express": True, "country": "Atlantis", "placed_at": datetime(2023, 5, 3, 2, tzinfo=UTC)},
    {"amount": None, "express": None, "country": None, "placed_at": None},
]


@pytest.fixture(scope="module")
def model(golden_model) -> vaegis.Model:
    return vaegis.load(golden_model)


@pytest.fixture(scope="module")
def expected(model) -> np.ndarray:
    return model.score(RECORDS).score


def table(**changed: pa.Array) -> pa.Table:
    columns = {name: pa.array([record[name] for record in RECORDS]) for name in RECORDS[0]}
    return pa.table(columns | changed)


def test_importing_loads_nothing_heavy():
    probe = "import sys, vaegis; print(*{'numpy', 'onnxruntime', 'pydantic', 'pyarrow', 'torch'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []


def test_every_public_name_is_there():
    for name in vaegis.__all__:
        assert getattr(vaegis, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        vaegis.lode  # noqa: B018 - looking is the test


def test_a_model_shows_its_columns_and_its_promise(model, golden_model):
    artifact = load_artifact(golden_model)
    folds, alpha = artifact.calibration_folds, artifact.contract.calibration.alpha
    assert list(model.columns) == list(artifact.contract.columns.names)
    assert set(model.columns.values()) == {"numeric", "boolean", "categorical", "timestamp"}
    assert (model.name, model.digest) == ("orders", f"sha256:{artifact.digest}")
    assert (model.alpha, model.threshold, model.guarantee) == (alpha, threshold(folds, alpha), guarantee(folds, alpha))
    assert repr(model) == "<Model 'orders': 4 columns, alpha 0.01>"


def test_a_model_that_does_not_reproduce_its_scores_is_refused(golden_model, tmp_path):
    path = tmp_path / "cut.onnx"
    path.write_bytes(golden_model.read_bytes()[:-100])
    with pytest.raises(vaegis.ArtifactError, match=r"cut\.onnx"):
        vaegis.load(path)
    with pytest.raises(vaegis.ArtifactError, match="No such file"):
        vaegis.load(str(tmp_path / "absent.onnx"))
    with pytest.raises(ValueError, match="threads: expected at least 1, got 0"):
        vaegis.load(golden_model, threads=0)


def test_only_the_file_that_is_expected_is_opened(model, golden_model, tmp_path):
    assert vaegis.load(golden_model, digest=model.digest).digest == model.digest
    with pytest.raises(vaegis.ArtifactError, match="expected the digest sha256:0000"):
        vaegis.load(golden_model, digest="sha256:" + "0" * 64)
    with pytest.raises(vaegis.SettingsError, match="64 hexadecimal digits"):
        vaegis.load(golden_model, digest=model.digest[7:])
    with pytest.raises(vaegis.SettingsError, match=r"key\.pem: cannot be read"):
        vaegis.load(golden_model, public_key=tmp_path / "key.pem")


def test_verdicts_come_as_arrays_as_plain_python_and_as_a_table(model):
    result = model.score(RECORDS, alpha=0.05)
    assert (len(result), result.alpha, result.errors) == (3, 0.05, None)
    assert result.threshold == threshold(model.artifact.calibration_folds, 0.05)
    assert result.guarantee.startswith("At alpha 0.05,")
    assert repr(result) == "<ScoreResult: 3 records, 2 flagged at alpha 0.05>"
    plain = json.loads(json.dumps(result.to_list()))
    assert plain == result.to_list() == list(result)
    assert [record["score"] for record in plain] == result.score.tolist()
    assert [record["is_anomaly"] for record in plain] == result.is_anomaly.tolist() == [False, True, True]
    assert {violation["code"] for violation in plain[1]["violations"]} >= {"above_range", "unseen_category"}
    assert plain[0]["contributions"] is None
    assert {item["column"] for item in plain[1]["contributions"]} == set(model.columns)
    rows = result.to_arrow().to_pylist()
    observed = {item["column"]: json.loads(item["observed"]) for item in rows[1]["contributions"]}
    assert observed["country"] == "Atlantis"
    for row, record in zip(rows, plain, strict=True):
        lists = {"contributions": None, "violations": None}
        assert row | lists == record | lists
    assert pa.table(result).equals(result.to_arrow())
    assert pl.DataFrame(result)["score"].to_list() == result.score.tolist()


@pytest.mark.parametrize(("explain", "explained"), [("none", 0), ("anomalies", 2), ("all", 3)])
def test_contributions_come_with_the_records_that_are_to_be_explained(model, explain, explained):
    contributions = model.score(RECORDS, explain=explain).contributions
    assert sum(items is not None for items in contributions) == explained


@pytest.mark.parametrize(
    "convert",
    [
        pl.from_arrow,
        duckdb.from_arrow,
        lambda data: data.to_pandas(),
        lambda data: data.to_pandas().convert_dtypes(),
        lambda data: data.to_pandas().astype({"country": "category"}),
        lambda data: data.to_pandas().to_dict("records"),
        lambda data: data.to_reader(max_chunksize=1),
        lambda data: data.combine_chunks().to_batches()[0],
        lambda data: pa.concat_tables([data.slice(row, 1) for row in range(3)]),
        lambda data: data.to_pandas().set_index("placed_at"),
        lambda data: data.to_pandas().iloc[[0, 1, 2]].set_index(pd.Index([7, 3, 5])),
    ],
    ids=[
        "polars",
        "duckdb",
        "pandas",
        "pandas with its own nulls",
        "pandas with categories",
        "dicts of pandas",
        "a stream",
        "a batch",
        "chunks",
        "an index that is a column",
        "an index that is none",
    ],
)
def test_each_kind_of_table_gives_the_verdicts_of_its_records(model, expected, convert):
    np.testing.assert_array_equal(model.score(convert(table())).score, expected)


INSTANTS = table()["placed_at"]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("amount", pa.array([Decimal("23.5"), Decimal(9000), None])),
        ("amount", pa.array([23.5, 9000, np.nan], pa.float32())),
        ("amount", pa.array(["23.5", "9e3", " "])),
        ("amount", pa.array(["23.5", "9000", None]).dictionary_encode()),
        ("express", pa.array([0, 1, None], pa.uint8())),
        ("express", pa.array(["false", "TRUE", ""], pa.large_string())),
        ("country", table()["country"].combine_chunks().dictionary_encode()),
        ("country", pa.array(["FR", "Atlantis", None], pa.string_view())),
        ("placed_at", INSTANTS.cast(pa.timestamp("us", "Asia/Tokyo"))),
        ("placed_at", INSTANTS.cast(pa.timestamp("ns", "UTC"))),
        ("placed_at", INSTANTS.cast(pa.timestamp("us"))),
        ("placed_at", pc.divide(INSTANTS.cast(pa.int64()), 1_000_000)),
        ("placed_at", pa.array(["2023-11-14T10:30:00+01:00", "2023-05-03 02:00", None])),
    ],
)
def test_a_value_means_the_same_in_every_arrow_type(model, expected, column, values):
    np.testing.assert_array_equal(model.score(table(**{column: values})).score, expected)


class Country(StrEnum):
    FRANCE = "FR"


@pytest.mark.parametrize(
    ("column", "value", "same"),
    [
        ("amount", np.float32(23.5), 23.5),
        ("amount", np.int64(23), 23),
        ("amount", Decimal("23.5"), 23.5),
        ("amount", np.nan, None),
        ("amount", Decimal("NaN"), None),
        ("amount", pd.NA, None),
        ("express", np.True_, True),
        ("country", np.str_("FR"), "FR"),
        ("country", Country.FRANCE, "FR"),
        ("country", float("nan"), None),
        ("placed_at", pd.NaT, None),
        ("placed_at", np.datetime64("NaT", "s"), None),
        ("placed_at", np.datetime64("2023-11-14T09:30"), "2023-11-14T09:30:00Z"),
        ("placed_at", pd.Timestamp("2023-11-14T10:30:00+01:00"), "2023-11-14T09:30:00Z"),
        ("placed_at", datetime(2023, 11, 14, 9, 30), "2023-11-14T09:30:00Z"),  # noqa: DTZ001 - naive means UTC
        ("placed_at", datetime(2023, 11, 14, tzinfo=timezone(timedelta(hours=9))), "2023-11-13T15:00:00Z"),
        ("placed_at", date(2023, 11, 14), "2023-11-14"),
    ],
)
def test_pythons_own_values_mean_what_json_says_for_them(model, column, value, same):
    given, wanted = (model.score([RECORDS[0] | {column: one}]) for one in (value, same))
    assert given.to_list() == wanted.to_list()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("amount", "many", "expected a number, got text"),
        ("amount", np.inf, "expected a number within float64, got one beyond its range, or infinity"),
        ("amount", RECORDS[0]["placed_at"], "expected a number, got a datetime"),
        ("amount", b"1", "expected a number, got a bytes"),
        ("amount", {}, "expected a number, got an object"),
        ("express", 2, "expected true, false, yes, no, 1 or 0, got another number"),
        ("country", 1.5, "expected a string, an integer or a boolean, got a number"),
        ("country", date(2023, 1, 1), "expected a string, an integer or a boolean, got a date"),
        ("country", "\ud800", "expected valid Unicode text, got a lone surrogate"),
        ("placed_at", timedelta(1), "expected an ISO 8601 date and time, or a number since 1970, got a timedelta"),
        (
            "placed_at",
            np.datetime64("20000-01-01"),
            "an ISO 8601 date and time, or a number since 1970, got a datetime64",
        ),
        ("amuont", 1, "unknown column; the nearest is amount"),
        (1, 1, "unknown column"),
    ],
)
def test_a_record_that_does_not_fit_is_an_error_that_says_where(model, column, value, message):
    with pytest.raises(vaegis.RecordError) as refused:
        model.score([RECORDS[0], RECORDS[1] | {column: value}])
    assert str(refused.value).startswith(f"records[1].{column}: ")
    assert str(refused.value).endswith(message)
    (fault,) = refused.value.faults
    assert (fault.row, fault.column) == (1, str(column))


def test_faults_that_are_reported_leave_the_others_scored(model, expected):
    records = [RECORDS[0], RECORDS[0] | {"amount": "many", "express": 2}, RECORDS[1], 5]
    for data in (records, records[:3]):
        result = model.score(data, on_invalid="report")
        np.testing.assert_array_equal(result.score[:3], [expected[0], np.nan, expected[1]])
        assert result.is_anomaly.tolist()[:3] == [False, False, True]
        assert [fault.column for fault in result.errors[1]] == ["amount", "express"]
        second = result.to_list()[1]
        assert {name for name, value in second.items() if value is not None} == {"errors"}
        assert result.to_arrow().to_pylist()[1] == second
    frame = pa.table({name: [str(record[name]) for record in records[:3]] for name in RECORDS[0]})
    of_table = model.score(frame, on_invalid="report")
    np.testing.assert_array_equal(of_table.score, result.score)
    assert [fault.message for fault in of_table.errors[1]] == [
        "records[1].amount: expected a number, got text",
        "records[1].express: expected true, false, yes, no, 1 or 0, got another number",
    ]


def test_a_record_that_holds_itself_is_at_fault_like_one_that_nests_too_deep(model):
    endless: dict[str, object] = {"amount": 1.0}
    endless |= {"a": endless, "b": endless}
    with pytest.raises(vaegis.RecordError, match=r"^records\[1\]: expected at most 32 levels of nesting, got more$"):
        model.score([RECORDS[0], endless])


def test_faults_of_many_records_are_reported_up_to_a_limit(model):
    with pytest.raises(vaegis.RecordError) as refused:
        model.score([RECORDS[0] | {"amount": "many"}] * 1000)
    assert (len(refused.value.faults), refused.value.omitted) == (100, 900)


def test_rows_are_counted_through_all_batches(model):
    amounts = ["1"] * 70_000
    amounts[69_999] = "many"
    with pytest.raises(vaegis.RecordError, match=r"^records\[69999\].amount: "):
        model.score(pa.table({"amount": amounts}))
    with pytest.raises(vaegis.RecordError, match=r"^records\[69999\].amount: "):
        model.score([{"amount": amount} for amount in amounts])


def test_columns_that_are_unknown_can_be_ignored(model, expected):
    assert model.score(table(note=pa.array("abc")), unknown_columns="ignore").score.tolist() == expected.tolist()
    records = [record | {"note": 1} for record in RECORDS]
    assert model.score(records, unknown_columns="ignore").score.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (table(amuont=pa.nulls(3)), "header.amuont: unknown column"),
        (pa.table({"a": [1]}), "header: expected at least one column of the model, got none"),
        (pa.table([[1], [2]], names=["amount", "amount"]), "expected each column name once, got one twice"),
        (
            pd.DataFrame([[1, 2]], columns=["amount", "amount"]),
            "header.amount: expected each name once, got one twice",
        ),
        ([{}], r"records\[0\]: expected at least one column of the model, got none"),
        ([[1]], r"records\[0\]: expected an object, got a list"),
    ],
)
def test_columns_that_do_not_fit_are_refused(model, data, message):
    with pytest.raises(vaegis.RecordError, match=message):
        model.score(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"amount": 1.0}, "got dict; put one record into a list"),
        ("records.csv", "expected a list of dicts, an Arrow table or a frame, got str"),
        (b"{}", "got bytes"),
        (None, "got NoneType"),
        (iter([{}]), "got list_iterator"),
        (pl.LazyFrame({"amount": [1]}), "got LazyFrame"),
        (pa.array([1]), "expected a table or a frame, got Int64Array"),
        (pl.Series([1]), "expected a table or a frame, got Series"),
    ],
)
def test_what_holds_no_records_is_refused(model, data, message):
    with pytest.raises(TypeError, match=message):
        model.score(data)


@pytest.mark.parametrize("option", ["explain", "unknown_columns", "on_invalid"])
def test_an_option_of_another_value_is_refused(model, option):
    with pytest.raises(ValueError, match=rf"^{option}: expected .*, got 'some'$"):
        model.score(RECORDS, **{option: "some"})


@pytest.mark.parametrize("alpha", [0.0, 1.0, np.nan, 1e-9])
def test_an_alpha_that_cannot_be_promised_is_refused(model, alpha):
    with pytest.raises(vaegis.AlphaError, match=r"^alpha: expected"):
        model.score([], alpha=alpha)


@pytest.mark.parametrize(
    "data", [[], (), table().slice(0, 0), pd.DataFrame({"amount": []}), table().slice(0, 0).to_reader()]
)
def test_no_records_get_no_verdicts(model, data):
    result = model.score(data)
    assert (len(result), result.to_list(), result.is_anomaly.dtype) == (0, [], np.bool_)
    assert result.to_arrow().schema == model.score(RECORDS).to_arrow().schema


def test_a_frame_with_columns_of_several_types_is_scored_value_by_value(model):
    records = [RECORDS[0], RECORDS[0] | {"amount": "23.5", "country": 49}, RECORDS[2]]
    np.testing.assert_array_equal(model.score(pd.DataFrame(records)).score, model.score(records).score)


def test_periods_of_pandas_are_refused_rather_than_taken_for_numbers(model):
    frame = pd.DataFrame({"placed_at": pd.period_range("2023-01", periods=2, freq="M")})
    with pytest.raises(vaegis.RecordError, match="got a Period"):
        model.score(frame)


def test_without_pyarrow_dicts_and_pandas_frames_are_scored(golden_model):
    probe = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "import pandas, vaegis\n"
        f"model = vaegis.load({str(golden_model)!r})\n"
        "records = [{'amount': 23.5, 'country': 'FR'}, {'amount': 9000.0, 'country': None}]\n"
        "print(model.score(records).score.tolist() == model.score(pandas.DataFrame(records)).score.tolist())\n"
        "try:\n    model.score(records).to_arrow()\nexcept vaegis.MissingExtraError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-W", "ignore", "-c", probe], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["True", "pyarrow is not installed; pip install 'vaegis[files]'"]


def test_without_the_training_extra_train_names_it(tmp_path):
    probe = (
        "import sys; sys.modules['torch'] = None\n"
        "import vaegis\n"
        "try:\n    vaegis.train([])\nexcept vaegis.MissingExtraError as error:\n    print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ended.stdout == "torch is not installed; pip install 'vaegis[training]'\n"

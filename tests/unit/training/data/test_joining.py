from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vaegis.service.files.batches import FileBatch
from vaegis.service.files.record_files import open_records
from vaegis.training.config import TrainConfig
from vaegis.training.data.sampling import Sample, Sampler, profile_and_sample
from vaegis.training.errors import DataError

pytestmark = pytest.mark.training


def sampled(*parts: pa.Array, kind: str | None = None, max_records: int = 100) -> Sample:
    """Return a sample of the column x, each part of which comes from a file of its own."""
    sampler = Sampler(max_records, 2**30, np.random.default_rng(0), {} if kind is None else {"x": kind})
    for at, part in enumerate(parts):
        sampler.add(FileBatch(pa.record_batch({"x": part}), Path(f"{at}.parquet"), 1))
    return sampler.finish()


DAYS = pa.array([0, 1, None], pa.date32())
LOCAL = pa.array([0, 86_400_000_000, None], pa.timestamp("us"))
EXPECTED = [0.0, 86_400.0, np.nan]


@pytest.mark.parametrize(
    "other",
    [
        DAYS,
        DAYS.cast(pa.date64()),
        LOCAL.cast(pa.timestamp("us", "UTC")),
        LOCAL.cast(pa.timestamp("ns", "UTC")).cast(pa.timestamp("ns", "Europe/Berlin")),
        pa.array([0, 86_400, None], pa.timestamp("s")),
    ],
    ids=lambda array: str(array.type),
)
def test_instants_of_differing_types_stay_what_they_are(other):
    np.testing.assert_array_equal(sampled(LOCAL, other).numbers("x", "timestamp"), EXPECTED * 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([2**60]), pa.array([1.5])),
        (pa.array([1.5]), pa.array([2**60])),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1])),
        (pa.array([1], pa.decimal128(38, 37)), pa.array([10**10])),
    ],
    ids=["integers, then floats", "floats, then integers", "unsigned and signed", "decimals"],
)
def test_numbers_without_a_common_type_are_rounded_to_float64(one, other):
    expected = [float(one[0].as_py()), float(other[0].as_py())]
    assert sampled(one, other).numbers("x", "numeric").tolist() == expected


@pytest.mark.parametrize(
    ("one", "other", "kind", "expected"),
    [
        (pa.array([1.5, None]), pa.array(["2.5", ""]), "numeric", [1.5, np.nan, 2.5, np.nan]),
        (pa.array(["2.5"]), pa.array([3]), "numeric", [2.5, 3.0]),
        (LOCAL, pa.array(["1970-01-02T00:00:00Z"]), "timestamp", [*EXPECTED, 86_400.0]),
        (LOCAL, pa.array([1_700_000_000_000]), "timestamp", [*EXPECTED, 1_700_000_000.0]),
        (pa.array(["9999-12-31"]), LOCAL, "timestamp", [253_402_214_400.0, *EXPECTED]),
        (pa.array([True, None]), pa.array([0.0, 1.0]), "boolean", [1.0, np.nan, 0.0, 1.0]),
        (pa.array(["false"]), pa.array([1.0]), "boolean", [0.0, 1.0]),
    ],
)
def test_a_column_whose_kind_is_set_keeps_its_values_where_their_types_differ(one, other, kind, expected):
    np.testing.assert_array_equal(sampled(one, other, kind=kind).numbers("x", kind), expected)


def test_categories_of_differing_types_become_text():
    categories, observed = sampled(
        pa.array([1, None]), pa.array(["x"]), pa.array([True]), kind="categorical"
    ).categories("x")
    assert categories[observed].tolist() == ["1", "x", "true"]


@pytest.mark.parametrize("typed", [pa.array([1.5]), LOCAL, pa.array([True])], ids=lambda array: str(array.type))
def test_a_type_without_any_value_changes_nothing(typed):
    assert sampled(pa.nulls(2, pa.string()), typed).table["x"].to_pylist() == [None, None, *typed.to_pylist()]


def test_a_value_that_is_not_of_the_kind_is_refused_with_its_place():
    with pytest.raises(DataError, match=r"1\.parquet, row 2, column x: expected a number, got text"):
        sampled(pa.array([1.5, 2.5]), pa.array(["3", "many"]), kind="numeric")


def test_values_of_types_that_no_kind_takes_are_nulls():
    assert sampled(pa.array([[1]]), pa.array([["a"]])).table["x"].null_count == 2


def test_types_that_differ_join_in_a_sample_that_is_cut_back_again_and_again():
    parts = [pa.array([2**60]), pa.array([1.5]), pa.array([2**60 + 2**20])] * 5
    drawn = sampled(*parts, max_records=3)
    expected = [float(parts[row][0].as_py()) for row in drawn.rows]
    assert drawn.numbers("x", "numeric").tolist() == expected


def test_a_type_that_no_kind_takes_is_refused_where_the_kind_is_set():
    with pytest.raises(
        DataError, match=r"2\.parquet, row 1, column x: expected values that can be categorical, got the list"
    ):
        sampled(pa.array([1]), pa.array(["a"]), pa.array([[1]]), kind="categorical")


def test_a_numeric_time_column_of_differing_types_stays_a_number(tmp_path):
    for name, values in (("a", pa.array([2**60])), ("b", pa.array([1.5]))):
        pq.write_table(pa.table({"at": values}), tmp_path / f"{name}.parquet")
    config = TrainConfig.model_validate({"data": {"time_column": "at"}})
    records = open_records(tmp_path, max_depth=32)
    _, sample = profile_and_sample(records, config, np.random.default_rng(0), None)
    assert sample.numbers("at", "numeric").tolist() == [2.0**60, 1.5]

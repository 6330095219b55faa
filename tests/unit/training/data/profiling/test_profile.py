from __future__ import annotations

import math

import numpy as np
import pytest

from vaegis.service.files import csv
from vaegis.service.files.record_files import open_records
from vaegis.training.config import KindSettings, TrainConfig
from vaegis.training.data.sampling import profile_and_sample

pytestmark = pytest.mark.training


def profile_of(path, config=None):
    return profile_and_sample(open_records(path), config or TrainConfig(), np.random.default_rng(0))[0]


def test_a_profile_counts_what_a_column_holds(csv_of):
    path = csv_of(x=["1", "2.5", None, "inf", "nan", "-4"])
    column = profile_of(path).columns[0]
    assert (column.records, column.observed, column.nulls) == (6, 4, 2)
    assert (column.numbers.count, column.numbers.non_finite) == (3, 1)


def test_markers_of_nulls_count_as_nulls_where_they_are(csv_of):
    column = profile_of(csv_of(x=["1", "-", None, r"\N"])).columns[0]
    assert (column.nulls, column.nulls_and_markers) == (1, 3)


def test_non_finite_numbers_are_counted_by_column(parquet_of):
    path = parquet_of(x=[1.0, math.nan, math.inf, None], y=[1.0, 2.0, 3.0, 4.0])
    x, y = profile_of(path).columns
    assert (x.numbers.non_finite, x.nulls, x.numbers.count) == (2, 1, 1)
    assert y.numbers.non_finite == 0


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_counted_where_it_comes_alone(parquet_of, number):
    (column,) = profile_of(parquet_of(a=[number])).columns
    assert (column.numbers.count, column.numbers.non_finite) == (0, 1)
    assert not column.numbers.are_consecutive


@pytest.mark.parametrize("text", ["+5", "+4915112345678", "1e400", "-.5e-400", "9" * 400, "+inf"])
def test_every_text_that_looks_like_a_number_is_read_as_one(csv_of, text):
    profile = profile_of(csv_of(a=[text, "2"]))
    assert profile.columns[0].text is not None
    assert profile.columns[0].text.numbers.count == 2
    assert profile.columns[0].numbers.count + profile.columns[0].numbers.non_finite == 2


def test_a_column_that_some_records_lack_is_null_there(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text('{"a": 1}\n{"b": {"c": "x"}}\n{"a": 2}\n', encoding="utf-8")
    columns = {column.name: column for column in profile_of(path).columns}
    assert columns["a"].nulls == 1
    assert columns["b.c"].nulls == 2


def test_values_counted_before_the_bound_are_counted_on_after_it(csv_of, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 1024)
    config = TrainConfig(kinds=KindSettings(max_distinct=100))
    values = [value for i in range(1000) for value in ("DE", f"v{i}")]
    text = profile_of(csv_of(x=values), config).columns[0].text
    assert text.is_capped
    assert text.counts[:2] == (1000, 1)
    assert len(text.counts) == 100

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.contract import Reading
from vaegis.service.files.batches import FileBatch
from vaegis.service.files.record_files import open_records
from vaegis.training.config import ColumnSettings, DataSettings, TrainConfig
from vaegis.training.data.sampling import Sampler, profile_and_sample
from vaegis.training.errors import DataError

pytestmark = pytest.mark.training
PATH = Path("records.csv")
MUCH = 2**30


def sample(records, size, seed, *, batch_rows=7, max_bytes=MUCH):
    sampler = Sampler(size, max_bytes, np.random.default_rng(seed), {})
    for start in range(0, records, batch_rows):
        values = np.arange(start, min(start + batch_rows, records))
        sampler.add(FileBatch(pa.record_batch({"at": values}), PATH, start + 1))
    return sampler.finish()


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 60), st.integers(0, 2**32))
def test_a_sample_has_its_size_and_keeps_the_order(records, size, seed):
    drawn = sample(records, size, seed)
    assert len(drawn) == drawn.table.num_rows == min(records, size)
    assert (np.diff(drawn.rows) > 0).all()
    if records:
        assert drawn.table["at"].to_pylist() == drawn.rows.tolist()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_a_sample_depends_on_the_seed_and_not_on_the_batches(batch_rows, other_batch_rows):
    one, same = (sample(200, 20, 5, batch_rows=rows) for rows in (batch_rows, other_batch_rows))
    assert np.array_equal(one.rows, same.rows)
    assert not np.array_equal(one.rows, sample(200, 20, 6).rows)


def test_every_record_is_drawn_as_often_as_any_other():
    draws = 2000
    counts = np.zeros(60)
    for seed in range(draws):
        counts[sample(60, 15, seed).rows] += 1
    expected = draws * 15 / 60
    # Chi-square with 59 degrees of freedom, less because draws are without replacement: 1e-6 quantile 130.
    assert ((counts - expected) ** 2 / expected).sum() < 130


def test_large_records_make_a_smaller_sample():
    sampler = Sampler(10_000, 100_000, np.random.default_rng(0), {})
    for start in range(0, 5000, 100):
        sampler.add(FileBatch(pa.record_batch({"text": ["x" * 1000] * 100}), PATH, start + 1))
    drawn = sampler.finish()
    assert 80 <= len(drawn) <= 100
    assert drawn.table.nbytes <= 110_000
    assert drawn.rows.max() > 2500


def test_the_place_of_a_sampled_record_is_its_file_and_row():
    sampler = Sampler(1000, MUCH, np.random.default_rng(0), {})
    for path, rows in (("a.csv", 10), ("b.csv", 20)):
        for start in range(0, rows, 5):
            sampler.add(FileBatch(pa.record_batch({"a": list(range(5))}), Path(path), start + 1))
    drawn = sampler.finish()
    assert [str(drawn.location(index)) for index in (0, 9, 10, 29)] == [
        "a.csv, row 1",
        "a.csv, row 10",
        "b.csv, row 1",
        "b.csv, row 20",
    ]


def test_columns_of_differing_types_join():
    sampler = Sampler(100, MUCH, np.random.default_rng(0), {"mixed": "categorical"})
    parts = [
        {"null": pa.nulls(1), "wide": [1], "mixed": [1]},
        {"null": ["x"], "wide": [1.5], "mixed": ["x"], "new": [True]},
        {"null": [None], "wide": [None], "mixed": [True]},
    ]
    for row, part in enumerate(parts, start=1):
        sampler.add(FileBatch(pa.record_batch(part), PATH, row))
    assert sampler.finish().table.to_pylist() == [
        {"null": None, "wide": 1.0, "mixed": "1", "new": None},
        {"null": "x", "wide": 1.5, "mixed": "x", "new": True},
        {"null": None, "wide": None, "mixed": "true", "new": None},
    ]


def test_one_pass_profiles_every_record_and_samples_some(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "".join(f"{i},x\n" for i in range(500)), encoding="utf-8")
    config = TrainConfig(data=DataSettings(max_records=100), columns={"b": ColumnSettings(kind="ignore")})
    seen: list[int] = []
    profile, drawn = profile_and_sample(open_records(path), config, np.random.default_rng(0), seen.append)
    assert profile.records == 500
    assert [column.name for column in profile.columns] == ["a", "b"]
    assert drawn.table.schema.names == ["a"]
    assert len(drawn) == 100
    assert seen[-1] == 500


def test_values_that_are_not_scored_are_not_kept(tmp_path):
    path = tmp_path / "a.arrow"
    lists = pa.array([["x"]] * 500, pa.list_(pa.string_view()))  # Arrow cannot take single ones of these
    table = pa.table({"a": np.arange(500), "item_ids": lists})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    config = TrainConfig(data=DataSettings(max_records=100))
    profile, drawn = profile_and_sample(open_records(path), config, np.random.default_rng(0))
    assert [column.name for column in profile.columns] == ["a", "item_ids"]
    assert drawn.table.schema.names == ["a"]
    assert (drawn.groups("item_ids") == -1).all()


def test_a_column_that_no_sampled_record_has_is_null(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text('{"a": 1.5}\n' * 3, encoding="utf-8")
    _, drawn = profile_and_sample(open_records(path), TrainConfig(), np.random.default_rng(0))
    assert np.isnan(drawn.numbers("late", "numeric")).all()
    categories, observed = drawn.categories("late")
    assert (categories.shape, observed.any()) == ((3,), False)


def test_a_time_column_that_is_ignored_is_kept_to_split_by(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,at,b\n1,2024-01-01,x\n2,2024-01-02,x\n", encoding="utf-8")
    ignored = ColumnSettings(kind="ignore")
    config = TrainConfig(data=DataSettings(time_column="at"), columns={"at": ignored, "b": ignored})
    _, drawn = profile_and_sample(open_records(path), config, np.random.default_rng(0))
    assert drawn.table.schema.names == ["a", "at"]
    assert np.diff(drawn.numbers("at", "timestamp")).tolist() == [86_400.0]


def test_a_sampled_column_becomes_numbers_or_categories(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,x\ninf,\n,y\n", encoding="utf-8")
    _, drawn = profile_and_sample(open_records(path), TrainConfig(), np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.numbers("a", "numeric"), [1.0, np.nan, np.nan])
    categories, observed = drawn.categories("b")
    assert categories.tolist() == ["x", "", "y"]
    assert observed.tolist() == [True, False, True]
    with pytest.raises(DataError, match=r"a\.csv, row 1, column b: expected a number, got text"):
        drawn.numbers("b", "numeric")
    with pytest.raises(DataError, match=r"row 1, column b: .* this column also reads numbers with the unit kg"):
        drawn.numbers("b", "numeric", Reading(unit="kg"))


def test_lines_without_any_value_are_no_records_and_locations_count_them(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n,\n1,x\n,\n,\n2,\n,\n", encoding="utf-8")
    profile, drawn = profile_and_sample(open_records(path), TrainConfig(), np.random.default_rng(0))
    assert (profile.records, profile.blank_lines, profile.columns[1].nulls) == (2, 4, 1)
    assert [drawn.location(at).row for at in range(len(drawn))] == [2, 5]


def test_a_file_that_cannot_be_read_is_bad_data(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,x\n2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv, row 2: expected 2 values"):
        profile_and_sample(open_records(path), TrainConfig(), np.random.default_rng(0))

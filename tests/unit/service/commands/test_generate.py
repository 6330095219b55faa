"""`vaegis generate`."""

from __future__ import annotations

import json
import sys

import pytest

from vaegis.service.artifact import load_artifact
from vaegis.service.generation import Generator

pa = pytest.importorskip("pyarrow")
import pyarrow.csv as pa_csv  # noqa: E402 - only where pyarrow is installed
import pyarrow.parquet as pa_parquet  # noqa: E402 - the same


@pytest.fixture
def records(golden_model) -> list[dict[str, object]]:
    return Generator(load_artifact(golden_model).contract).draw(40, 7)


def test_ndjson_holds_the_records_of_the_seed(vaegis, golden_model, records, tmp_path):
    path = tmp_path / "synthetic.ndjson"
    ended = vaegis("generate", golden_model, "--count", 40, "--seed", 7, "-o", path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == records
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"40 records of seed 7, written to {path}\n"


def test_a_dash_writes_to_standard_output(vaegis, golden_model, records):
    ended = vaegis("generate", golden_model, "--count", 40, "--seed", 7, "-o", "-")
    assert [json.loads(line) for line in ended.out.splitlines()] == records


def test_parquet_has_the_types_of_the_columns(vaegis, golden_model, records, tmp_path):
    path = tmp_path / "synthetic.parquet"
    vaegis("generate", golden_model, "--count", 40, "--seed", 7, "-o", path)
    table = pa_parquet.read_table(path)
    instants = {"timestamp": pa.timestamp("us", "UTC"), "boolean": pa.bool_(), "categorical": pa.string()}
    for column in load_artifact(golden_model).contract.columns.columns:
        given = table.schema.field(column.name).type
        assert given == instants.get(column.kind, given)
        values = [v.isoformat() if column.kind == "timestamp" and v else v for v in table[column.name].to_pylist()]
        assert values == [record[column.name] for record in records]


@pytest.mark.parametrize("extension", ["csv", "arrow"])
def test_other_formats_hold_as_many_records(vaegis, golden_model, tmp_path, extension):
    path = tmp_path / f"synthetic.{extension}"
    assert vaegis("generate", golden_model, "--count", 40, "--seed", 7, "-o", path).code == 0
    table = pa_csv.read_csv(path) if extension == "csv" else pa.ipc.open_file(path).read_all()
    assert table.num_rows == 40
    assert tuple(table.column_names) == load_artifact(golden_model).contract.columns.names


def test_no_records_make_an_empty_table(vaegis, golden_model, tmp_path):
    path = tmp_path / "synthetic.parquet"
    assert vaegis("generate", golden_model, "--count", 0, "-o", path).code == 0
    assert pa_parquet.read_table(path).num_rows == 0


def test_a_path_cannot_steer_the_terminal(vaegis, golden_model, tmp_path):
    ended = vaegis("generate", golden_model, "--count", 1, "-o", tmp_path / "a\x1b[2J.ndjson")
    assert ended.err.endswith(f"written to {tmp_path}/a\\x1b[2J.ndjson\n")


def test_a_drawn_seed_is_reported_and_repeats_the_records(vaegis, golden_model):
    first = vaegis("generate", golden_model, "--count", 5, "-o", "-")
    seed = first.err.split("seed ")[1].split(",")[0]
    assert vaegis("generate", golden_model, "--count", 5, "--seed", seed, "-o", "-").out == first.out


@pytest.mark.parametrize("count", ["-1", "1.5", "many", "²"])
def test_a_count_that_is_no_number_is_a_usage_error(vaegis, golden_model, count):
    ended = vaegis("generate", golden_model, f"--count={count}", "-o", "-")
    assert ended.code == 2
    assert "expected a whole number of at least 0" in ended.err


def test_without_pyarrow_only_ndjson_is_written(vaegis, golden_model, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "vaegis.service.files.tables", raising=False)
    monkeypatch.delitem(sys.modules, "vaegis.service.files.tables", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    ended = vaegis("generate", golden_model, "--count", 5, "-o", tmp_path / "synthetic.parquet")
    assert ended.code == 1
    assert "pip install 'vaegis[files]'" in ended.err
    assert list(tmp_path.iterdir()) == []
    assert vaegis("generate", golden_model, "--count", 5, "-o", tmp_path / "synthetic.ndjson").code == 0

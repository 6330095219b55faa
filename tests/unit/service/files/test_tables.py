"""Record batches of many types, written and made to fit one schema."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vaegis.service.errors import FileError
from vaegis.service.files.formats import FileFormat

pa = pytest.importorskip("pyarrow")
import pyarrow.csv as pa_csv  # noqa: E402 - only where pyarrow is installed
import pyarrow.parquet as pa_parquet  # noqa: E402 - the same

from vaegis.service.files.tables import common_schema, fitted, table_writer  # noqa: E402 - the same

PATH = Path("records.ndjson")


def written(batch: pa.RecordBatch, output_format: FileFormat) -> io.BytesIO:
    stream = io.BytesIO()
    with table_writer(stream, output_format, batch.schema) as write:
        write(batch)
        write(batch)
    return io.BytesIO(stream.getvalue())


@pytest.fixture
def batch() -> pa.RecordBatch:
    noon = datetime(2023, 11, 20, 12, tzinfo=UTC)
    return pa.RecordBatch.from_pydict(
        {
            "text": ["a,b", None],
            "number": [0.1, None],
            "at": pa.array([noon, None], pa.timestamp("ns", "UTC")),
            "tags": [["x", "y"], None],
        }
    )


def test_parquet_keeps_every_type(batch):
    assert pa_parquet.read_table(written(batch, FileFormat.PARQUET)).to_batches()[0].slice(0, 2) == batch


def test_arrow_keeps_every_type(batch):
    assert pa.ipc.open_file(written(batch, FileFormat.ARROW)).get_batch(1) == batch


def test_csv_holds_lists_as_json_text(batch):
    table = pa_csv.read_csv(written(batch, FileFormat.CSV))
    assert table["text"].to_pylist() == ["a,b", "", "a,b", ""]
    assert table["number"].to_pylist() == [0.1, None, 0.1, None]
    assert json.loads(table["tags"][0].as_py()) == ["x", "y"]


def test_ndjson_holds_instants_as_text_and_lists_as_lists(batch):
    first, second, *_ = written(batch, FileFormat.NDJSON).read().decode().splitlines()
    assert json.loads(second) == {"text": None, "number": None, "at": None, "tags": None}
    record = json.loads(first)
    assert record["tags"] == ["x", "y"]
    assert datetime.fromisoformat(record["at"]) == datetime(2023, 11, 20, 12, tzinfo=UTC)


def test_a_nanosecond_does_not_stop_ndjson():
    instant = pa.array([1], pa.timestamp("ns", "UTC"))
    line = written(pa.RecordBatch.from_arrays([instant], names=["at"]), FileFormat.NDJSON).readline()
    assert json.loads(line) == {"at": "1970-01-01T00:00:00.000000001Z"}


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (pa.int64(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.null(), pa.bool_(), pa.bool_()),
        (pa.int64(), pa.string(), pa.string()),
        (pa.bool_(), pa.float64(), pa.string()),
        (pa.list_(pa.int64()), pa.string(), pa.string()),
    ],
)
def test_a_common_type_holds_both(one, other, common):
    assert common_schema([pa.schema([("a", one)]), pa.schema([("a", other)])]) == pa.schema([("a", common)])


def test_a_common_schema_has_the_columns_of_all():
    schemas = [pa.schema([("a", pa.int64())]), pa.schema([("b", pa.string()), ("a", pa.float64())])]
    assert common_schema(schemas) == pa.schema([("a", pa.float64()), ("b", pa.string())])


def test_a_batch_is_fitted_with_nulls_and_wider_types():
    schema = pa.schema([("a", pa.float64()), ("b", pa.string()), ("c", pa.string()), ("d", pa.string())])
    batch = pa.RecordBatch.from_pydict({"b": [1, 2], "a": [3, 4], "d": [["x"], None]})
    assert fitted(batch, schema, PATH).to_pylist() == [
        {"a": 3.0, "b": "1", "c": None, "d": '["x"]'},
        {"a": 4.0, "b": "2", "c": None, "d": None},
    ]


def test_a_batch_that_cannot_be_fitted_is_reported_by_its_column():
    batch = pa.RecordBatch.from_pydict({"a": ["many"]})
    with pytest.raises(FileError, match=r"records\.ndjson, column a: expected the type int64 as .* before, got string"):
        fitted(batch, pa.schema([("a", pa.int64())]), PATH)

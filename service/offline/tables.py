"""Arrow record batches written as CSV, Parquet, Arrow IPC or NDJSON, and made to fit one schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.ipc
import pyarrow.parquet as pa_parquet

from vaegis.service.errors import FileError
from vaegis.service.offline.json_lines import write_lines
from vaegis.service.offline.output import OutputFormat
from vaegis.service.records.names import shown

Write: TypeAlias = Callable[[pa.RecordBatch], None]


@contextmanager
def table_writer(stream: BinaryIO, output_format: OutputFormat, schema: pa.Schema) -> Iterator[Write]:
    """Yield a function that writes record batches of ``schema``; leaving the block completes the table.

    CSV holds lists and objects as JSON text. NDJSON holds instants as ISO 8601.
    """
    match output_format:
        case OutputFormat.PARQUET:
            with pa_parquet.ParquetWriter(stream, schema) as parquet:
                yield parquet.write_batch
        case OutputFormat.ARROW:
            with pa.ipc.new_file(stream, schema) as arrow:
                yield arrow.write_batch
        case OutputFormat.CSV:
            plain = pa.schema([(field.name, pa.string() if _nests(field.type) else field.type) for field in schema])
            with pa_csv.CSVWriter(stream, plain) as csv:
                yield lambda batch: csv.write_batch(_converted(batch, _nests, _json_texts))
        case OutputFormat.NDJSON:
            yield lambda batch: write_lines(stream, json_records(batch))


def json_records(batch: pa.RecordBatch) -> list[dict[str, object]]:
    """Return the records of a batch with values that JSON can hold or `json_lines` can turn into text."""
    if not batch.num_columns:
        return [{} for _ in range(batch.num_rows)]
    records: list[dict[str, object]] = _converted(batch, pa.types.is_temporal, _iso_texts).to_pylist()
    return records


def common_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return a schema that holds the columns of all: of the wider type where two differ, text where none is wider."""
    types: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            before = types.get(field.name, field.type)
            types[field.name] = before if before == field.type else _wider(before, field.type)
    return pa.schema(list(types.items()))


def fitted(batch: pa.RecordBatch, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    """Return a batch with exactly the columns of ``schema``, null where it has none of the name.

    Raises:
        FileError: a column is of another type, and its values do not fit that of the schema.
    """
    if batch.schema.equals(schema):
        return batch
    arrays = []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        array = pa.nulls(batch.num_rows, field.type) if at < 0 else batch.column(at)
        try:
            arrays.append(_cast(array, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            detail = f"expected the type {field.type} as in the records before, got {array.type}"
            raise FileError(path, detail, column=shown(field.name)) from None
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    pair = [pa.schema([("column", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    return _json_texts(array) if kind == pa.string() and _nests(array.type) else array.cast(kind)


def _converted(
    batch: pa.RecordBatch, which: Callable[[pa.DataType], bool], convert: Callable[[pa.Array], pa.Array]
) -> pa.RecordBatch:
    arrays = [convert(array) if which(array.type) else array for array in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _nests(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _json_texts(array: pa.Array) -> pa.Array:
    texts = [None if v is None else json.dumps(v, default=str, ensure_ascii=False) for v in array.to_pylist()]
    return pa.array(texts, pa.string())


def _iso_texts(array: pa.Array) -> pa.Array:
    """Return instants and dates as text; Arrow's own conversion to Python refuses nanoseconds."""
    return pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)

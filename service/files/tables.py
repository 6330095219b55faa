"""Write Arrow record batches and generated records as CSV, Parquet, Arrow IPC or NDJSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.ipc
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from vaegis.service.contract import Column, Schema
from vaegis.service.errors import FileError
from vaegis.service.files.byte_columns import is_binary
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.output import write_lines
from vaegis.service.generation import Drawn
from vaegis.service.records.column_names import shown
from vaegis.service.records.kinds import kind_of

Write: TypeAlias = Callable[[pa.RecordBatch], None]

_MICROSECONDS = 1e6


@contextmanager
def table_writer(stream: BinaryIO, output_format: FileFormat, schema: pa.Schema) -> Iterator[Write]:
    """Yield a function that writes record batches of ``schema``; leaving the block completes the table.

    CSV holds lists and objects as JSON text, and bytes as base64. NDJSON holds instants as ISO 8601.
    """
    match output_format:
        case FileFormat.PARQUET:
            with pa_parquet.ParquetWriter(stream, schema) as parquet:
                yield parquet.write_batch
        case FileFormat.ARROW:
            with pa.ipc.new_file(stream, schema) as arrow:
                yield arrow.write_batch
        case FileFormat.CSV:
            plain = pa.schema([(field.name, field.type if _fits_csv(field.type) else pa.string()) for field in schema])
            with pa_csv.CSVWriter(stream, plain) as csv:
                yield lambda batch: csv.write_batch(
                    _converted(_converted(batch, _nests, _json_texts), is_binary, _base64_texts)
                )
        case FileFormat.NDJSON:
            yield lambda batch: write_lines(stream, json_records(batch))


def json_records(batch: pa.RecordBatch) -> list[dict[str, object]]:
    """Return the records of a batch with values that JSON can hold or `write_lines` can turn into text."""
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
    """Return a batch with exactly the columns of ``schema``; missing columns are null.

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


@contextmanager
def drawn_writer(stream: BinaryIO, output_format: FileFormat, schema: Schema) -> Iterator[Callable[[Drawn], None]]:
    """Yield a function that writes generated records; leaving the block completes the table."""
    types = [_drawn_type(column) for column in schema.columns]
    table = pa.schema(list(zip(schema.names, types, strict=True)))

    def batch(drawn: Drawn) -> pa.RecordBatch:
        arrays = [
            pa.array(_drawn_values(values, kind), kind, mask=drawn.missing[:, i])
            for i, (values, kind) in enumerate(zip(drawn.values, types, strict=True))
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=table)

    with table_writer(stream, output_format, table) as write:
        yield lambda drawn: write(batch(drawn))


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if is_binary(one) is not is_binary(other) and not (pa.types.is_null(one) or pa.types.is_null(other)):
        return pa.string()
    pair = [pa.schema([("column", kind)]) for kind in (one, other)]
    try:
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type == kind:
        return array
    if kind == pa.string() and _nests(array.type):
        return _json_texts(array)
    return _base64_texts(array) if kind == pa.string() and is_binary(array.type) else array.cast(kind)


def _converted(
    batch: pa.RecordBatch, which: Callable[[pa.DataType], bool], convert: Callable[[pa.Array], pa.Array]
) -> pa.RecordBatch:
    arrays = [convert(array) if which(array.type) else array for array in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _nests(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind))


def _fits_csv(kind: pa.DataType) -> bool:
    return not (_nests(kind) or is_binary(kind))


def _base64_texts(array: pa.Array) -> pa.Array:
    return pa.array([None if v is None else base64.b64encode(v).decode() for v in array.to_pylist()], pa.string())


def _json_texts(array: pa.Array) -> pa.Array:
    texts = [None if v is None else json.dumps(v, default=str, ensure_ascii=False) for v in array.to_pylist()]
    return pa.array(texts, pa.string())


def _iso_texts(array: pa.Array) -> pa.Array:
    """Return instants and dates as text; Arrow's own conversion to Python refuses nanoseconds."""
    return pc.replace_substring(array.cast(pa.string()), " ", "T", max_replacements=1)


def _drawn_type(column: Column) -> pa.DataType:
    drawn = kind_of(column).drawn_type(column)
    if drawn.kind == "O":
        return pa.string()
    return pa.timestamp("us", "UTC") if drawn.kind == "M" else pa.from_numpy_dtype(drawn)


def _drawn_values(values: NDArray[np.generic], kind: pa.DataType) -> NDArray[np.generic]:
    if pa.types.is_timestamp(kind):
        return np.rint(values.astype(np.float64) * _MICROSECONDS).astype("datetime64[us]")
    return values.astype(np.int64) if kind == pa.int64() else values

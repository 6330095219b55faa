"""Read Arrow data in memory (tables, frames and streams of any library) as batches of records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from vaegis.service.contract import Schema
from vaegis.service.errors import Fault, FileError, RecordError
from vaegis.service.files.arrow_columns import columns_of_batch, name_fault
from vaegis.service.files.batches import FileBatch, Refusal, batch_rows
from vaegis.service.files.byte_columns import ByteColumns
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.record_files import MAX_DEPTH, flat_batch
from vaegis.service.files.verdict_table import verdict_arrays, verdict_types
from vaegis.service.model import JudgeRules, Model
from vaegis.service.records.blocks import Block, block_of
from vaegis.service.records.column_names import UnknownColumns, setting_of, shown
from vaegis.service.records.faults import MAX_FAULTS, Faults, OnInvalid, in_request
from vaegis.service.records.python_records import is_pandas_frame, plain_record, with_index
from vaegis.service.records.values import RefusedValueError

_SOURCE: Final = Path("data")
"""Stands in messages where the name of a file would."""


def batches_of(data: object) -> Iterator[pa.RecordBatch]:
    """Yield the batches of an object that has Arrow's PyCapsule interface.

    Raises:
        TypeError: It holds one column, as a series does, rather than a table.
    """
    try:
        if hasattr(data, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(data)
        else:
            reader = pa.Table.from_batches([pa.record_batch(data)]).to_reader()
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TypeError(f"data: expected a table or a frame, got {type(data).__name__}") from error
    return _bounded(reader)


def batches_of_frame(frame: Any) -> Iterator[pa.RecordBatch] | None:  # noqa: ANN401 - a pandas frame
    """Return the batches of a pandas frame; None where Arrow has no type for the values of one of its columns."""
    if any(str(dtype).startswith("period[") for dtype in frame.dtypes):
        return None  # which Arrow takes for whole numbers
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None
    return _bounded(table.to_reader())


def blocks_of_batches(
    batches: Iterable[pa.RecordBatch], schema: Schema, unknown_columns: UnknownColumns
) -> Iterator[Block]:
    """Yield the records of batches in blocks, by the rules that files of Arrow have.

    Raises:
        RecordError: The columns do not fit the model's.
    """
    first_row = 0
    for batch in batches:
        yield block_of_batch(batch, schema, unknown_columns, first_row=first_row)
        first_row += batch.num_rows


def block_of_batch(
    batch: pa.RecordBatch, schema: Schema, unknown_columns: UnknownColumns, *, first_row: int, location: str = ""
) -> Block:
    """Return the records of a batch as a block.

    Args:
        batch: The records.
        schema: The columns to fill.
        unknown_columns: Whether columns that are not in the schema are refused.
        first_row: Row of the first record, from 0.
        location: How messages name the batch among others; empty where they count its records with those of all.

    Raises:
        RecordError: The columns do not fit the model's.
    """
    prefix = location and f"{location}."
    refused: dict[int, Refusal] = {}
    try:
        flat = flat_batch(
            batch, Path(location) if location else _SOURCE, first_row + 1, MAX_DEPTH, refused, ByteColumns()
        )
    except FileError as error:
        raise RecordError((Fault(None, error.column, "invalid_arrow", str(error)),)) from None
    if wrong := name_fault(flat.schema.names, schema, unknown_columns):
        column, code, detail = wrong
        place = "header" if column is None else f"header.{column}"
        raise RecordError((Fault(None, column, code, f"{prefix}{place}: {detail}"),))
    faults = Faults(MAX_FAULTS, first_row, lambda row, column: prefix + in_request(row, column))
    for row, refusal in refused.items():
        faults.add_fault(row, None, refusal.code, refusal.detail)
    return block_of(columns_of_batch(flat, schema, faults), faults, first_row)


def scored_batches(
    model: Model,
    batches: Iterable[pa.RecordBatch],
    rules: JudgeRules,
    unknown_columns: UnknownColumns,
    verdict_column: str,
) -> Iterator[pa.RecordBatch]:
    """Yield one batch for each batch, as `Model.score_batches` says."""
    fields = [pa.field(name, kind) for name, kind in verdict_types(with_errors=rules["reports"]).items()]
    for number, batch in enumerate(batches):
        location = f"batches[{number}]"
        if not isinstance(batch, pa.RecordBatch):
            raise TypeError(f"{location}: expected a pyarrow.RecordBatch, got {type(batch).__name__}")
        if verdict_column in batch.schema.names:
            taken = f"{location}: expected no column of the name {verdict_column!r}, which the verdicts get, got one"
            raise ValueError(f"{taken}; choose another with verdict_column")
        schema = model.artifact.contract.columns.of_records
        block = block_of_batch(batch, schema, unknown_columns, first_row=0, location=location)
        blocks = [block] if block.records else []
        result = model.judge_blocks(blocks, **rules)
        verdicts = pa.StructArray.from_arrays(verdict_arrays(result.fields(), result.refused()), fields=fields)
        yield batch.append_column(verdict_column, verdicts)


@dataclass(frozen=True, slots=True)
class RecordsInMemory:
    """Records in memory, read as files are.

    Attributes:
        data: A list of dicts, an Arrow table or stream, or a pandas frame.
        max_depth: Levels of objects within a record that are flattened.
        paths: What stands for them where files would.
        format: The format whose rules they are read by.
        size_bytes: 0: unknown.
        ignored: Columns whose values nothing reads, so that they may be objects.
    """

    data: object
    max_depth: int
    paths: tuple[Path, ...] = (_SOURCE,)
    format: FileFormat = FileFormat.ARROW
    size_bytes: int = 0
    ignored: frozenset[str] = frozenset()

    def batches(self, on_invalid: OnInvalid = OnInvalid.REJECT) -> Iterator[FileBatch]:
        """Yield all records.

        Raises:
            TypeError: The data are neither a list of dicts nor a table or frame.
            FileError: A column holds values of several types, or an object nests too deep.
        """
        row, byte_columns = 1, ByteColumns(self.ignored)
        for batch in self._batches():
            refused: dict[int, Refusal] = {}
            reported = refused if on_invalid is OnInvalid.REPORT else None
            flat = flat_batch(batch, _SOURCE, row, self.max_depth, reported, byte_columns)
            yield FileBatch(flat, _SOURCE, row, refused)
            row += batch.num_rows

    def _batches(self) -> Iterator[pa.RecordBatch]:
        data = self.data
        if is_pandas_frame(data):
            frame = with_index(data)
            batches = batches_of_frame(frame)
            if batches is not None:
                return batches
            data = frame.to_dict("records")
        if isinstance(data, Sequence) and not isinstance(data, str | bytes):
            return _bounded(_table_of_records(data, self.ignored).to_reader())
        if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
            return batches_of(data)
        raise TypeError(f"data: expected a path, a list of dicts, an Arrow table or a frame, got {type(data).__name__}")


def _bounded(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield batches in batches of bounded size; small ones together, because each is scored in a run of its own."""
    gathered: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        gathered.append(batch)
        rows += batch.num_rows
        most = batch_rows(batch.num_columns)
        if rows >= most:
            yield from _together(gathered, most)
            gathered, rows = [], 0
    if rows:
        yield from _together(gathered, most)


def _together(batches: list[pa.RecordBatch], most: int) -> Iterator[pa.RecordBatch]:
    table = pa.Table.from_batches(batches)
    yield from (table if len(batches) == 1 else table.combine_chunks()).to_batches(max_chunksize=most)


def _table_of_records(records: Sequence[object], ignored: Collection[str]) -> pa.Table:
    plain = [_plain_dict(at, record) for at, record in enumerate(records)]
    names = dict.fromkeys(name for record in plain for name in record)
    return pa.table({name: _array(name, [record.get(name) for record in plain], ignored) for name in names})


def _plain_dict(at: int, record: object) -> dict[str, object]:
    try:
        plain = plain_record(record)
    except RefusedValueError as refusal:
        raise FileError(_SOURCE, str(refusal), row=at + 1) from None
    if not isinstance(plain, dict):
        raise TypeError(f"data: expected a list of dicts, got {type(record).__name__} at {at}")
    return plain


def _array(name: str, values: list[object], ignored: Collection[str]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        if name in ignored:
            return pa.array([None if value is None else str(value) for value in values], pa.string())
        way = f'write them in one type, or leave the column out: in training by {setting_of(name, "kind")} = "ignore"'
        raise FileError(_SOURCE, f"expected values of one type, got several; {way}", column=shown(name)) from None

"""Convert Arrow arrays by column kind, and batches of them to the columns that a model scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import NO_CATEGORY, Column, Schema
from vaegis.service.errors import Fault, FileError, location_in_file
from vaegis.service.files.batches import FileBatch
from vaegis.service.files.byte_columns import is_binary
from vaegis.service.records import values as rules
from vaegis.service.records.arrow.types import ArrowKind, ArrowType
from vaegis.service.records.arrow.values import ArrowValues, broken_texts, cells_of
from vaegis.service.records.blocks import Block, block_of
from vaegis.service.records.cells import Cells, columns_of_cells, numbers_of_cells
from vaegis.service.records.column_kind import ColumnKind, NumberKind
from vaegis.service.records.column_names import (
    Parents,
    UnknownColumns,
    accepted_names,
    is_index_name,
    no_known_column,
    shown,
    unknown_column,
)
from vaegis.service.records.faults import MAX_FAULTS, Faults, Report
from vaegis.service.records.kinds import CATEGORICAL, kind_of
from vaegis.service.records.python_records import blank_record, filled_columns
from vaegis.service.records.reading import ColumnReader

Infinities: TypeAlias = Literal["refuse", "null"]
"""Whether an infinite value is refused, as in serving, or becomes a null, as in training."""

_UNITS_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_SECONDS_PER_DAY = 86_400.0
_TEXT = ArrowType("string", ArrowKind.TEXT)


class RefusedCellError(rules.RefusedValueError):
    """A value that its column's kind does not accept, at ``index`` of an array."""

    def __init__(self, index: int, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.index = index


def columns_from_batch(
    batch: pa.RecordBatch, schema: Schema, *, path: Path, first_row: int, infinities: Infinities = "refuse"
) -> Columns:
    """Return the records of a flat batch by column, as `block_past_faults` does if none has a fault.

    Args:
        batch: Flat records, n of them, as `files.RecordFiles.batches` gives them.
        schema: The columns to fill.
        path: The file, for messages.
        first_row: Row of the first record in its file, from 1.
        infinities: What becomes of infinite values.

    Raises:
        FileError: Naming file, row and column of the first value refused, or the unknown column.
    """
    block = block_past_faults(FileBatch(batch, path, first_row), schema, "reject", infinities)
    for first, *_ in block.faults.values():
        raise fault_of_file(path, first)
    return block.columns


def block_past_faults(
    part: FileBatch, schema: Schema, unknown_columns: UnknownColumns, infinities: Infinities = "refuse"
) -> Block:
    """Return the records of a batch, and what is wrong with those that do not fit the schema.

    Text parses by the column's kind, as in CSV; NaN is a null, as most writers of files mean it. A column that the
    batch lacks is null throughout.

    Args:
        part: The records.
        schema: The columns to fill.
        unknown_columns: Whether columns that are not in the schema are refused: of JSON objects for each record, else
            for all.
        infinities: What becomes of infinite values.

    Raises:
        FileError: All records are of the same columns, and these do not fit the schema.
    """
    collect = Faults if infinities == "refuse" else _FaultsButInfinities
    faults = collect(MAX_FAULTS, part.first_row, lambda row, column: location_in_file(part.path, row, column))
    for row, refusal in part.refused.items():
        faults.add_fault(row, None, refusal.code, refusal.detail)
    if part.parsed is None:
        check_names(part.batch.schema.names, schema, part.path, unknown_columns)
        columns = columns_of_batch(part.batch, schema, faults, infinities)
    else:
        blank = blank_record(schema)
        records = [blank if row in part.refused else record for row, record in enumerate(part.parsed)]
        columns = filled_columns(records, schema, faults, unknown_columns=unknown_columns)
    return block_of(columns, faults, part.first_row - 1)


def fault_of_file(path: Path, fault: Fault) -> FileError:
    """Return the error that ends the reading of a file at one of its faults."""
    detail = fault.message.removeprefix(f"{location_in_file(path, fault.row, fault.column)}: ")
    return FileError(path, detail, row=fault.row, column=fault.column)


def columns_of_batch(
    batch: pa.RecordBatch, schema: Schema, faults: Faults, infinities: Infinities = "refuse"
) -> Columns:
    """Return the records of a flat batch by column. Refused values are null and reported to ``faults``."""
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))

    def cells_of(column: Column, report: Report) -> Cells | None:
        array = arrays.get(column.name)
        return None if array is None else _cells(array, kind_of(column), report, infinities)

    return columns_of_cells(schema, cells_of, batch.num_rows, faults)


def numbers_of(
    array: pa.Array,
    kind: NumberKind[Any],
    reader: ColumnReader | None = None,
    *,
    infinities: Infinities = "refuse",
) -> NDArray[np.float64]:
    """Return an array's values as the number, truth value or instant that ``kind`` makes of them.

    Args:
        array: n values of any type.
        kind: The column's.
        reader: Reads them where they are written in a way of their own.
        infinities: What becomes of infinite values.

    Returns:
        Shape (n,); NaN where null.

    Raises:
        RefusedCellError: A value is not of the kind.
    """
    report = _refuse if infinities == "refuse" else _but_infinities(_refuse)
    return numbers_of_cells(_cells(array, kind, report, infinities), kind, reader, report)


def categories_of(array: pa.Array) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return an array's values as categories: text as it is, whole numbers in decimal, booleans as true and false.

    Args:
        array: n values of any type.

    Returns:
        The categories, `contract.NO_CATEGORY` where null, and which are not null; both of shape (n,).

    Raises:
        RefusedCellError: The values are of another type.
    """
    text = text_of(array)
    filled = text.fill_null(NO_CATEGORY).to_numpy(zero_copy_only=False)
    return filled.astype(object, copy=False), text.is_valid().to_numpy(zero_copy_only=False)


def text_of(array: pa.Array) -> pa.Array:
    """Return an array's values as the text of their categories, by the rule of `categories_of`; nulls stay null."""
    return pa.array(_cells(array, CATEGORICAL, _refuse), pa.string())


def check_names(names: Sequence[str], schema: Schema, path: Path, unknown_columns: UnknownColumns) -> None:
    """Pass if the names of a file's columns fit the model's.

    Raises:
        FileError: None is a column of the model, or one is unknown and these are refused.
    """
    if wrong := name_fault(names, schema, unknown_columns):
        column, _, detail = wrong
        raise FileError(path, detail, column=column)


def name_fault(
    names: Sequence[str], schema: Schema, unknown_columns: UnknownColumns
) -> tuple[str | None, str, str] | None:
    """Return the first name that does not fit the model's columns, the fault's code and what was expected; or None."""
    scored, accepted = schema.names, accepted_names(schema)
    parents = Parents(accepted)
    below_ignored = tuple(f"{column.name}." for column in schema.ignored)
    if set(names).isdisjoint(scored):
        return None, "no_known_column", no_known_column(names, scored)
    if unknown_columns == "ignore":
        return None
    for name in names:
        if name in accepted or is_index_name(name) or name.startswith(below_ignored):
            continue
        if name in parents:
            continue  # an object that is null in all records of this batch
        return shown(name), "unknown_column", unknown_column(name, scored)
    return None


class _FaultsButInfinities(Faults):
    """Collects all faults but infinite numbers."""

    def of_column(self, name: str, position: int) -> Report:
        return _but_infinities(super().of_column(name, position))


def _but_infinities(report: Report) -> Report:
    """Return ``report`` without the faults of infinite numbers, which then are only null."""
    return lambda row, code, detail: None if detail == rules.BEYOND_FLOAT64 else report(row, code, detail)


def _refuse(row: int, code: str, detail: str) -> NoReturn:
    raise RefusedCellError(row, code, detail)


def _cells(array: pa.Array, kind: ColumnKind[Any], report: Report, infinities: Infinities = "refuse") -> Cells:
    """Return an array's values as the cells of a column. Values of a wrong type are reported and null."""
    cells = cells_of(_values(array, kind), kind, report)
    if infinities == "null" and isinstance(cells, np.ndarray):
        return np.where(np.isinf(cells), np.nan, cells)
    return cells


def _values(array: pa.Array, kind: ColumnKind[Any]) -> ArrowValues:
    """Return an array as the decoder of Arrow streams has it. Of types that no column takes, the values are 0."""
    if is_binary(array.type):  # not UTF-8 throughout, else it would have come as text
        texts = ["" if value is None else value.decode(errors="surrogateescape") for value in array.to_pylist()]
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        return ArrowValues(_TEXT, np.array(texts, dtype=object), valid, broken=broken_texts(texts))
    of_type = _type_of(array.type)
    is_whole = of_type.kind in (ArrowKind.INTEGER, ArrowKind.BOOLEAN)
    if of_type.kind is ArrowKind.TEXT or (is_whole and not isinstance(kind, NumberKind)):
        # Arrow writes whole numbers and truth values as categories are written.
        return ArrowValues(_TEXT, array.cast(pa.string()).to_numpy(zero_copy_only=False), None)
    if of_type.kind is ArrowKind.INSTANT:
        values = _instants_of_type(array)
    elif of_type.kind is ArrowKind.OTHER:
        values = np.zeros(len(array))
    else:
        values = float64_of(array)
    return ArrowValues(of_type, values, array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None)


@lru_cache(maxsize=256)
def _type_of(of_type: pa.DataType) -> ArrowType:
    """Return a type as the decoder of Arrow streams has it."""
    types, kind = pa.types, ArrowKind.OTHER
    if _is_text(of_type):
        return _TEXT
    if types.is_boolean(of_type):
        kind = ArrowKind.BOOLEAN
    elif types.is_integer(of_type):
        kind = ArrowKind.INTEGER
    elif types.is_timestamp(of_type) or types.is_date(of_type) or types.is_time(of_type):
        kind = ArrowKind.INSTANT
    elif _is_number(of_type):
        kind = ArrowKind.DURATION if types.is_duration(of_type) else ArrowKind.FLOAT
    return ArrowType(str(of_type), kind)


def read_array(array: pa.Array, reader: ColumnReader) -> pa.Array:
    """Return values as the common rules read them: text, or numbers."""
    if _is_text(array.type):
        return _mapped(array.cast(pa.string()), reader.text)
    if not _is_number(array.type):
        return array
    found = float64_of(array)
    numbers = reader.numbers(found)
    if numbers is found:
        return array
    return pa.array(numbers, from_pandas=True) if isinstance(numbers, np.ndarray) else pa.array(numbers, pa.string())


def _mapped(texts: pa.Array, change: Callable[[str], str | None]) -> pa.Array:
    """Return text with each value changed; equal ones are changed once."""
    encoded = texts.dictionary_encode()
    changed = pa.array([change(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return changed.take(encoded.indices)


def _instants_of_type(array: pa.Array) -> NDArray[np.float64]:
    if pa.types.is_date32(array.type):
        return float64_of(array.cast(pa.int32())) * _SECONDS_PER_DAY
    if pa.types.is_time32(array.type):
        return float64_of(array.cast(pa.int32())) / _UNITS_PER_SECOND[array.type.unit]
    unit = "ms" if pa.types.is_date64(array.type) else array.type.unit
    return float64_of(array.cast(pa.int64())) / _UNITS_PER_SECOND[unit]


def float64_of(array: pa.Array) -> NDArray[np.float64]:
    """Return a copy of an array's values as float64, rounded where float64 is coarser; NaN where null.

    Durations are in seconds.
    """
    if pa.types.is_duration(array.type):
        return float64_of(array.cast(pa.int64())) / _UNITS_PER_SECOND[array.type.unit]
    cast = array.cast(pa.float64(), safe=False)
    return np.array(cast.to_numpy(zero_copy_only=False), dtype=np.float64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_duration(kind))

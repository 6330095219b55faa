"""Convert Arrow arrays by column kind, and batches of them to the columns that a model scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vaegis.service.columns import Categories, Columns, build_columns
from vaegis.service.contract import NO_CATEGORY, Column, Schema
from vaegis.service.errors import FileError
from vaegis.service.records import values as rules
from vaegis.service.records.cells import Cells, Instants, columns_of_cells
from vaegis.service.records.column_names import UnknownColumns, is_index_name, no_known_column, shown, unknown_column
from vaegis.service.records.faults import Faults, Report
from vaegis.service.records.kinds import NumberKind, kind_of, number_kind_of
from vaegis.service.records.reading import ColumnReader, reader_of

_UNITS_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_SECONDS_PER_DAY = 86_400.0
_MOST_EXACT = 2.0**53
_NULL_MARKERS = pa.array(sorted(rules.NULL_MARKERS), pa.string())

_Converted = TypeVar("_Converted")


class RefusedCellError(rules.RefusedValueError):
    """A value that its column's kind does not accept, at ``index`` of an array, in ``column`` if that is known."""

    def __init__(self, index: int, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.index = index
        self.column: str | None = None


def columns_from_batch(
    batch: pa.RecordBatch,
    schema: Schema,
    *,
    path: Path,
    first_row: int,
    unknown_columns: UnknownColumns = "reject",
    infinities: Literal["refuse", "null"] = "refuse",
) -> Columns:
    """Return the records of a batch from a file, by column.

    Text parses by the column's kind, as in CSV; NaN is a null, as most writers of files mean it. A column that the
    batch lacks is null throughout.

    Args:
        batch: Flat records, n of them, as `files.RecordFiles.batches` gives them.
        schema: The columns to fill.
        path: The file, for messages.
        first_row: Row of the first record in its file, from 1.
        unknown_columns: Whether a column that is not in the schema is refused.
        infinities: Whether an infinite value is refused or becomes a null, as in training.

    Raises:
        FileError: Naming file, row and column of the first value refused, or the unknown column.
    """
    check_names(batch.schema.names, schema, path, unknown_columns)
    try:
        return filled_from_batch(batch, schema, infinities=infinities)
    except RefusedCellError as refusal:
        row = first_row + refusal.index
        raise FileError(path, str(refusal), row=row, column=shown(refusal.column or "")) from None


def filled_from_batch(
    batch: pa.RecordBatch, schema: Schema, *, infinities: Literal["refuse", "null"] = "refuse"
) -> Columns:
    """Return the records of a batch as `columns_from_batch` does, whatever other columns there are.

    Raises:
        RefusedCellError: A value is not of its column's kind.
    """
    found = dict(zip(batch.schema.names, batch.columns, strict=True))

    def converted(column: Column, convert: Callable[[pa.Array], _Converted]) -> _Converted | None:
        try:
            return convert(found[column.name]) if column.name in found else None
        except RefusedCellError as refusal:
            reader, message = reader_of(column), str(refusal)
            explained = message if reader is None else reader.explained(refusal.code, message)
            named = RefusedCellError(refusal.index, refusal.code, explained)
            named.column = column.name
            raise named from None

    def numbers(_: int, column: Column) -> NDArray[np.float64] | None:
        kind, reader = number_kind_of(column), reader_of(column)
        return converted(column, lambda array: numbers_of(array, kind, reader, infinities=infinities))

    def categories(_: int, column: Column) -> Categories | None:
        return converted(column, lambda array: categories_of(array, reader_of(column)))

    return build_columns(schema, batch.num_rows, numbers, categories)


def columns_past_faults(batch: pa.RecordBatch, schema: Schema, faults: Faults) -> Columns:
    """Return the records of a flat batch by column. Refused values are null and reported to ``faults``."""
    try:
        return filled_from_batch(batch, schema)
    except RefusedCellError:  # looked at again, by the way that finds all of them
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        cells = {
            column.name: _cells_of_array(arrays[column.name], column, faults.of_column(column.name, position))
            for position, column in enumerate(schema.columns)
            if column.name in arrays
        }
        return columns_of_cells(schema, cells.get, batch.num_rows, faults)


def numbers_of(
    array: pa.Array,
    kind: NumberKind[Any],
    reader: ColumnReader | None = None,
    *,
    infinities: Literal["refuse", "null"] = "refuse",
) -> NDArray[np.float64]:
    """Return an array's values as the number, truth value or instant that ``kind`` makes of them.

    Args:
        array: n values of any type.
        kind: The column's.
        reader: Reads them where they are written in a way of their own.
        infinities: Whether an infinite value is refused or becomes a null.

    Returns:
        Shape (n,); NaN where null.

    Raises:
        RefusedCellError: A value is not of the kind.
    """
    if array.null_count == len(array):
        return np.full(len(array), np.nan)
    if reader is not None:
        array = read_array(array, reader)
        if array.null_count == len(array):
            return np.full(len(array), np.nan)
    is_seconds = False
    if _is_text(array.type):
        numbers, is_seconds = _numbers_of_text(array.cast(pa.string()), kind)
    elif kind.takes_instants and _is_instant(array.type):
        numbers, is_seconds = _instants_of_type(array), True
    elif _holds_numbers(array.type, kind):
        numbers = float64_of(array)
    else:
        raise _refused_type(array, kind.expected)
    if infinities == "null":
        numbers[np.isinf(numbers)] = np.nan
    checked = _checked(numbers, kind, is_seconds=is_seconds)
    return reader.without_null_instants(checked) if reader is not None and kind.takes_instants else checked


def categories_of(array: pa.Array, reader: ColumnReader | None = None) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return an array's values as categories: text as it is, whole numbers in decimal, booleans as true and false.

    Args:
        array: n values of any type.
        reader: Tells which texts are nulls where the column has its own.

    Returns:
        The categories, `contract.NO_CATEGORY` where null, and which are not null; both of shape (n,).

    Raises:
        RefusedCellError: The values are of another type.
    """
    text = text_of(array)
    if reader is not None:
        text = _mapped(text, reader.category)
    filled = text.fill_null(NO_CATEGORY).to_numpy(zero_copy_only=False)
    return filled.astype(object, copy=False), text.is_valid().to_numpy(zero_copy_only=False)


def text_of(array: pa.Array) -> pa.Array:
    """Return an array's values as the text of their categories, by the rule of `categories_of`; nulls stay null."""
    if array.null_count == len(array):
        return pa.nulls(len(array), pa.string())
    if pa.types.is_floating(array.type) and (whole := _whole_numbers(array)) is not None:
        return whole.cast(pa.string())
    if not (_is_text(array.type) or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type)):
        raise _refused_type(array, rules.CATEGORY)
    return array.cast(pa.string())


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
    scored = schema.names
    known = {*scored, *(column.name for column in schema.ignored)}
    below_ignored = tuple(f"{column.name}." for column in schema.ignored)
    if set(names).isdisjoint(scored):
        return None, "no_known_column", no_known_column(names, scored)
    if unknown_columns == "ignore":
        return None
    for name in names:
        if name in known or is_index_name(name) or name.startswith(below_ignored):
            continue
        if any(other.startswith(f"{name}.") for other in known):
            continue  # Or an object that is null in all records of this batch.
        return shown(name), "unknown_column", unknown_column(name, scored)
    return None


def _cells_of_array(array: pa.Array, column: Column, report: Report) -> Cells:
    """Return an array's values as the cells of a column. Values of a wrong type are reported and null."""
    kind = kind_of(column)
    if array.null_count == len(array):
        return [None] * len(array)
    if _is_text(array.type):
        return list(array.cast(pa.string()).to_pylist())
    if not isinstance(kind, NumberKind):
        is_whole = pa.types.is_floating(array.type) and _whole_numbers(array) is not None
        if is_whole or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type):
            return list(text_of(array).to_pylist())
    elif kind.takes_instants and _is_instant(array.type):
        return Instants(_instants_of_type(array))
    elif _holds_numbers(array.type, kind):
        return float64_of(array)
    detail = f"expected {kind.expected}, got the type {array.type}"
    for row in np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False)).tolist():
        report(row, "wrong_type", detail)
    return [None] * len(array)


def _numbers_of_text(array: pa.Array, kind: NumberKind[Any]) -> tuple[NDArray[np.float64], bool]:
    """Return what text holds, parsed at once where all of it follows one pattern, and whether that is in seconds."""
    trimmed = pc.utf8_trim_whitespace(array)
    lowered = pc.utf8_lower(trimmed)
    trimmed = pc.if_else(pc.is_in(lowered, _NULL_MARKERS), pa.scalar(None, pa.string()), trimmed)
    if kind.takes_truths:
        for words, number in ((rules.TRUE_WORDS, "1"), (rules.FALSE_WORDS, "0")):
            trimmed = pc.if_else(pc.is_in(lowered, pa.array(sorted(words))), number, trimmed)
    try:
        return float64_of(trimmed), False
    except pa.ArrowInvalid:
        pass
    for zone in ("UTC", None) if kind.takes_instants else ():  # text with a zone in every value, then with none
        try:
            return _instants_of_type(trimmed.cast(pa.timestamp("us", zone))), True
        except pa.ArrowInvalid:
            continue
    return _value_by_value(trimmed, kind), kind.takes_instants


def _value_by_value(array: pa.Array, kind: NumberKind[Any]) -> NDArray[np.float64]:
    """Return what each text holds; equal ones are parsed once."""
    encoded = array.dictionary_encode()
    converted = np.full(len(encoded.dictionary) + 1, np.nan)
    for code, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            converted[code] = kind.parse_text(text)
        except rules.RefusedValueError as refusal:
            index = pc.index(encoded.indices, value=code).as_py()
            raise RefusedCellError(index, refusal.code, str(refusal)) from None
    codes: NDArray[np.int64] = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
    return np.asarray(converted[codes], dtype=np.float64)


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


def _whole_numbers(array: pa.Array) -> pa.Array | None:
    """Return floats as integers; None if one is no whole number. NaN is a null."""
    numbers = float64_of(array)
    present = ~np.isnan(numbers)
    if (np.abs(numbers[present]) > _MOST_EXACT).any() or (numbers[present] != np.floor(numbers[present])).any():
        return None
    return pa.array(np.where(present, numbers, 0.0).astype(np.int64), mask=~present)


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


def _checked(numbers: NDArray[np.float64], kind: NumberKind[Any], *, is_seconds: bool) -> NDArray[np.float64]:
    """Return the values that numbers stand for; raise `RefusedCellError` at the first that the kind does not hold."""
    infinite = np.flatnonzero(np.isinf(numbers))
    if infinite.size:
        raise RefusedCellError(int(infinite[0]), "too_large", "expected a number within float64, got an infinite one")
    converted, wrong = (numbers, ~rules.in_calendar(numbers)) if is_seconds else kind.of_numbers(numbers)
    if wrong.any():
        first = int(np.argmax(wrong))
        if is_seconds:
            raise RefusedCellError(first, "invalid_timestamp", rules.OUTSIDE_CALENDAR)
        try:
            kind.parse(float(numbers[first]))
        except rules.RefusedValueError as refusal:
            raise RefusedCellError(first, refusal.code, str(refusal)) from None
    return converted


def _is_instant(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _holds_numbers(of_type: pa.DataType, kind: NumberKind[Any]) -> bool:
    """Tell whether values of a type are numbers of a kind; a duration is no instant."""
    if pa.types.is_boolean(of_type):
        return kind.takes_truths
    return _is_number(of_type) and not (kind.takes_instants and pa.types.is_duration(of_type))


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_duration(kind))


def _refused_type(array: pa.Array, expected: str) -> RefusedCellError:
    index = pc.index(array.is_valid(), value=True).as_py()
    return RefusedCellError(index, "wrong_type", f"expected {expected}, got the type {array.type}")

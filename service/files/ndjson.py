"""Read NDJSON files: plain blocks of lines all at once, others line by line by the parser of the service."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.files.batches import (
    MAX_BATCH_ROWS,
    MAX_COLUMNS,
    FileBatch,
    Refusal,
    batch_rows,
    blocks_of_lines,
)
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.column_names import Parents, setting_of, shown
from vaegis.service.records.json import parse_json, refused_constant
from vaegis.service.records.json_fast import has_keys
from vaegis.service.records.line_decoder import parts_of_lines
from vaegis.service.records.ndjson import line_fault
from vaegis.service.records.unwrapping import Unwrapper
from vaegis.service.records.values import described_record

BLOCK_BYTES = 4 << 20
_MOST_NAME_CHARACTERS = 1000
"""Longest name of an object that has columns in it, with those of the objects around it."""
_SPACE = b" \t\r"

_OBJECTS = msgspec.json.Decoder(dict[str, Any])

_Objects: TypeAlias = Sequence[dict[str, Any]]
_Columns: TypeAlias = dict[str, list[Any]]
_Batch: TypeAlias = tuple[Sequence[object], _Columns, Mapping[int, Refusal]]
"""Records as JSON has them, their columns, and why some are refused, by position."""


class _OutOfTheOrdinaryError(Exception):
    """Objects that are left to the service's parser."""


class _LongNameError(Exception):
    """An object whose name would be the beginning of the names of all columns in it, and is too long for that."""


class _TooManyCellsError(Exception):
    """Objects of too many different names for one batch."""


def read_ndjson(
    stream: BinaryIO,
    path: Path,
    max_depth: int,
    *,
    reports: bool,
    ignored: Collection[str] = (),
    unwrapper: Unwrapper | None = None,
) -> Iterator[FileBatch]:
    """Yield the records of an NDJSON stream, one a line; blank lines are skipped.

    In the batches objects are flat, and a column whose values have several types is text: texts as they are, other
    values as JSON writes them.

    Args:
        stream: The file.
        path: Its path, for messages.
        max_depth: Most levels of objects and lists.
        reports: Whether faulty lines are reported. Otherwise the first one ends the reading; the literals NaN and
            Infinity, which Python's own encoder writes, are then a null and a number.
        ignored: Columns that may hold values of any type.
        unwrapper: Takes the records out of their envelopes; None if they come without.

    Raises:
        FileError: A line is far too long, or has far too many columns or an object with a far too long name; or, unless
            faults are reported, is not a JSON object, nests too deep, or holds an object or a list where others hold
            none.
    """
    row = 1
    for block in blocks_of_lines(stream, path, BLOCK_BYTES):
        lines = block if unwrapper is None else unwrapper.lines(block)
        for text in parts_of_lines(lines, MAX_BATCH_ROWS):
            for parsed, columns, refused in _batches(text, max_depth, ignored, (path, row), reports=reports):
                if refused and not reports:
                    first = min(refused)
                    detail = refused[first].detail
                    if unwrapper is not None and refused[first].code == "not_an_object":
                        detail = f"{detail} at {unwrapper.pointer}, where unwrap points"
                    raise FileError(path, detail, row=row + first)
                batch = _batch(columns, len(parsed), ignored, None if reports else (path, row))
                yield FileBatch(batch, path, row, refused, parsed)
                row += len(parsed)


def _batches(
    text: bytes, max_depth: int, ignored: Collection[str], place: tuple[Path, int], *, reports: bool
) -> Iterator[_Batch]:
    """Yield the records of lines in batches of bounded size; `place` is the file and the row of the first record."""
    lines = [line for line in text.split(b"\n") if line.strip(_SPACE)]
    try:
        objects, columns = _plain_batch(text, len(lines), max_depth, ignored)
    except _OutOfTheOrdinaryError:
        yield from _batches_by_line(lines, max_depth, ignored, place, reports=reports)
        return
    if columns is not None:
        if objects:
            yield objects, columns, {}
        return
    most = batch_rows(_number_of_names(objects))
    del objects, lines  # smaller parts of the text are read anew
    path, row = place
    for part in parts_of_lines(text, most):
        for batch in _batches(part, max_depth, ignored, (path, row), reports=reports):
            yield batch
            row += len(batch[0])


def _plain_batch(text: bytes, lines: int, max_depth: int, ignored: Collection[str]) -> tuple[_Objects, _Columns | None]:
    """Return the records of a number of lines and their columns; None if these would be too large for one batch.

    Raises:
        _OutOfTheOrdinaryError: A line has to be read by the other parser.
    """
    columns: _Columns = {}
    try:
        objects = _OBJECTS.decode_lines(text)
        keys = _flatten("", objects, columns, set(), ignored, max_depth)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _OutOfTheOrdinaryError from None
    except _TooManyCellsError:
        return objects, None
    # msgspec accepts a record that continues on the next line, and keeps the last of two equal keys.
    if len(objects) != lines or len(columns) > MAX_COLUMNS or not has_keys(text, keys):
        raise _OutOfTheOrdinaryError
    return objects, columns


def _number_of_names(objects: Iterable[Mapping[str, Any]]) -> int:
    """Return how many different names objects have, those of objects within them among these."""
    names: set[str] = set()
    inner: dict[str, list[dict[str, Any]]] = {}
    for each in objects:
        names.update(each)
        for key, value in each.items():
            if type(value) is dict:
                inner.setdefault(key, []).append(value)
    return len(names) + sum(map(_number_of_names, inner.values()))


def _flatten(
    prefix: str, objects: _Objects, columns: _Columns, found: set[str], ignored: Collection[str], levels: int
) -> int:
    """Add the columns of objects to ``columns``, and return the number of keys in the objects.

    Going column by column rather than record by record takes a fifth less time. ``found`` gathers the names of columns
    and of objects: each takes time, also where it holds nothing.

    Raises:
        _OutOfTheOrdinaryError: They nest too deep, their names are too long, a column comes both nested and with dots,
            or holds objects beside other values.
        _TooManyCellsError: They have too many different names.
    """
    if not levels or len(prefix) > _MOST_NAME_CHARACTERS:
        raise _OutOfTheOrdinaryError
    names = dict.fromkeys(chain.from_iterable(objects))
    if len(objects) > batch_rows(len(found) + len(names)):
        raise _TooManyCellsError
    keys = sum(map(len, objects))
    has_all = keys == len(objects) * len(names)
    for key in names:
        name = prefix + key
        values: list[Any] = list(map(itemgetter(key), objects)) if has_all else [each.get(key) for each in objects]
        types = set(map(type, values))
        if name in found:
            raise _OutOfTheOrdinaryError
        found.add(name)
        if dict in types and name not in ignored:
            if types - {dict, type(None)}:
                raise _OutOfTheOrdinaryError
            inner = [value or {} for value in values] if len(types) > 1 else values
            keys += _flatten(f"{name}.", inner, columns, found, ignored, levels - 1)
            continue
        if dict in types or list in types:
            keys += sum(_keys(value, levels - 1) for value in values)
            if name in ignored:
                values = [json.dumps(value) if isinstance(value, dict | list) else value for value in values]
        columns[name] = values
    return keys


def _keys(value: object, levels: int) -> int:
    """Return the number of keys of a value and of all objects within it."""
    if not isinstance(value, dict | list):
        return 0
    if not levels:
        raise _OutOfTheOrdinaryError
    own, inner = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    return own + sum(_keys(each, levels - 1) for each in inner)


def _batches_by_line(
    lines: Sequence[bytes], max_depth: int, ignored: Collection[str], place: tuple[Path, int], *, reports: bool
) -> Iterator[_Batch]:
    """Yield what lines hold in batches of bounded size: each line may have names that no other has."""
    parsed: list[object] = []
    leaves: list[dict[str, Any]] = []
    refused: dict[int, Refusal] = {}
    names: set[str] = set()
    for at, line in enumerate(lines):
        try:
            record, own, refusal = _parsed_line(line, max_depth, ignored, reports=reports)
        except _LongNameError:
            detail = f"expected names of objects of at most {_MOST_NAME_CHARACTERS} characters, got a longer one"
            raise FileError(place[0], detail, row=place[1] + at) from None
        if len(own) > MAX_COLUMNS:
            detail = f"expected at most {MAX_COLUMNS} columns, got {len(own)}"
            raise FileError(place[0], detail, row=place[1] + at)
        names.update(own)
        if len(parsed) >= batch_rows(len(names)):
            yield parsed, _columns_of(leaves), refused
            parsed, leaves, refused, names = [], [], {}, set(own)
        if refusal is not None:
            refused[len(parsed)] = refusal
        parsed.append(record)
        leaves.append(own)
    if parsed:
        yield parsed, _columns_of(leaves), refused


def _columns_of(records: _Objects) -> _Columns:
    return {name: [record.get(name) for record in records] for name in dict.fromkeys(chain.from_iterable(records))}


def _parsed_line(
    line: bytes, max_depth: int, ignored: Collection[str], *, reports: bool
) -> tuple[object, dict[str, object], Refusal | None]:
    """Return what a line holds, its columns, and why it is refused if it is."""
    try:
        record = parse_json(line, max_depth=max_depth, constant=refused_constant if reports else _number)
    except BodyError as error:
        return None, {}, Refusal(error.code, line_fault(line, error))
    pairs = list(_leaves("", record, ignored)) if isinstance(record, dict) else []
    leaves = dict(pairs)
    if reports:  # the records are checked later, each with all its faults
        return record, leaves, None
    refusal = None
    if not isinstance(record, dict):
        hint = "; jq -c '.[]' writes its objects as lines" if isinstance(record, list) else ""
        refusal = Refusal("not_an_object", f"expected a JSON object per line, got {described_record(record)}{hint}")
    elif len(leaves) < len(pairs):
        refusal = Refusal("duplicate_key", "expected each column once, got one both nested and with dots")
    return record, leaves, refusal


def _number(literal: str) -> float | None:
    return None if literal == "NaN" else float(literal)


def _leaves(prefix: str, part: Mapping[str, object], ignored: Collection[str]) -> Iterator[tuple[str, object]]:
    if len(prefix) > _MOST_NAME_CHARACTERS:
        raise _LongNameError
    for key, value in part.items():
        name = prefix + _encodable(key)
        if name in ignored and isinstance(value, dict | list):
            yield name, json.dumps(value)
        elif isinstance(value, dict):
            yield from _leaves(f"{name}.", value, ignored)
        else:
            yield name, _encodable(value) if isinstance(value, str) else value


def _batch(columns: _Columns, records: int, ignored: Collection[str], place: tuple[Path, int] | None) -> pa.RecordBatch:
    """Return columns as Arrow has them; given a place, refuse those that hold objects or lists in only some records."""
    parents = Parents(columns)
    arrays = {}
    for name, values in columns.items():
        types = set(map(type, values)) - {type(None)}
        if name in parents and not types:
            continue  # an object that is null in some records
        if place and name not in ignored and (name in parents or (list in types and len(types) > 1)):
            raise _uneven(name, columns, place)
        arrays[name] = _array(values, types)
    if not arrays:  # a batch without columns keeps its number of records only in this way
        return pa.RecordBatch.from_struct_array(pa.array([{}] * records, pa.struct([])))
    return pa.RecordBatch.from_pydict(arrays)


def _uneven(name: str, columns: _Columns, place: tuple[Path, int]) -> FileError:
    """Return the error for a column that holds an object or a list in some records and other values in others."""
    inner = [values for other, values in columns.items() if other.startswith(f"{name}.")]
    first, known = 0, ""
    for at, value in enumerate(columns[name]):
        is_object = any(values[at] is not None for values in inner)
        form = "an object" if is_object else "" if value is None else "a list" if isinstance(value, list) else "a value"
        if known and form not in ("", known):
            break
        first, known = (first, known) if known else (at, form)
    path, row = place
    way = f'only an ignored column may hold both: in training set {setting_of(name, "kind")} = "ignore"'
    detail = f"expected {known} as in row {row + first}, got {form}; {way}"
    return FileError(path, detail, row=row + at, column=shown(name))


def _encodable(text: str) -> str:
    """Return text with lone surrogates escaped, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _array(values: list[object], types: Collection[type]) -> pa.Array:
    try:
        if bool in types and len(types) > 1:  # which Arrow takes for numbers beside floats
            raise pa.ArrowTypeError
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return pa.array(texts, pa.string())

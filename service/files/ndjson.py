"""Read NDJSON files: plain blocks of lines all at once, others line by line by the parser of the service."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec
import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.files.batches import MAX_COLUMNS, FileBatch, Refusal, batch_rows, blocks_of_lines
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.column_names import shown
from vaegis.service.records.json import parse_json, refused_constant
from vaegis.service.records.json_fast import has_keys
from vaegis.service.records.values import described

BLOCK_BYTES = 4 << 20
_SPACE = b" \t\r"

_UNEVEN = (
    "expected values of one form, got an object or a list in some records and other values in others; a column may "
    'hold both only if it is ignored: in training by kind = "ignore"'
)

_OBJECTS = msgspec.json.Decoder(dict[str, Any])

_Objects: TypeAlias = Sequence[dict[str, Any]]
_Batch: TypeAlias = tuple[Sequence[object], _Objects, Mapping[int, Refusal]]
"""Records as JSON has them, their columns, and why some are refused, by position."""


class _OutOfTheOrdinaryError(Exception):
    """Objects that are left to the service's parser."""


def read_ndjson(
    stream: BinaryIO, path: Path, max_depth: int, *, reports: bool, ignored: Collection[str] = ()
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

    Raises:
        FileError: A line is far too long, or has far too many columns; or, unless faults are reported, is not a JSON
            object, nests too deep, or holds an object or a list where others hold none.
    """
    row = 1
    for block in blocks_of_lines(stream, path, BLOCK_BYTES):
        lines = [line for line in block.split(b"\n") if line.strip(_SPACE)]
        plain = _plain_objects(block, len(lines), max_depth, ignored)
        batches = _batches(lines, max_depth, ignored, reports=reports) if plain is None else _batches_of(*plain)
        for parsed, leaves, refused in batches:
            if refused and not reports:
                first = min(refused)
                raise FileError(path, refused[first].detail, row=row + first)
            widest = max(range(len(leaves)), key=lambda at: len(leaves[at]))
            if len(leaves[widest]) > MAX_COLUMNS:
                detail = f"expected at most {MAX_COLUMNS} columns, got {len(leaves[widest])}"
                raise FileError(path, detail, row=row + widest)
            yield FileBatch(_batch(leaves, ignored, None if reports else (path, row)), path, row, refused, parsed)
            row += len(parsed)


def _plain_objects(
    block: bytes, lines: int, max_depth: int, ignored: Collection[str]
) -> tuple[_Objects, _Objects] | None:
    """Return the objects of a block, and the columns of each; None if a line has to be read by the other parser."""
    try:
        records = _OBJECTS.decode_lines(block)
        if block.count(b"{") == lines and b"[" not in block:
            leaves, keys = records, sum(map(len, records))
        else:
            leaves = [{} for _ in records]
            pairs = zip(records, leaves, strict=True)
            keys = sum(_flatten("", record, into, ignored, max_depth) for record, into in pairs)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, _OutOfTheOrdinaryError):
        return None
    # msgspec accepts a record that continues on the next line, and keeps the last of two equal keys.
    return (records, leaves) if len(records) == lines and has_keys(block, keys) else None


def _flatten(
    prefix: str, part: Mapping[str, Any], leaves: dict[str, Any], ignored: Collection[str], levels: int
) -> int:
    """Add each column and its value to ``leaves``, and return the number of keys.

    Raises:
        _OutOfTheOrdinaryError: It nests too deep, or a column comes both nested and with dots.
    """
    if not levels:
        raise _OutOfTheOrdinaryError
    keys = len(part)
    for key, value in part.items():
        name, kind = prefix + key, type(value)
        if name in leaves:
            raise _OutOfTheOrdinaryError
        if kind is dict and name not in ignored:
            keys += _flatten(f"{name}.", value, leaves, ignored, levels - 1)
        elif kind is dict or kind is list:
            keys += _keys(value, levels - 1)
            leaves[name] = json.dumps(value) if name in ignored else value
        else:
            leaves[name] = value
    return keys


def _keys(value: object, levels: int) -> int:
    """Return the number of keys of a value and of all objects within it."""
    if not isinstance(value, dict | list):
        return 0
    if not levels:
        raise _OutOfTheOrdinaryError
    own, inner = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    return own + sum(_keys(each, levels - 1) for each in inner)


def _batches_of(objects: _Objects, leaves: _Objects) -> Iterator[_Batch]:
    """Yield objects in batches of bounded size."""
    most = batch_rows(len(set(chain.from_iterable(leaves))))
    for start in range(0, len(objects), most):
        yield objects[start : start + most], leaves[start : start + most], {}


def _batches(lines: Sequence[bytes], max_depth: int, ignored: Collection[str], *, reports: bool) -> Iterator[_Batch]:
    """Yield what lines hold in batches of bounded size, because each line may have names that no other has."""
    parsed: list[object] = []
    leaves: list[dict[str, Any]] = []
    refused: dict[int, Refusal] = {}
    names: set[str] = set()
    for line in lines:
        record, own, refusal = _parsed_line(line, max_depth, ignored, reports=reports)
        names.update(own)
        if len(parsed) >= batch_rows(len(names)):
            yield parsed, leaves, refused
            parsed, leaves, refused, names = [], [], {}, set(own)
        if refusal is not None:
            refused[len(parsed)] = refusal
        parsed.append(record)
        leaves.append(own)
    if parsed:
        yield parsed, leaves, refused


def _parsed_line(
    line: bytes, max_depth: int, ignored: Collection[str], *, reports: bool
) -> tuple[object, dict[str, object], Refusal | None]:
    """Return what a line holds, its columns, and why it is refused if it is."""
    try:
        record = parse_json(line, max_depth=max_depth, constant=refused_constant if reports else _number)
    except BodyError as error:
        return None, {}, Refusal(error.code, str(error).removeprefix("body: "))
    pairs = list(_leaves("", record, ignored)) if isinstance(record, dict) else []
    leaves = dict(pairs)
    if reports:  # the records are checked later, each with all its faults
        return record, leaves, None
    refusal = None
    if not isinstance(record, dict):
        hint = "; jq -c '.[]' writes its objects as lines" if isinstance(record, list) else ""
        refusal = Refusal("not_an_object", f"expected a JSON object per line, got {described(record)}{hint}")
    elif len(leaves) < len(pairs):
        refusal = Refusal("duplicate_key", "expected each column once, got one both nested and with dots")
    return record, leaves, refusal


def _number(literal: str) -> float | None:
    return None if literal == "NaN" else float(literal)


def _leaves(prefix: str, part: Mapping[str, object], ignored: Collection[str]) -> Iterator[tuple[str, object]]:
    for key, value in part.items():
        name = prefix + _encodable(key)
        if name in ignored and isinstance(value, dict | list):
            yield name, json.dumps(value)
        elif isinstance(value, dict):
            yield from _leaves(f"{name}.", value, ignored)
        else:
            yield name, _encodable(value) if isinstance(value, str) else value


def _batch(
    records: Sequence[Mapping[str, object]], ignored: Collection[str], place: tuple[Path, int] | None
) -> pa.RecordBatch:
    """Return flat records by column; given a place, refuse columns that hold objects or lists in only some records."""
    columns = {name: [record.get(name) for record in records] for name in dict.fromkeys(chain.from_iterable(records))}
    parents = {name[:dot] for name in columns for dot, letter in enumerate(name) if letter == "."}
    arrays = {}
    for name, values in columns.items():
        types = set(map(type, values)) - {type(None)}
        if name in parents and not types:
            continue  # an object that is null in some records
        if place and name not in ignored and (name in parents or (list in types and len(types) > 1)):
            uneven = {list} & types or types
            first = next(at for at, value in enumerate(values) if type(value) in uneven)
            raise FileError(place[0], _UNEVEN, row=place[1] + first, column=shown(name))
        arrays[name] = _array(values, types)
    if not arrays:  # a batch without columns keeps its number of records only in this way
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(records), pa.struct([])))
    return pa.RecordBatch.from_pydict(arrays)


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

"""Read NDJSON files: plain blocks of lines all at once, others line by line by the parser of the service."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.files.batches import FileBatch, Refusal, batch_rows, blocks_of_lines
from vaegis.service.records.column_names import shown
from vaegis.service.records.json import BodyError, parse_json, refused_constant
from vaegis.service.records.json_fast import has_keys
from vaegis.service.records.values import described

BLOCK_BYTES = 4 << 20
_SPACE = b" \t\r"

_UNEVEN = (
    "expected values of one form, got an object or a list in some records and other values in others; a column may "
    'hold both only if it is ignored: in training by kind = "ignore"'
)

_OBJECTS = msgspec.json.Decoder(dict[str, Any])


def read_ndjson(
    stream: BinaryIO, path: Path, max_depth: int, *, reports: bool, ignored: Collection[str] = ()
) -> Iterator[FileBatch]:
    """Yield the records of an NDJSON stream, one a line; blank lines are passed over.

    In the batches objects are flat, and a column whose values have several types is text: texts as they are, other
    values as JSON writes them.

    Args:
        stream: The file.
        path: Its path, for messages.
        max_depth: Most levels of objects and lists.
        reports: Whether lines at fault are told in their place; otherwise the first one ends the reading, and the
            literals NaN and Infinity, which Python's own encoder writes, are numbers.
        ignored: Columns that may hold values of any type.

    Raises:
        FileError: A line is far too long; or, unless faults are reported, is not a JSON object, nests too deep, or
            holds an object or a list where others hold none.
    """
    row = 1
    for block in blocks_of_lines(stream, path, BLOCK_BYTES):
        lines = [line for line in block.split(b"\n") if line.strip(_SPACE)]
        is_flat = block.count(b"{") == len(lines) and b"[" not in block
        objects = _plain_objects(block, len(lines), None if is_flat else max_depth)
        batches = _batches(lines, max_depth, reports=reports) if objects is None else _batches_of(objects)
        for parsed, refused in batches:
            if refused and not reports:
                first = min(refused)
                raise FileError(path, refused[first].detail, row=row + first)
            if is_flat and objects is not None:
                leaves: Sequence[Mapping[str, object]] = cast("Sequence[Mapping[str, object]]", parsed)
            else:
                leaves = [
                    _flat(record, ignored, None if reports else (path, row + at)) for at, record in enumerate(parsed)
                ]
            yield FileBatch(_batch(leaves, ignored, None if reports else (path, row)), path, row, refused, parsed)
            row += len(parsed)


def _plain_objects(block: bytes, lines: int, max_depth: int | None) -> list[dict[str, Any]] | None:
    """Return the objects of a block; None if a line is none, or out of the ordinary.

    Args:
        block: Lines.
        lines: How many of them are not blank.
        max_depth: Most levels of objects and lists; None where objects hold neither.
    """
    try:
        records = _OBJECTS.decode_lines(block)
        keys = sum(map(len, records) if max_depth is None else (_keys(record, max_depth) for record in records))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # msgspec takes a record that goes on over the end of its line, and the last of two equal keys.
    return records if len(records) == lines and has_keys(block, keys) else None


def _keys(value: dict[str, Any] | list[Any], levels: int) -> int:
    """Return how many keys a value holds, those of objects within it counted."""
    if not levels:
        raise RecursionError
    own, inner = (len(value), value.values()) if isinstance(value, dict) else (0, value)
    return own + sum(_keys(each, levels - 1) for each in inner if isinstance(each, dict | list))


def _batches_of(objects: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Sequence[object], Mapping[int, Refusal]]]:
    """Yield objects in batches of bounded size."""
    most = batch_rows(len(set(chain.from_iterable(objects))))
    for start in range(0, len(objects), most):
        yield objects[start : start + most], {}


def _batches(
    lines: Sequence[bytes], max_depth: int, *, reports: bool
) -> Iterator[tuple[Sequence[object], Mapping[int, Refusal]]]:
    """Yield what lines hold in batches of bounded size, because each line may have names that no other has.

    With each come the refusals of the lines that are no records.
    """
    parsed: list[object] = []
    refused: dict[int, Refusal] = {}
    names: set[str] = set()
    for line in lines:
        record, refusal = _parsed_line(line, max_depth, reports=reports)
        own = dict(_leaves("", record, ())) if isinstance(record, dict) else {}
        names.update(own)
        if len(parsed) >= batch_rows(len(names)):
            yield parsed, refused
            parsed, refused, names = [], {}, set(own)
        if refusal is not None:
            refused[len(parsed)] = refusal
        parsed.append(record)
    if parsed:
        yield parsed, refused


def _parsed_line(line: bytes, max_depth: int, *, reports: bool) -> tuple[object, Refusal | None]:
    try:
        record = parse_json(line, max_depth=max_depth, constant=refused_constant if reports else _number)
    except BodyError as error:
        return None, Refusal(error.code, str(error).removeprefix("body: "))
    if isinstance(record, dict) or reports:
        return record, None
    hint = "; jq -c '.[]' writes its objects as lines" if isinstance(record, list) else ""
    return None, Refusal("not_an_object", f"expected a JSON object per line, got {described(record)}{hint}")


def _number(literal: str) -> float | None:
    return None if literal == "NaN" else float(literal)


def _flat(record: object, ignored: Collection[str], place: tuple[Path, int] | None) -> dict[str, object]:
    """Return the columns of a record; at a place that is told, refuse one that comes twice."""
    leaves = list(_leaves("", record, ignored)) if isinstance(record, dict) else []
    flat = dict(leaves)
    if place and len(flat) < len(leaves):
        names = [name for name, _ in leaves]
        name = shown(next(name for name in names if names.count(name) > 1))
        raise FileError(place[0], "expected each column once, got one nested and with dots", row=place[1], column=name)
    return flat


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
    """Return flat records by column; at a place that is told, refuse columns with objects or lists in some of them."""
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
    if not arrays:  # a batch has to tell how many records it has nevertheless
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

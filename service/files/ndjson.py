"""Read NDJSON files: in blocks by Arrow's parser, or line by line by the service's parser, past faulty lines."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.json as pa_json

from vaegis.service.errors import FileError
from vaegis.service.files.batches import FileBatch, Refusal, batch_rows, blocks_of_lines
from vaegis.service.records.column_names import shown
from vaegis.service.records.json import BodyError, parse_json
from vaegis.service.records.json_limits import nests_deeper_than

BLOCK_BYTES = 4 << 20
_SPACE = b" \t\r"
_SCALARS = frozenset(("number", "string", "boolean"))

_ROW = re.compile(r"\s*in row (\d+)$")
_CHANGED = re.compile(r"Column\((?P<column>.*)\) changed from (?P<was>\w+) to (?P<now>\w+)$", re.DOTALL)
_TWICE = re.compile(r"Column\((?P<column>.*)\) was specified twice$", re.DOTALL)

_TextFields = dict[str, "_TextFields"]
"""Fields that must be read as text, nested as in the records; a field without fields is the text itself."""


class _ChangedError(FileError):
    """A column whose values change their type; ``types`` are those before and after, as Arrow names them."""

    def __init__(self, path: Path, message: str, row: int, column: str, types: frozenset[str]) -> None:
        super().__init__(path, message, row=row, column=column)
        self.root = column.partition(".")[0]
        self.types = types


def read_ndjson(stream: BinaryIO, path: Path, max_depth: int, ignored: Collection[str] = ()) -> Iterator[FileBatch]:
    """Yield the records of an NDJSON stream.

    A column that holds texts as well as numbers or booleans is text in its block. Columns in ``ignored`` may hold
    values of any type, and are text where Arrow cannot give them one.

    Raises:
        FileError: A line is not a JSON object, nests too deep, or holds an object or a list where others hold none.
    """
    row = 1
    text_fields: _TextFields = {}
    for block in blocks_of_lines(stream, path, BLOCK_BYTES):
        _check_depth(block, path, row, max_depth)
        try:
            parsed = _parsed(block, path, row, text_fields)
        except _ChangedError as changed:
            is_ignored = changed.root in {name.partition(".")[0] for name in ignored}
            if not is_ignored and not changed.types <= _SCALARS:
                raise
            for part in _parsed_lines(block, path, row, max_depth, ignored, nan_is_null=True):
                if part.refused:
                    first = min(part.refused)
                    raise FileError(path, part.refused[first].detail, row=part.first_row + first) from None
                yield FileBatch(part.batch, path, row)
                row += part.batch.num_rows
            continue
        for batch in parsed.combine_chunks().to_batches():
            yield FileBatch(batch, path, row)
            row += batch.num_rows


def read_ndjson_past_faults(stream: BinaryIO, path: Path, max_depth: int) -> Iterator[FileBatch]:
    """Yield the records of an NDJSON stream, one a line; blank lines are passed over.

    In the batches objects are flat, and a column whose values have several types is text: texts as they are, other
    values as JSON writes them.

    Raises:
        FileError: A line is far too long.
    """
    row = 1
    for block in blocks_of_lines(stream, path, BLOCK_BYTES):
        for batch in _parsed_lines(block, path, row, max_depth):
            yield batch
            row += batch.batch.num_rows


def _check_depth(block: bytes, path: Path, row: int, max_depth: int) -> None:
    """Refuse deep nesting before Arrow's parser sees it: it recurses without a limit and ends the process."""
    if not nests_deeper_than(block, max_depth):
        return
    lines = [line for line in block.split(b"\n") if line.strip()]
    wrong = next((at for at, line in enumerate(lines) if nests_deeper_than(line, max_depth)), 0)
    raise FileError(path, f"expected at most {max_depth} levels of nesting, got more", row=row + wrong)


def _parsed(block: bytes, path: Path, row: int, text_fields: _TextFields) -> pa.Table:
    """Parse a block, adding to ``text_fields`` what Arrow would turn into instants, and with that lose its text."""
    if not block.strip():
        return pa.table({})
    try:
        table = _read(block, text_fields)
        if _add_instants(table.schema, text_fields):
            table = _read(block, text_fields)
    except pa.ArrowInvalid as error:
        raise _file_error(error, path, row) from None
    return table


def _read(block: bytes, text_fields: _TextFields) -> pa.Table:
    # One thread and one block, so that the parser's row numbers count from the start of this block.
    reading = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
    parsing = pa_json.ParseOptions(explicit_schema=pa.schema(_fields(text_fields)), unexpected_field_behavior="infer")
    return pa_json.read_json(io.BytesIO(block), read_options=reading, parse_options=parsing)


def _fields(text_fields: _TextFields) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_fields(inner)) if inner else pa.string()) for name, inner in text_fields.items()]


def _add_instants(fields: pa.Schema | pa.StructType, text_fields: _TextFields) -> bool:
    """Add every field of an instant's type to ``text_fields``; return whether there was one."""
    added = False
    for field in fields:
        if pa.types.is_timestamp(field.type):
            text_fields[field.name] = {}
            added = True
        elif pa.types.is_struct(field.type):
            inner: _TextFields = dict(text_fields.get(field.name, {}))
            if _add_instants(field.type, inner):
                text_fields[field.name] = inner
                added = True
    return added


def _file_error(error: pa.ArrowInvalid, path: Path, row: int) -> FileError:
    """Return the parser's error with its location, in clearer words and without any value."""
    detail = str(error).removeprefix("JSON parse error: ")
    place = _ROW.search(detail)
    at = row + int(place[1]) if place else row
    detail = detail[: place.start()] if place else detail
    if changed := _CHANGED.fullmatch(detail):
        was, now, column = changed["was"], changed["now"], _dotted(changed["column"])
        if column is None:
            lines = "; jq -c '.[]' writes its objects as lines" if now == "array" else ""
            return FileError(path, f"expected a JSON object per line, got {_article(now)}{lines}", row=at)
        message = (
            f"expected {_article(was)} as in the records before, got {_article(now)}; "
            'a column may hold both only if it is ignored: in training by kind = "ignore"'
        )
        return _ChangedError(path, message, at, shown(column), frozenset((was, now)))
    if twice := _TWICE.fullmatch(detail):
        return FileError(
            path, "expected each key once, got one twice", row=at, column=shown(_dotted(twice["column"]) or "")
        )
    return FileError(path, f"expected a JSON object per line, got broken JSON ({detail.rstrip('.')})", row=at)


def _dotted(pointer: str) -> str | None:
    return pointer.removeprefix("/").replace("/", ".") or None


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _parsed_lines(
    block: bytes, path: Path, row: int, max_depth: int, ignored: Collection[str] = (), *, nan_is_null: bool = False
) -> Iterator[FileBatch]:
    """Yield a block's records in batches of bounded size, because each may have names that no other has."""
    parsed: list[object] = []
    flat: list[dict[str, object]] = []
    refused: dict[int, Refusal] = {}
    names: set[str] = set()
    for line in block.split(b"\n"):
        if not line.strip(_SPACE):
            continue
        record, refusal = _parsed_line(line, max_depth, nan_is_null=nan_is_null)
        leaves = dict(_leaves("", record, ignored)) if isinstance(record, dict) else {}
        names.update(leaves)
        if len(parsed) >= batch_rows(len(names)):
            yield FileBatch(_batch(flat), path, row, refused, parsed)
            row += len(parsed)
            parsed, flat, refused, names = [], [], {}, set(leaves)
        if refusal is not None:
            refused[len(parsed)] = refusal
        parsed.append(record)
        flat.append(leaves)
    if parsed:
        yield FileBatch(_batch(flat), path, row, refused, parsed)


def _parsed_line(line: bytes, max_depth: int, *, nan_is_null: bool) -> tuple[object, Refusal | None]:
    try:
        return parse_json(line, max_depth=max_depth, nan_is_null=nan_is_null), None
    except BodyError as error:
        return None, Refusal(error.code, str(error).removeprefix("body: "))


def _batch(records: list[dict[str, object]]) -> pa.RecordBatch:
    names = dict.fromkeys(name for record in records for name in record)
    if not names:  # a batch has to tell how many records it has nevertheless
        return pa.RecordBatch.from_struct_array(pa.array(records, pa.struct([])))
    arrays = [_array([record.get(name) for record in records]) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _leaves(prefix: str, part: Mapping[str, object], ignored: Collection[str]) -> Iterator[tuple[str, object]]:
    for key, value in part.items():
        name = prefix + _encodable(key)
        if name in ignored and isinstance(value, dict | list):
            yield name, json.dumps(value)
        elif isinstance(value, dict):
            yield from _leaves(f"{name}.", value, ignored)
        else:
            yield name, _encodable(value) if isinstance(value, str) else value


def _encodable(text: str) -> str:
    """Return text with lone surrogates escaped, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _array(values: list[object]) -> pa.Array:
    types = set(map(type, values)) - {type(None)}
    try:
        if bool in types and len(types) > 1:  # which Arrow takes for numbers beside floats
            raise pa.ArrowTypeError
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return pa.array(texts, pa.string())

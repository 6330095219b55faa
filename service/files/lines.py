"""Files of NDJSON parsed line by line by the service's own parser, so that a faulty line does not end the reading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from vaegis.service.files.batches import Read, Refusal, batch_rows
from vaegis.service.files.ndjson import blocks_of_lines
from vaegis.service.records.json import BodyError, parse_json

_SPACE = b" \t\r"


def read_lines(stream: BinaryIO, path: Path, max_depth: int) -> Iterator[Read]:
    """Yield the records of an NDJSON stream, one a line; blank lines are passed over.

    In the batches objects are flat, and a column whose values have several types is text: texts as they are, other
    values as JSON writes them.

    Raises:
        FileError: A line is far too long.
    """
    row = 1
    for block in blocks_of_lines(stream, path):
        for read in _reads(block, row, max_depth):
            yield read
            row += read.batch.num_rows


def _reads(block: bytes, row: int, max_depth: int) -> Iterator[Read]:
    """Yield a block's records in batches of bounded size, for each may have names that no other has."""
    parsed: list[object] = []
    flat: list[dict[str, object]] = []
    refused: dict[int, Refusal] = {}
    names: set[str] = set()
    for line in block.split(b"\n"):
        if not line.strip(_SPACE):
            continue
        record, refusal = _parsed(line, max_depth)
        leaves = dict(_leaves("", record)) if isinstance(record, dict) else {}
        names.update(leaves)
        if len(parsed) >= batch_rows(len(names)):
            yield Read(row, _batch(flat), refused, parsed)
            row += len(parsed)
            parsed, flat, refused, names = [], [], {}, set(leaves)
        if refusal is not None:
            refused[len(parsed)] = refusal
        parsed.append(record)
        flat.append(leaves)
    if parsed:
        yield Read(row, _batch(flat), refused, parsed)


def _parsed(line: bytes, max_depth: int) -> tuple[object, Refusal | None]:
    try:
        return parse_json(line, max_depth=max_depth), None
    except BodyError as error:
        return None, Refusal(error.code, str(error).removeprefix("body: "))


def _batch(records: list[dict[str, object]]) -> pa.RecordBatch:
    names = dict.fromkeys(name for record in records for name in record)
    if not names:  # a batch has to tell how many records it has nevertheless
        return pa.RecordBatch.from_struct_array(pa.array(records, pa.struct([])))
    arrays = [_array([record.get(name) for record in records]) for name in names]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _leaves(prefix: str, part: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in part.items():
        name = prefix + _encodable(key)
        if isinstance(value, dict):
            yield from _leaves(f"{name}.", value)
        else:
            yield name, _encodable(value) if isinstance(value, str) else value


def _encodable(text: str) -> str:
    """Return text with lone surrogates escaped, which UTF-8 cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _array(values: list[object]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
        return pa.array(texts, pa.string())

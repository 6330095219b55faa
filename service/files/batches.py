"""Batches of a file's records, with the faults of records that could not be read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.records.byte_order_marks import lines_without_marks

MAX_LINE_BYTES = 64 << 20
"""A longer line is refused: it is one JSON document rather than a record per line."""
MAX_COLUMNS = 100_000
"""Most columns of one NDJSON record: a column takes a few bytes in a line, but kilobytes in a batch."""
MAX_BATCH_ROWS = 65_536
MAX_BATCH_CELLS = 4_000_000
"""A batch of wide records holds fewer rows, so that its memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record cannot be read: a code of `docs/errors.md`, and what was expected and what came."""

    code: str
    detail: str


Refusals: TypeAlias = Mapping[int, Refusal]
"""By position in a batch."""

NOT_UTF8 = Refusal("invalid_utf8", "expected UTF-8, got other bytes")


@dataclass(frozen=True, slots=True)
class FileBatch:
    """Some consecutive records of one file.

    Attributes:
        batch: The records. Columns of CSV are text; `RecordFiles.batches` gives objects as columns of their own, whose
            names are joined by dots.
        path: The file.
        first_row: Row of the first record in its file, from 1; a header is not counted.
        refused: What is wrong with records that could not be read, by position in the batch; what is lost of them is
            null.
        parsed: The records as JSON has them, because their values have types of their own; None for those refused.
    """

    batch: pa.RecordBatch
    path: Path
    first_row: int
    refused: Refusals = field(default_factory=dict)
    parsed: Sequence[object] | None = None

    def parts(self, records: int) -> Iterator[FileBatch]:
        """Yield the batch in batches of at most ``records`` records."""
        positions = sorted(self.refused)
        for start in range(0, self.batch.num_rows, records):
            part = self.batch.slice(start, records)
            first, end = (bisect_left(positions, at) for at in (start, start + part.num_rows))
            refused = {at - start: self.refused[at] for at in positions[first:end]}
            parsed = None if self.parsed is None else self.parsed[start : start + records]
            yield FileBatch(part, self.path, self.first_row + start, refused, parsed)


def batch_rows(columns: int) -> int:
    """Return how many records a batch may hold, given the number of columns."""
    return max(1, min(MAX_BATCH_ROWS, MAX_BATCH_CELLS // max(1, columns)))


def blocks_of_lines(stream: BinaryIO, path: Path, block_bytes: int) -> Iterator[bytes]:
    """Yield blocks that end with a line, each of about so many bytes.

    Raises:
        FileError: A line is far too long.
    """
    rest = b""
    while data := stream.read(block_bytes):
        end = data.rfind(b"\n") + 1
        if end == 0:
            rest += data
            if len(rest) > MAX_LINE_BYTES:
                raise FileError(path, f"expected a record per line, got a line of more than {MAX_LINE_BYTES} bytes")
            continue
        yield lines_without_marks(rest + data[:end])
        rest = data[end:]
    yield lines_without_marks(rest)


def texts_of(array: pa.Array) -> tuple[pa.Array, dict[int, Refusal]]:
    """Return binary values as text, and which are not UTF-8; those are null."""
    texts: list[str | None] = []
    refused: dict[int, Refusal] = {}
    for at, value in enumerate(array.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
            refused[at] = NOT_UTF8
    return pa.array(texts, pa.string()), refused

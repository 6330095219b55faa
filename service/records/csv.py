"""CSV read as a stream of batches in which every value is still the text that the file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from service.errors import FileError
from service.records.names import shown
from service.records.values import CSV_NULLS

BLOCK_BYTES = 4 << 20
MAX_VALUE_BYTES = 1 << 20
"""A longer value is refused: it is rather the rest of the file after a quote that is never closed."""

_BadRow = tuple[int | None, int, int]
"""Row as the parser counts (the header is row 1), values expected, values found."""


def csv_names(stream: pa.NativeFile, path: Path) -> tuple[str, ...]:
    """Return the names in a CSV file's header."""
    try:
        with _reader(stream, path, (), []) as reader:
            names = tuple(reader.schema.names)
    except pa.ArrowInvalid as error:
        raise _told(error, path, 0, []) from None
    except UnicodeDecodeError:
        raise FileError(path, "expected UTF-8 in the header, got other bytes") from None
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise FileError(path, "expected a header separated by commas (by tabs in a .tsv file), got another separator")
    return names


def read_csv(stream: pa.NativeFile, path: Path, names: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Yield the records of a CSV stream; every column is text.

    Raises:
        FileError: A record has more or fewer values than the header, or one that is not UTF-8 or far too long.
    """
    bad_rows: list[_BadRow] = []
    rows = 0
    try:
        with _reader(stream, path, names, bad_rows) as reader:
            for batch in reader:
                yield _as_text(batch, path, rows + 1)
                rows += batch.num_rows
    except pa.ArrowInvalid as error:
        raise _told(error, path, rows, bad_rows) from None


def _reader(
    stream: pa.NativeFile, path: Path, names: tuple[str, ...], bad_rows: list[_BadRow]
) -> pa_csv.CSVStreamingReader:
    def refuse(row: pa_csv.InvalidRow) -> str:
        bad_rows.append((row.number, row.expected_columns, row.actual_columns))
        # While only the header is wanted, a ragged record is no reason to stop: reading will tell it.
        return "error" if names else "skip"

    is_tsv = ".tsv" in (suffix.lower() for suffix in path.suffixes)
    return pa_csv.open_csv(
        stream,
        # One thread: only then does the parser know the number of a bad row.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(
            delimiter="\t" if is_tsv else ",", newlines_in_values=True, invalid_row_handler=refuse
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.binary()),
            null_values=list(CSV_NULLS),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _as_text(batch: pa.RecordBatch, path: Path, first_row: int) -> pa.RecordBatch:
    """Return the columns, read as bytes, as text; the parser itself could not say in which row the text is wrong."""
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy()
        if lengths.size and lengths.max() > MAX_VALUE_BYTES:
            raise _too_long(path, first_row + int(lengths.argmax()), shown(name))
        try:
            arrays.append(array.cast(pa.string()))
        except pa.ArrowInvalid:
            row = first_row + next(at for at, value in enumerate(array.to_pylist()) if not _is_utf8(value))
            raise FileError(path, "expected UTF-8 text, got other bytes", row=row, column=shown(name)) from None
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _told(error: pa.ArrowInvalid, path: Path, rows: int, bad_rows: list[_BadRow]) -> FileError:
    """Return the parser's complaint in our words: its own hold the record itself."""
    if bad_rows:
        number, expected, found = bad_rows[-1]
        detail = f"expected {expected} values as in the header, got {found}"
        return FileError(path, detail, row=None if number is None else number - 1)
    detail = str(error)
    if "Empty CSV" in detail:
        return FileError(path, "expected a header and records, got an empty file")
    if "straddling" in detail:
        return _too_long(path, rows + 1, None)
    return FileError(path, "expected CSV, got text that cannot be read as such", row=rows + 1)


def _too_long(path: Path, row: int, column: str | None) -> FileError:
    detail = f"expected values of at most {MAX_VALUE_BYTES} bytes, got a longer one (a quote that is never closed?)"
    return FileError(path, detail, row=row, column=column)

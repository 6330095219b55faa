"""Read CSV as a stream of batches in which every value is still text."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from vaegis.service.errors import FileError
from vaegis.service.files.batches import NOT_UTF8, Refusal, batch_rows, blocks_of_lines
from vaegis.service.records.column_names import shown
from vaegis.service.records.csv import rows_of
from vaegis.service.records.json import BodyError
from vaegis.service.records.values import CSV_NULLS, is_text

BLOCK_BYTES = 4 << 20
MAX_VALUE_BYTES = 1 << 20
"""A longer value is refused: it is rather the rest of the file after a quote that is never closed."""

_QUOTE = b'"'
_NULLS = pa.array(sorted(CSV_NULLS), pa.string())
_AFTER_A_QUOTE = "expected after"  # of csv's complaint over text after a closing quote, which pyarrow takes

_BadRow: TypeAlias = tuple[int | None, int, int]
"""Row as the parser counts (the header is row 1), values expected, values found."""
_Handler: TypeAlias = Callable[[pa_csv.InvalidRow], str]


def csv_names(stream: pa.NativeFile, path: Path) -> tuple[str, ...]:
    """Return the names in a CSV file's header."""
    try:
        # While only the header is wanted, a ragged record is no reason to stop: reading will tell it.
        with _reader(stream, path, (), lambda _: "skip") as reader:
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
        with _reader(stream, path, names, _stopping(bad_rows)) as reader:
            for batch in reader:
                yield _as_text(batch, path, rows + 1)
                rows += batch.num_rows
    except pa.ArrowInvalid as error:
        raise _told(error, path, rows, bad_rows) from None


def read_csv_past_faults(
    stream: pa.NativeFile, path: Path, names: tuple[str, ...]
) -> Iterator[tuple[pa.RecordBatch, dict[int, Refusal]]]:
    """Yield the records of a CSV stream, and which have another width or are not UTF-8, as the service parses them.

    Raises:
        FileError: A value is far too long, or its quote is never closed.
    """
    rows_read = 0
    for rows in _parsed_rows(stream, path):
        records = rows if rows_read else rows[1:]
        most = batch_rows(len(names))
        for start in range(0, len(records), most):
            yield _text_batch(records[start : start + most], names)
        rows_read += len(rows)


def open_quote(path: Path) -> FileError:
    """Return the error of a file that ends within quotes."""
    return FileError(path, "expected closed quotes, got one that is open at the end")


def has_odd_quotes(stream: pa.NativeFile) -> bool:
    """Tell whether the quotes of a stream are odd in number; a file in which all are closed has an even number."""
    quotes = 0
    while block := stream.read(BLOCK_BYTES):
        quotes += block.count(_QUOTE)
    return quotes % 2 == 1


def ends_within_quotes(stream: pa.NativeFile, delimiter: str) -> bool:
    """Return whether a stream ends in a value whose quote is not closed.

    Quotes may also be odd in number for one within a value that has none around it. This reads record by record, and
    is only worth it where they are.
    """
    text = io.TextIOWrapper(stream, "latin-1", newline="")  # for quotes and line ends any superset of ASCII will do
    try:
        for _ in csv.reader(text, delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return _AFTER_A_QUOTE not in str(error)
    return False


def _parsed_rows(stream: pa.NativeFile, path: Path) -> Iterator[list[list[str]]]:
    """Yield the rows of blocks of lines, the header among them; bytes that are not UTF-8 are lone surrogates."""
    csv.field_size_limit(MAX_VALUE_BYTES)  # the module's own, for the whole process
    delimiter = delimiter_of(path)
    rest, rows_read = b"", 0
    for block in blocks_of_lines(stream, path, BLOCK_BYTES):
        lines = rest + block
        if not rows_read:
            lines = lines.removeprefix(codecs.BOM_UTF8)
        if not lines.endswith(b"\n"):  # the last one
            lines += b"\n"
        try:
            rows, rest = rows_of(lines, delimiter)
        except BodyError:
            raise _too_long(path, rows_read, None) from None
        rows_read += len(rows)
        if rows:
            yield rows
    if rest:
        raise open_quote(path)


def _text_batch(rows: Sequence[list[str]], names: tuple[str, ...]) -> tuple[pa.RecordBatch, dict[int, Refusal]]:
    """Return rows as columns of text, and which rows are not records; those are null."""
    refused: dict[int, Refusal] = {}
    even: list[Sequence[str | None]] = []
    for at, row in enumerate(rows):
        if len(row) != len(names):
            refused[at] = _wrong_width(len(names), len(row))
            even.append([None] * len(names))
        elif is_text("".join(row)):
            even.append(row)
        else:
            refused[at] = NOT_UTF8
            even.append([value if is_text(value) else None for value in row])
    columns = [pa.array(values, pa.string()) for values in zip(*even, strict=True)]
    arrays = [pc.if_else(pc.is_in(column, _NULLS), None, column) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(names)), refused


@lru_cache(maxsize=1024)
def _wrong_width(expected: int, found: int) -> Refusal:
    """Return the refusal of a record, the same one for all of its width: there may be millions."""
    return Refusal("wrong_width", _width(expected, found))


def _width(expected: int, found: int) -> str:
    return f"expected {expected} values as in the header, got {found}"


def _stopping(bad_rows: list[_BadRow]) -> _Handler:
    """Return a function that ends the parsing at the first record of another width, and adds it to ``bad_rows``."""

    def refuse(row: pa_csv.InvalidRow) -> str:
        bad_rows.append((row.number, row.expected_columns, row.actual_columns))
        return "error"

    return refuse


def delimiter_of(path: Path) -> str:
    """Return the delimiter of a CSV file, by its extension."""
    return "\t" if ".tsv" in (suffix.lower() for suffix in path.suffixes) else ","


def _reader(stream: pa.NativeFile, path: Path, names: tuple[str, ...], refuse: _Handler) -> pa_csv.CSVStreamingReader:
    return pa_csv.open_csv(
        stream,
        # One thread: only then does the parser know the number of a bad row.
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter_of(path), newlines_in_values=True, invalid_row_handler=refuse
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
        return FileError(path, _width(expected, found), row=None if number is None else number - 1)
    detail = str(error)
    if "Empty CSV" in detail:
        return FileError(path, "expected a header and records, got an empty file")
    if "straddling" in detail:
        return _too_long(path, rows + 1, None)
    return FileError(path, "expected CSV, got other text", row=rows + 1)


def _too_long(path: Path, row: int, column: str | None) -> FileError:
    detail = f"expected values of at most {MAX_VALUE_BYTES} bytes, got a longer one (a quote that is never closed?)"
    return FileError(path, detail, row=row, column=column)

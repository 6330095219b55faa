"""Read CSV as a stream of batches in which every value is still text."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from vaegis.service.errors import FileError
from vaegis.service.files.batches import Refusal, batch_rows, blocks_of_lines
from vaegis.service.files.formats import Dialect
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.column_names import shown
from vaegis.service.records.csv import (
    ESCAPED_QUOTES,
    MAX_VALUE_CHARACTERS,
    csv_reader,
    delimiter_name,
    first_row_of,
    row_fault,
    rows_of,
    wrong_width,
)
from vaegis.service.records.values import CSV_NULLS, is_text

BLOCK_BYTES = 4 << 20
MAX_VALUE_BYTES = MAX_VALUE_CHARACTERS
"""The same limit as in bodies, but pyarrow counts bytes."""

_NULLS = pa.array(sorted(CSV_NULLS), pa.string())
_AFTER_A_QUOTE = "expected after"  # of csv's complaint over text after a closing quote, which pyarrow takes

_WRONG_WIDTH = re.compile(
    r"(?:Row #(?P<row>\d+): )?Expected (?P<expected>\d+) columns, got (?P<found>\d+):? ?(?P<record>.*)", re.DOTALL
)
"""Of Arrow's complaint; the header is row 1."""
_MARK = "\ufeff"
_JOINED = "files seem to be joined: join them without their byte order marks and headers, or put them into one folder"
_QUOTED = re.compile(r'"[^"]*"')
_SINGLE_QUOTED = re.compile(r"\s*'.*'\s*", re.DOTALL)
_HEADER_BYTES = 1 << 16
_refusal = lru_cache(maxsize=1024)(Refusal)  # the same object for the same fault: there may be millions
_DELIMITERS = ";\t|,^~\x01\x1f"
_EMPTY = "expected a header and records, got an empty file"
_ESCAPE = r"""set data.escape = "\\" in train.toml, or --escape '\'"""
_NO_QUOTES = 'set data.quote = "" in train.toml, or --quote ""'
_LINES_ABOVE = "; the first line is taken for the header: remove the lines above the names of the columns"
_MOST_LINES_ABOVE = 20
"""Lines that a report has above its table at most."""
_OPEN = f"expected closed quotes, got one that is open at the end; if quotes are letters like others here, {_NO_QUOTES}"
_SINGLE_QUOTES = 'set data.quote = "\'" in train.toml, or --quote "\'"'
_ENCODING = (
    'if it is written in another encoding, set it as data.encoding in train.toml, or --encoding, such as "cp1252"'
)


class CsvFile:
    """The header and the records of one file.

    Attributes:
        names: The names in its header.
    """

    def __init__(self, path: Path, plain: Path, open_file: Callable[[Path], pa.NativeFile], dialect: Dialect) -> None:
        """Read the header.

        Args:
            path: The file, for messages and for its extension.
            plain: A file with the same content in UTF-8.
            open_file: Opens ``plain``.
            dialect: How it is written.
        """
        self._path = path
        self._plain = plain
        self._open_file = open_file
        self._dialect = dialect
        self._delimiter = dialect.delimiter_of(path)
        with self._at_header() as stream:
            self.names = self._names(stream)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the records; every column is text.

        Raises:
            FileError: A record has more or fewer values than the header, or one that is not UTF-8 or far too long; or
                quotes are not closed.
        """
        rows = 0
        try:
            with self._at_header() as stream, self._reader(stream) as reader:
                for batch in reader:
                    yield _as_text(batch, self._path, rows + 1)
                    rows += batch.num_rows
        except pa.ArrowInvalid as error:
            raise self._file_error(error, rows) from None
        with self._at_header() as stream:
            if not may_have_stray_quotes(stream, rows, self._dialect):
                return
        with self._at_header() as stream:
            if fault := quote_fault(stream, self._delimiter, self._dialect):
                row, detail = fault
                raise FileError(self._path, detail, row=row or None)

    def batches_past_faults(self) -> Iterator[tuple[pa.RecordBatch, dict[int, Refusal]]]:
        """Yield the records, and which have another width or are not UTF-8, as the service parses them.

        Raises:
            FileError: A value is far too long, or its quote is never closed.
        """
        most = batch_rows(len(self.names))
        for block, rows in enumerate(self._parsed_rows()):
            records = rows if block else rows[1:]  # without the header
            for start in range(0, len(records), most):
                yield _text_batch(records[start : start + most], self.names)

    def _at_header(self) -> pa.NativeFile:
        stream = self._open_file(self._plain)
        stream.read(self._dialect.preamble_bytes)
        return stream

    def _names(self, stream: pa.NativeFile) -> tuple[str, ...]:
        options = self._dialect.of_reader()
        lines = b""
        while block := stream.read(_HEADER_BYTES):
            lines += block
            try:
                row = first_row_of(lines, self._delimiter, **options)
            except BodyError:
                raise _too_long(self._path, 0, None) from None
            if row is not None or len(lines) > MAX_VALUE_BYTES:
                break
        else:
            row = first_row_of(lines + b"\n", self._delimiter, **options) if lines.strip() else None
            if row is None and lines.strip():
                raise FileError(self._path, _OPEN)
        if row is None:
            raise FileError(self._path, _EMPTY)
        names = tuple(row[0])
        if any("\0" in name for name in names):
            raise FileError(self._path, f'expected UTF-8 in the header, got NUL bytes; {_ENCODING} or "utf-16-le"')
        if not all(map(is_text, names)):
            raise FileError(self._path, f"expected UTF-8 in the header, got other bytes; {_ENCODING}")
        if self._dialect.quote is None and all(map(_SINGLE_QUOTED.fullmatch, names)):
            detail = f"expected names of columns, got all of them between single quotes; {_SINGLE_QUOTES}"
            raise FileError(self._path, detail)
        if len(names) == 1 and (others := self._other_delimiters(names[0], row[1])):
            expected, got = delimiter_name(self._delimiter), delimiter_name(others[0])
            in_toml = json.dumps(others[0])
            hint = f"set data.delimiter = {in_toml} in train.toml, or --delimiter '{in_toml[1:-1]}'"
            raise FileError(self._path, f"expected a header separated by {expected}, got {got}; {hint}")
        return names

    def _other_delimiters(self, name: str, records: bytes) -> list[str]:
        """Return what may separate names that were read as one; a mark that no record has belongs to the name."""
        marks = [mark for mark in _DELIMITERS if mark in name and mark != self._delimiter]
        return [mark for mark in marks if mark.encode() in records or not records.strip()]

    def _parsed_rows(self) -> Iterator[list[list[str]]]:
        """Yield the rows of blocks of lines, the header among them; bytes that are not UTF-8 are lone surrogates."""
        rest, rows_read = b"", 0
        with self._at_header() as stream:
            for block in blocks_of_lines(stream, self._path, BLOCK_BYTES):
                lines = rest + block
                if not lines.endswith(b"\n"):  # the last one
                    lines += b"\n"
                try:
                    rows, rest = rows_of(lines, self._delimiter, **self._dialect.of_reader())
                except BodyError:
                    raise _too_long(self._path, rows_read, None) from None
                rows_read += len(rows)
                if rows:
                    yield rows
        if rest:
            raise FileError(self._path, _OPEN)

    def _reader(self, stream: pa.NativeFile) -> pa_csv.CSVStreamingReader:
        # No handler of invalid rows: Arrow calls it from a thread of its own, which ends the process if it does so
        # while the interpreter shuts down. The row is in the error as well.
        dialect = self._dialect
        return pa_csv.open_csv(
            stream,
            # One thread: only then does the parser know the number of a bad row.
            read_options=pa_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            parse_options=pa_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=dialect.quote_character or False,
                double_quote=bool(dialect.quote_character) and dialect.escape is None,
                escape_char=dialect.escape or False,
                newlines_in_values=True,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(self.names, pa.binary()),
                null_values=list(CSV_NULLS),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )

    def _has_escaped_line_ends(self) -> bool:
        if self._dialect.escape is not None:
            return False
        with self._at_header() as stream:
            return any(b"\\\n" in block for block in blocks_of_lines(stream, self._path, BLOCK_BYTES))

    def _file_error(self, error: pa.ArrowInvalid, rows: int) -> FileError:
        """Return the parser's complaint in our words: its own hold the record itself."""
        detail = str(error)
        if wrong := _WRONG_WIDTH.search(detail):
            row = None if wrong["row"] is None else int(wrong["row"]) - 1
            found = int(wrong["found"])
            record = wrong["record"].rstrip("\r\n")
            cause = f"; {_JOINED}" if record.startswith(_MARK) else ""
            if row is not None and row <= _MOST_LINES_ABOVE and found > len(self.names) + 1:
                cause = cause or _LINES_ABOVE
            if found < len(self.names) and self._has_escaped_line_ends():
                cause = f"; the line above ends with a backslash. If it escapes the end of the line, {_ESCAPE}"
            cause = cause or _cause(record, found, self.names, self._delimiter, self._dialect)
            return FileError(self._path, wrong_width(len(self.names), found)[1] + cause, row=row)
        if "Empty CSV" in detail:
            return FileError(self._path, _EMPTY)
        if "straddling" in detail:
            return _too_long(self._path, rows + 1, None)
        return FileError(self._path, "expected CSV, got other text", row=rows + 1)


def may_have_stray_quotes(stream: pa.NativeFile, rows: int, dialect: Dialect) -> bool:
    """Tell whether the quotes of a stream are worth a closer look.

    They are where they are odd in number, where a backslash stands before one, and where values hold line ends.

    Args:
        stream: The file.
        rows: Records that were read from it.
        dialect: How it is written.
    """
    quote = dialect.quote_character.encode()
    if not quote or dialect.escape is not None:
        return False
    quotes, lines, escaped, last = 0, 0, False, b""
    while block := stream.read(BLOCK_BYTES):
        quotes += block.count(quote)
        lines += block.count(b"\n")
        escaped |= b"\\" + quote in last + block
        last = block[-1:]
    return quotes > 0 and (quotes % 2 == 1 or escaped or lines + (last != b"\n") > rows + 1)


def quote_fault(stream: pa.NativeFile, delimiter: str, dialect: Dialect) -> tuple[int, str] | None:
    """Return in which row the quotes of a stream are wrong, and what is; None if at most text follows a closing quote.

    This reads record by record, and is only worth it where `may_have_stray_quotes`.
    """
    text = io.TextIOWrapper(stream, "latin-1", newline="")  # for quotes and line ends any superset of ASCII will do
    escaped = '\\"'
    lines: list[str] = []
    row = 0  # the header's

    def noted() -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    try:
        for record in csv_reader(noted(), delimiter, strict=True, **dialect.of_reader()):
            lines.clear()
            row += bool(record)
    except csv.Error as error:
        if any(escaped in line for line in lines):
            return row, f"expected quotes within values to be doubled, got backslashes before them; {_ESCAPE}"
        if _AFTER_A_QUOTE not in str(error):
            return row, _OPEN
        if len(lines) > 1:
            return row, f"expected the end of a value after its closing quote, got more text lines below; {_NO_QUOTES}"
    return None


def _text_batch(rows: Sequence[list[str]], names: tuple[str, ...]) -> tuple[pa.RecordBatch, dict[int, Refusal]]:
    """Return rows as columns of text, and which rows are not records; those are null."""
    refused: dict[int, Refusal] = {}
    even: list[Sequence[str | None]] = []
    for at, row in enumerate(rows):
        fault = row_fault(row, len(names))
        if fault is None:
            even.append(row)
            continue
        code, detail = fault
        refused[at] = _refusal(code, f"{detail}; {_ESCAPE}" if row is ESCAPED_QUOTES else detail)
        has_all = len(row) == len(names)
        even.append([value if is_text(value) else None for value in row] if has_all else [None] * len(names))
    columns = [pa.array(values, pa.string()) for values in zip(*even, strict=True)]
    arrays = [pc.if_else(pc.is_in(column, _NULLS), None, column) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, names=list(names)), refused


def _as_text(batch: pa.RecordBatch, path: Path, first_row: int) -> pa.RecordBatch:
    """Return the columns, read as bytes, as text; the parser itself could not say in which row the text is wrong."""
    arrays: list[pa.Array] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy()
        if lengths.size and lengths.max() > MAX_VALUE_BYTES:
            raise _too_long(path, first_row + int(lengths.argmax()), shown(name))
        try:
            arrays.append(array.cast(pa.string()))
        except pa.ArrowInvalid:
            row = first_row + next(at for at, value in enumerate(array.to_pylist()) if not _is_utf8(value))
            raise FileError(
                path, f"expected UTF-8 text, got other bytes; {_ENCODING}", row=row, column=shown(name)
            ) from None
    if pc.any(pc.starts_with(arrays[0], _MARK)).as_py():
        quoted = pc.index(pc.starts_with(arrays[0], f'{_MARK}"'), value=True).as_py()
        if quoted >= 0:
            detail = f"expected a quote, got a byte order mark before it; {_JOINED}"
            raise FileError(path, detail, row=first_row + quoted)
        arrays[0] = pc.utf8_ltrim(arrays[0], _MARK)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _cause(record: str, found: int, names: tuple[str, ...], delimiter: str, dialect: Dialect) -> str:  # noqa: PLR0911
    """Return the likely cause of a record's wrong width, with what to do; nothing if there is none to see."""
    if dialect.escape is None and ('\\"' in record or f"\\{delimiter}" in record):
        return f"; quotes and delimiters seem to be escaped by backslashes: {_ESCAPE}"
    if "\0" in record:
        return "; the record has NUL bytes: was the file cut off, or is it still being written?"
    if len(names) == 1:
        return _LINES_ABOVE
    if found == 1 and record.strip() and delimiter not in _unquoted(record):
        return "; if it is no record but text below or above the table, as reports have, remove such lines"
    if record.endswith(delimiter) and found == len(names) + 1:
        return "; there seems to be a delimiter too many at the end of the records: add one to the header, or remove it"
    if found == len(names) - 1 and not names[-1]:
        return "; there seems to be a delimiter too many at the end of the header: remove it"
    if dialect.quote_character and dialect.quote_character in record:
        return f"; if quotes are letters like others here, {_NO_QUOTES}"
    if record.count("'") > 1 and dialect.quote is None:
        return f"; if values stand between single quotes, {_SINGLE_QUOTES}"
    if found == len(names) + 1:
        return "; if records begin with the name of their row, as of R's write.table, name that column in the header"
    return ""


def _unquoted(record: str) -> str:
    """Return a record without its quoted values; one whose quote stays open is as it is."""
    return _QUOTED.sub("", record)


def _too_long(path: Path, row: int, column: str | None) -> FileError:
    detail = f"expected values of at most {MAX_VALUE_BYTES} bytes, got a longer one (a quote that is never closed?)"
    return FileError(path, detail, row=row, column=column)

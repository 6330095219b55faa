"""CSV read as a stream of batches in which every value is still the text that the file holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from vaegis.service.errors import FileError
from vaegis.service.records.names import shown
from vaegis.service.records.reading import Refusal, batch_rows, texts_of
from vaegis.service.records.values import CSV_NULLS

BLOCK_BYTES = 4 << 20
MAX_VALUE_BYTES = 1 << 20
"""A longer value is refused: it is rather the rest of the file after a quote that is never closed."""

MAX_LEADING_ROWS = 100_000
"""More records of another width than the header's, before the first one of its width, are not gone on past.

The parser hands over nothing until it has found that one, so that they are held till then.
"""

_BadRow: TypeAlias = tuple[int | None, int, int]
"""Row as the parser counts (the header is row 1), values expected, values found."""
_Handler: TypeAlias = Callable[[pa_csv.InvalidRow], str]


def csv_names(stream: pa.NativeFile, path: Path) -> tuple[str, ...]:
    """Return the names in a CSV file's header."""
    bad_rows: deque[_BadRow] = deque()
    try:
        # While only the header is wanted, a ragged record is no reason to stop: reading will tell it.
        with _reader(stream, path, (), _passing(bad_rows)) as reader:
            names = tuple(reader.schema.names)
    except pa.ArrowInvalid as error:
        raise _told_in_passing(error, path, 0, bad_rows) from None
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
    bad_rows: deque[_BadRow] = deque()
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
    """Yield the records of a CSV stream as `read_csv` does, and which have another width or are not UTF-8.

    Raises:
        FileError: A value is far too long, so that it is not certain where the next record begins; or so many records
            have another width before the first one of the header's that this is another file's, or the delimiter is.
    """
    bad_rows: deque[_BadRow] = deque()
    rows = 0
    try:
        with _reader(stream, path, names, _passing(bad_rows)) as reader:
            # Another batch at the end, for what was passed over after the last one.
            nothing = pa.RecordBatch.from_arrays([pa.nulls(0, pa.binary())] * len(names), names=list(names))
            for batch in chain(reader, [nothing]):
                for whole, refused in _with_bad_rows(batch, rows, bad_rows):
                    yield _as_text(whole, path, rows + 1, refused), refused
                    rows += whole.num_rows
    except pa.ArrowInvalid as error:
        raise _told_in_passing(error, path, rows, bad_rows) from None


def _with_bad_rows(
    batch: pa.RecordBatch, rows: int, bad_rows: deque[_BadRow]
) -> Iterator[tuple[pa.RecordBatch, dict[int, Refusal]]]:
    """Yield a batch with nulls for the records that the parser passed over, and which those are; in bounded parts.

    Args:
        batch: What it did not pass over.
        rows: Number of records before.
        bad_rows: What it passed over from there on, of which those that have their place are taken away.
    """
    if not bad_rows:
        yield batch, {}
        return
    most = batch_rows(batch.num_columns)
    good = 0
    while good < batch.num_rows or _is_next(bad_rows, rows):
        refused: dict[int, Refusal] = {}
        sources: list[int | None] = []
        while len(sources) < most:
            if _is_next(bad_rows, rows + len(sources)):
                _, expected, found = bad_rows.popleft()
                refused[len(sources)] = _wrong_width(expected, found)
                sources.append(None)
            elif good < batch.num_rows:
                sources.append(good)
                good += 1
            else:
                break
        rows += len(sources)
        yield batch.take(pa.array(sources, pa.int64())), refused


def _is_next(bad_rows: deque[_BadRow], rows: int) -> bool:
    """Tell whether the parser passed over the record that comes after so many; it counts the header as well."""
    return bool(bad_rows) and bad_rows[0][0] == rows + 2


@lru_cache(maxsize=1024)
def _wrong_width(expected: int, found: int) -> Refusal:
    """Return the refusal of a record, the same one for all of its width: there may be millions."""
    return Refusal("wrong_width", _width(expected, found))


def _width(expected: int, found: int) -> str:
    return f"expected {expected} values as in the header, got {found}"


def _stopping(bad_rows: deque[_BadRow]) -> _Handler:
    """Return a function that ends the parsing at the first record of another width, and adds it to ``bad_rows``."""

    def refuse(row: pa_csv.InvalidRow) -> str:
        bad_rows.append((row.number, row.expected_columns, row.actual_columns))
        return "error"

    return refuse


def _passing(bad_rows: deque[_BadRow]) -> _Handler:
    """Return a function that adds records of another width to ``bad_rows``, and ends if too many lead the file."""
    leading = 0

    def refuse(row: pa_csv.InvalidRow) -> str:
        nonlocal leading
        bad_rows.append((row.number, row.expected_columns, row.actual_columns))
        leading += row.number == leading + 2  # it counts the header as well
        return "skip" if leading <= MAX_LEADING_ROWS else "error"

    return refuse


def delimiter_of(path: Path) -> str:
    """Return what parts the values of a CSV file: its name tells."""
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


def _as_text(
    batch: pa.RecordBatch, path: Path, first_row: int, refused: dict[int, Refusal] | None = None
) -> pa.RecordBatch:
    """Return the columns, read as bytes, as text; the parser itself could not say in which row the text is wrong.

    Records that are not UTF-8 are added to ``refused``; where that is None, they end the reading.
    """
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy()
        if lengths.size and lengths.max() > MAX_VALUE_BYTES:
            raise _too_long(path, first_row + int(lengths.argmax()), shown(name))
        try:
            arrays.append(array.cast(pa.string()))
        except pa.ArrowInvalid:
            if refused is not None:
                texts, bad = texts_of(array)
                arrays.append(texts)
                refused |= bad
                continue
            row = first_row + next(at for at, value in enumerate(array.to_pylist()) if not _is_utf8(value))
            raise FileError(path, "expected UTF-8 text, got other bytes", row=row, column=shown(name)) from None
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _told_in_passing(error: pa.ArrowInvalid, path: Path, rows: int, bad_rows: deque[_BadRow]) -> FileError:
    """Return the complaint of a parser that records of another width do not stop, unless too many lead the file."""
    if len(bad_rows) > MAX_LEADING_ROWS and bad_rows[MAX_LEADING_ROWS][0] == MAX_LEADING_ROWS + 2:
        _, expected, _ = bad_rows[0]
        detail = f"expected records of {expected} values as in the header, got none among the first {MAX_LEADING_ROWS}"
        return FileError(path, f"{detail} (another header, or another delimiter?)")
    return _told(error, path, rows, deque())


def _told(error: pa.ArrowInvalid, path: Path, rows: int, bad_rows: deque[_BadRow]) -> FileError:
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

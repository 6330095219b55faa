"""Read one file of each format as a stream of record batches. Memory is bounded by the batch."""

from __future__ import annotations

import codecs
import io
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pa_parquet

from vaegis.service.errors import FileError
from vaegis.service.files.batches import FileBatch, Refusals, batch_rows
from vaegis.service.files.csv import CsvFile
from vaegis.service.files.escapes import copy_with_escapes
from vaegis.service.files.formats import Dialect, FileFormat
from vaegis.service.files.ndjson import read_ndjson
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.sniffing import SNIFFED_BYTES, looks_like_json, looks_like_text, other_content
from vaegis.service.records.unwrapping import Unwrapper

_IPC_FILE_MAGIC = b"ARROW1"
_INSTANTS: Final[Mapping[str, Any]] = {"coerce_int96_timestamp_unit": "us"}
"""Older Parquet, as of Spark and Impala, holds instants that nanoseconds cannot: 9999-12-31 would become 1816-03-30."""
_COPIED_CHARACTERS = 1 << 20
_MARKS = (
    *((mark, "utf-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
    *((mark, "utf-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)
"""Byte order marks of other encodings; that of UTF-32 may begin with one of UTF-16."""
_AS_UTF8 = "leave out data.encoding in train.toml, or --encoding"
_NDJSON_NAME = "NDJSON, one object per line, is named .ndjson, and jq -c '.[]' writes the objects of an array so"
_HINTS = {
    ".geojson": _NDJSON_NAME,
    **dict.fromkeys((".zip", ".xz", ".7z", ".tar", ".tgz", ".lz4", ".rar", ".z"), "unpack it first"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".txt", ".tab", ".dat", ".psv"), "if it is CSV, name it .csv, or .tsv if it has tabs"),
    **dict.fromkeys((".avro", ".orc", ".sqlite", ".db", ".pkl", ".h5"), "convert it to Parquet first"),
    ".parq": "name it .parquet",
    ".log": "write the fields of its lines as CSV or NDJSON",
}


_FORMATS = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".arrows": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".ipc": FileFormat.ARROW,
    ".ndjson": FileFormat.NDJSON,
    ".jsonl": FileFormat.NDJSON,
    ".json": FileFormat.NDJSON,  # as many programs name it; a document over several lines is refused with its cure
}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def format_of(path: Path) -> FileFormat:
    """Return a file's format, by its extension. Text formats may have ``.gz``, ``.zst`` or ``.bz2`` after it."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compressed = bool(suffixes) and suffixes[-1] in _COMPRESSED
    named = suffixes[:-1] if compressed else suffixes
    found = _FORMATS.get(named[-1]) if named else None
    if found is None or (compressed and found not in {FileFormat.CSV, FileFormat.NDJSON}):
        known = " ".join(_FORMATS)
        hint = f"; {_HINTS[named[-1]]}" if named and named[-1] in _HINTS else "" if suffixes else _seems_to_be(path)
        raise FileError(path, f"expected one of the extensions {known}, got {''.join(suffixes) or 'none'}{hint}")
    return found


def column_names(path: Path, dialect: Dialect) -> tuple[str, ...] | None:
    """Return the column names in a file's header; None for NDJSON, which has no header."""
    with _reading(path):
        match format_of(path):
            case FileFormat.CSV:
                with _csv_file(path, dialect) as csv:
                    return csv.names
            case FileFormat.PARQUET | FileFormat.ARROW:
                return tuple(arrow_schema(path).names)
            case FileFormat.NDJSON:
                with _in_utf8(path, None) as plain, _input(plain) as stream:
                    _check_content(path, stream.read(SNIFFED_BYTES))
                return None


def arrow_schema(path: Path) -> pa.Schema:
    """Return the columns of a Parquet or Arrow file with their types."""
    with _reading(path):
        if format_of(path) is FileFormat.PARQUET:
            with pa_parquet.ParquetFile(path, **_INSTANTS) as file:
                return file.schema_arrow
        with pa.OSFile(str(path)) as source:
            return _ipc_schema(source)


def read_file(
    path: Path,
    max_depth: int,
    on_invalid: OnInvalid,
    dialect: Dialect,
    ignored: Collection[str] = (),
    unwrapper: Unwrapper | None = None,
) -> Iterator[FileBatch]:
    """Yield a file's records as they are; where faults are reported, also past those that cannot be read.

    Raises:
        FileError: The file cannot be read, or ends or breaks off in the middle.
    """
    with _reading(path):
        match format_of(path):
            case FileFormat.CSV:
                with _csv_file(path, dialect) as csv:
                    if on_invalid is OnInvalid.REPORT:
                        yield from _numbered(path, csv.batches_past_faults())
                    else:
                        yield from _numbered(path, ((batch, {}) for batch in csv.batches()))
            case FileFormat.PARQUET:
                yield from _numbered(path, ((batch, {}) for batch in _parquet_batches(path)))
            case FileFormat.ARROW:
                yield from _numbered(path, ((batch, {}) for batch in _ipc_batches(path)))
            case FileFormat.NDJSON:
                with _in_utf8(path, None) as plain, _input(plain) as stream:
                    reports = on_invalid is OnInvalid.REPORT
                    yield from read_ndjson(
                        stream, path, max_depth, reports=reports, ignored=ignored, unwrapper=unwrapper
                    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what can go wrong in reading into `FileError`, without any part of the file's content."""
    try:
        yield
    except FileNotFoundError:
        raise FileError(path, "no such file") from None
    except PermissionError:
        raise FileError(path, "permission denied") from None
    except IsADirectoryError:
        raise FileError(path, "expected a file, got a directory") from None
    except (pa.ArrowException, OSError, EOFError) as error:
        detail = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        message = f"not a valid {format_of(path)} file: {detail}"
        raise FileError(path, f"{message}{_seems_to_be(path)}") from None
    except UnicodeDecodeError:
        raise FileError(path, "expected UTF-8 in the names of columns, got other bytes") from None


def _seems_to_be(path: Path) -> str:
    """Return what a file that cannot be read seems to hold instead, as the end of a message."""
    try:
        with path.open("rb") as file:
            beginning = file.read(SNIFFED_BYTES)
    except OSError:
        return ""
    compression = _COMPRESSED.get(path.suffix.lower())
    named = compression or (str(format_of(path)) if path.suffix else "")
    if found := other_content(beginning, (named,)):
        return f"; it seems to be {found}"
    if other_content(beginning) is not None:
        return f"; it begins like {named}: was it cut off, or is it still being written?"
    if not looks_like_text(beginning):
        return ""
    return f"; it seems to be text: name it {'without ' + path.suffix if compression else '.csv or .ndjson'}"


def _check_content(path: Path, beginning: bytes) -> None:
    """Refuse a file of text that is another one by its first bytes."""
    named = format_of(path)
    if found := other_content(beginning):
        raise FileError(path, f"expected {named}, got {found}")
    if named is FileFormat.CSV and looks_like_json(beginning):
        raise FileError(path, f"expected CSV, got JSON; {_NDJSON_NAME}")


def _input(path: Path) -> pa.NativeFile:
    return pa.input_stream(str(path), compression=_COMPRESSED.get(path.suffix.lower()))


def _numbered(path: Path, batches: Iterator[tuple[pa.RecordBatch, Refusals]]) -> Iterator[FileBatch]:
    """Yield batches with the row of their first record, each of bounded size."""
    row = 1
    for batch, refused in batches:
        yield from FileBatch(batch, path, row, refused).parts(batch_rows(batch.num_columns))
        row += batch.num_rows


@contextmanager
def _in_utf8(path: Path, encoding: str | None) -> Iterator[Path]:
    """Give a text file in UTF-8: itself, or a temporary copy. If no encoding is set, a byte order mark tells which."""
    with _input(path) as stream:
        beginning = stream.read(len(codecs.BOM_UTF32))
    if encoding is None:
        encoding = next((name for mark, name in _MARKS if beginning.startswith(mark)), None)
    elif beginning.startswith(codecs.BOM_UTF8):
        raise FileError(path, f"expected text in the encoding {encoding}, got a byte order mark of UTF-8; {_AS_UTF8}")
    if encoding is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vaegis-") as folder:
        yield _utf8_copy(path, Path(folder, "records"), encoding)


@contextmanager
def _csv_file(path: Path, dialect: Dialect) -> Iterator[CsvFile]:
    with _in_utf8(path, dialect.other_encoding) as plain:
        with _input(plain) as stream:
            beginning = stream.read(SNIFFED_BYTES)
        _check_content(path, beginning)
        its_dialect = dialect.of_file(beginning)
        with _with_escapes(path, plain, its_dialect) as copy:
            yield CsvFile(path, copy, _input, its_dialect)


@contextmanager
def _with_escapes(path: Path, plain: Path, dialect: Dialect) -> Iterator[Path]:
    """Give a CSV file in which the escape character, if there is one, has the meaning that the parsers give it."""
    escape, quote = dialect.escape, dialect.quote_character
    if not escape or escape == quote:
        yield plain
        return
    with tempfile.TemporaryDirectory(prefix="vaegis-") as folder, _input(plain) as stream:
        delimiter = dialect.delimiter_of(path)
        copy = Path(folder, "escaped")
        yield copy_with_escapes(stream, copy, path, delimiter=delimiter, quote=quote, escape=escape)


def _utf8_copy(path: Path, copy: Path, encoding: str) -> Path:
    try:
        with _input(path) as stream, copy.open("w", encoding="utf-8", newline="") as written:
            text = io.TextIOWrapper(stream, encoding, newline="")
            while part := text.read(_COPIED_CHARACTERS):
                written.write(part)
    except UnicodeError:
        raise FileError(path, f"expected text in the encoding {encoding}, got other bytes") from None
    return copy


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    # A bounded buffer instead of whole column chunks in memory.
    with pa_parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, **_INSTANTS) as file:
        yield from file.iter_batches(batch_size=batch_rows(len(file.schema_arrow.names)), use_threads=False)


def _ipc_batches(path: Path) -> Iterator[pa.RecordBatch]:
    # Mapped rather than read: a file may hold all its records in one batch.
    with pa.memory_map(str(path)) as source:
        if _is_ipc_file(source):
            with pa.ipc.open_file(source) as reader:
                for at in range(reader.num_record_batches):
                    yield reader.get_batch(at)
        else:
            with pa.ipc.open_stream(source) as stream:
                yield from stream


def _ipc_schema(source: pa.NativeFile) -> pa.Schema:
    opened = pa.ipc.open_file(source) if _is_ipc_file(source) else pa.ipc.open_stream(source)
    with opened as reader:
        return reader.schema


def _is_ipc_file(source: pa.NativeFile) -> bool:
    magic = source.read(len(_IPC_FILE_MAGIC))
    source.seek(0)
    return bool(magic == _IPC_FILE_MAGIC)

"""Read a file or a folder of records as one stream of flat record batches, in constant memory."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable
from urllib.parse import unquote

import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.files.batches import MAX_LINE_BYTES, FileBatch, Refusal, texts_of
from vaegis.service.files.byte_columns import ByteColumns
from vaegis.service.files.formats import Dialect, FileFormat
from vaegis.service.files.readers import column_names, format_of, read_file
from vaegis.service.records.column_names import shown
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.unwrapping import Unwrapper

MAX_DEPTH = 32
"""Levels of objects within a record that are flattened where the caller sets no limit of its own."""

PLAIN = Dialect()
"""CSV as its extension says, in UTF-8."""

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_PATTERN = re.compile(r"[*?\[]")
_BAD_INDEX = re.compile(r"at string index (\d+)")


@runtime_checkable
class RecordSource(Protocol):
    """Records that are read in batches: files, or what stands in memory."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in the order in which they are read."""

    @property
    def format(self) -> FileFormat:
        """The format of all of them."""

    @property
    def size_bytes(self) -> int:
        """Their size; 0 if it is unknown."""

    def batches(self, on_invalid: OnInvalid = OnInvalid.REJECT) -> Iterator[FileBatch]:
        """Yield all records."""


@dataclass(frozen=True, slots=True)
class RecordFiles:
    """Files that can be read as one stream, as often as wanted.

    Attributes:
        max_depth: Levels of objects within a record that are flattened.
        partitions: For each file, the columns that its folders give it: `year=2024` is the column `year`.
        ignored: Columns whose values nothing reads, so that they may be of any type.
        skips_nulls: Whether envelopes whose record is null are skipped, rather than refused.
    """

    paths: tuple[Path, ...]
    format: FileFormat
    size_bytes: int
    max_depth: int
    partitions: Mapping[Path, Mapping[str, str | None]] = field(default_factory=dict)
    dialect: Dialect = PLAIN
    ignored: frozenset[str] = frozenset()
    skips_nulls: bool = False

    def batches(self, on_invalid: OnInvalid = OnInvalid.REJECT) -> Iterator[FileBatch]:
        """Yield all records, file by file.

        Args:
            on_invalid: Whether a record that cannot be read ends the reading, or is reported in its place.

        Raises:
            FileError: A file cannot be read further; names the file, and row and column where they are known.
        """
        byte_columns = ByteColumns(self.ignored)
        for path in self.paths:
            columns = self.partitions.get(path, {})
            for batch in read_file(path, self.max_depth, on_invalid, self.dialect, self.ignored, self._unwrapper()):
                refused = dict(batch.refused)
                reported = refused if on_invalid is OnInvalid.REPORT else None
                try:
                    flat = flat_batch(batch.batch, path, batch.first_row, self.max_depth, reported, byte_columns)
                except UnicodeDecodeError:  # Arrow decodes a name only when it is asked for.
                    raise FileError(path, "expected UTF-8 in the names of columns, got other bytes") from None
                yield _with_columns(replace(batch, batch=flat, refused=refused), columns)

    def _unwrapper(self) -> Unwrapper | None:
        pointer = self.dialect.unwrap
        if pointer is None:
            return None
        return Unwrapper(pointer, max_depth=self.max_depth, max_values=MAX_LINE_BYTES, skips_nulls=self.skips_nulls)


def open_records(
    path: Path,
    *,
    max_depth: int = MAX_DEPTH,
    dialect: Dialect = PLAIN,
    ignored: Collection[str] = (),
    skips_nulls: bool = False,
    columns_above: Collection[str] = (),
) -> RecordFiles:
    """Find the files under ``path`` and check that they can be read as one stream.

    A folder is searched to any depth, in order of name; files and folders whose names begin with a dot or an
    underscore are skipped, and so are empty files. Folders named `key=value` give the records below them a column.
    All files must be of one format and, where it has headers, have the same columns.

    Args:
        path: A file or a folder.
        max_depth: Levels of objects within a record that are flattened.
        dialect: How CSV and NDJSON files are written.
        ignored: Columns that may hold values of any type, because nothing reads them.
        skips_nulls: Whether envelopes whose record is null, such as deletions, are skipped rather than refused.
        columns_above: Columns that folders above ``path`` give as well: a file of a folder is scored as the folder is.

    Raises:
        FileError: There is no file, one has an unknown extension or cannot be opened, or two do not fit together.
    """
    if wrong := dialect.fault():
        raise FileError(path, wrong)
    paths = _found(path)
    formats = [format_of(found) for found in paths]
    for found, its_format in zip(paths, formats, strict=True):
        if its_format is not formats[0]:
            raise FileError(found, f"expected {formats[0]} as in {paths[0]}, got {its_format}")
    if dialect.unwrap is not None and formats[0] is not FileFormat.NDJSON:
        raise FileError(paths[0], f"unwrap: expected NDJSON, whose objects may be envelopes, got {formats[0]}")
    _check_headers(paths, dialect)
    folder = (path if path.is_dir() else path.parent).resolve()
    above = {name: value for name, value in _partition(folder.parts).items() if name in columns_above}
    partitions = {found: above | _partition(found.parts[len(path.parts) : -1]) for found in paths}
    return RecordFiles(
        paths,
        formats[0],
        sum(found.stat().st_size for found in paths),
        max_depth,
        partitions,
        dialect,
        frozenset(ignored),
        skips_nulls,
    )


def flat_batch(
    batch: pa.RecordBatch,
    path: Path,
    first_row: int,
    max_depth: int,
    refused: dict[int, Refusal] | None,
    byte_columns: ByteColumns,
) -> pa.RecordBatch:
    """Return a batch whose objects have become columns, unless they are ignored, with plain types and checked content.

    Args:
        batch: The records.
        path: Their file, for messages.
        first_row: Row of the first one, from 1.
        max_depth: Levels of objects within a record that are flattened.
        refused: Collects records with text that is not UTF-8; where it is None, these end the reading.
        byte_columns: Gives the columns of bytes of all batches of the stream.

    Raises:
        FileError: A name comes twice, an object nests too deep, or text is not UTF-8.
    """
    names: list[str] = []
    arrays: list[pa.Array] = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        for full_name, leaf in _leaves(name, array, path, max_depth, byte_columns.ignored):
            names.append(full_name)
            checked = _checked(leaf, path, first_row, full_name, refused)
            arrays.append(byte_columns.text_of(full_name, checked, path, first_row, refused))
    _check_names(tuple(names), path)
    if not arrays:
        # Records without any column keep their number, which a batch without columns cannot tell.
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _found(path: Path) -> tuple[Path, ...]:
    if not path.exists():
        hint = "; a folder of files is read as one: name the folder" if _PATTERN.search(path.name) else ""
        if path == Path("-"):
            hint = "; only `vaegis score` reads standard input: save the records to a file first"
        raise FileError(path, f"no such file{hint}")
    if path.is_file():
        return (path,)
    if not path.is_dir():
        way = "`vaegis score` reads standard input as -, with --format; for training, save the records to a file"
        raise FileError(path, f"expected a file or a folder, got a pipe or a device; {way}")
    found = tuple(
        sorted(
            inner
            for inner in path.rglob("*")
            if inner.is_file()
            and inner.stat().st_size
            and not any(part.startswith((".", "_")) for part in inner.relative_to(path).parts)
        )
    )
    if not found:
        raise FileError(path, "expected files of records in the folder, found none")
    return found


def _partition(folders: tuple[str, ...]) -> dict[str, str | None]:
    """Return the columns that folders named `key=value` give, as Hive writes them."""
    pairs = (folder.partition("=") for folder in folders if "=" in folder)
    return {unquote(key): None if value == _HIVE_NULL else unquote(value) for key, _, value in pairs if key}


def _with_columns(part: FileBatch, columns: Mapping[str, str | None]) -> FileBatch:
    """Return a batch with columns of one value, unless its records have them."""
    batch = part.batch
    new = {name: value for name, value in columns.items() if name not in batch.schema.names}
    if not new:
        return part
    for name, value in new.items():
        batch = batch.append_column(name, pa.array([value] * part.batch.num_rows, pa.string()))
    parsed = part.parsed
    if parsed is not None:
        parsed = [record | new if isinstance(record, dict) else record for record in parsed]
    return replace(part, batch=batch, parsed=parsed)


def _check_headers(paths: tuple[Path, ...], dialect: Dialect) -> None:
    """Refuse a column that comes twice in a file, or that only some of the files have."""
    first: frozenset[str] | None = None
    for path in paths:
        names = column_names(path, dialect)
        if names is None:
            continue
        _check_names(names, path)
        here = frozenset(names)
        first = here if first is None else first
        if here != first:
            name = min(here ^ first)
            came = "one more" if name in here else "none of this name"
            raise FileError(path, f"expected the columns of {paths[0]}, got {came}", column=shown(name))


def _check_names(names: tuple[str, ...], path: Path) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            above = "the first line is taken for the header: remove lines above the names of the columns"
            hint = "give each column a name of its own" if name else above
            raise FileError(path, f"expected each column name once, got one twice; {hint}", column=shown(name))
        seen.add(name)


def _leaves(
    name: str, array: pa.Array, path: Path, levels: int, ignored: Collection[str]
) -> Iterator[tuple[str, pa.Array]]:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if not pa.types.is_struct(array.type) or name in ignored:
        yield name, array
        return
    if levels == 0:
        raise FileError(path, "expected less nesting, got more levels than allowed", column=shown(name))
    # `flatten`, unlike pyarrow's `field`, carries the nulls of the object to its fields.
    for part, inner in zip(array.type, array.flatten(), strict=True):
        yield from _leaves(f"{name}.{part.name}", inner, path, levels - 1, ignored)


def _checked(array: pa.Array, path: Path, first_row: int, column: str, refused: dict[int, Refusal] | None) -> pa.Array:
    """Return an array in a plain type, after checking that its offsets lie inside and its text is UTF-8."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid as error:
        place = _BAD_INDEX.search(str(error))
        if refused is not None and place and _is_text(array.type):
            try:
                texts, bad = texts_of(_bytes_of(array))
            except pa.ArrowIndexError:
                detail = "expected indices within their dictionary, got one outside"
                raise FileError(path, detail, column=shown(column)) from None
            refused |= bad | refused
            return texts
        # Of a dictionary or a list, the place is that among its values.
        nests = pa.types.is_dictionary(array.type) or array.type.num_fields > 0
        row = first_row + int(place[1]) if place and not nests else None
        raise FileError(path, "expected UTF-8 text, got other bytes", row=row, column=shown(column)) from None
    if pa.types.is_dictionary(array.type):
        array = _decoded(array)
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    return array


def _decoded(array: pa.DictionaryArray) -> pa.Array:
    """Return a dictionary's values in their places. Arrow has no such function for views of text, as polars writes."""
    if pa.types.is_string_view(array.type.value_type):
        array = pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.string()))
    return array.dictionary_decode()


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain))


def _bytes_of(text: pa.Array) -> pa.Array:
    """Return text whose offsets lie inside, but that may not be UTF-8, as bytes."""
    if pa.types.is_dictionary(text.type):
        # Made anew, it looks at its indices, which a check that ended at the text has not come to.
        values = text.dictionary.cast(pa.large_binary())
        return pa.DictionaryArray.from_arrays(text.indices, values).dictionary_decode()
    return text.cast(pa.large_binary())

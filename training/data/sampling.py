"""Draw a uniform sample of a stream of records in constant memory, in the pass that profiles them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vaegis.service.contract import NumberForm, Reading
from vaegis.service.errors import FileError
from vaegis.service.files.arrow_columns import RefusedCellError, categories_of, numbers_of, read_array
from vaegis.service.files.batches import FileBatch
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.record_files import RecordSource
from vaegis.service.records.column_names import Parents, setting_of, shown
from vaegis.service.records.kinds import number_kind_named
from vaegis.service.records.reading import reader_for
from vaegis.training.config import GROUP_KIND, TIME_KIND, ColumnSettings, Kind, TrainConfig
from vaegis.training.data.joining import joined
from vaegis.training.data.profiling.profile import DataProfile, Form, Profiler, form_of
from vaegis.training.data.row_location import RowLocation
from vaegis.training.errors import DataError

_FULL_AT = 1.5
"""How many times its limit of bytes a sample may grow before it is cut back to it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Records drawn from all that were read, each with the same chance, in their order.

    Attributes:
        table: The records as the files hold them, n of them; see `joined` for columns whose types differ.
        rows: Position of each among all records read, from 0, ascending, shape (n,).
        starts: The first record of each file, and of each part of it between blank lines, with its position among all.
    """

    table: pa.Table
    rows: NDArray[np.int64]
    starts: tuple[tuple[int, RowLocation], ...]

    def __len__(self) -> int:
        return int(self.rows.size)

    def location(self, index: int) -> RowLocation:
        """Return where the record at ``index`` of the sample stands."""
        return _location(self.starts, int(self.rows[index]))

    def numbers(
        self, name: str, kind: Kind, reading: Reading | None = None, number_form: NumberForm = "epoch"
    ) -> NDArray[np.float64]:
        """Return a column as ``kind``, shape (n,), NaN where null; infinite values become null.

        Args:
            name: The column.
            kind: What its values are read as.
            reading: How they are written, where the common rules do not say it.
            number_form: What numbers mean in a timestamp.

        Raises:
            DataError: Naming file, row and column of a value that is not of the kind.
        """
        reader = None if reading is None else reader_for(reading)
        try:
            return numbers_of(self._column(name), number_kind_named(kind, number_form), reader, infinities="null")
        except RefusedCellError as refusal:
            also = "" if reader is None else reader.explained(refusal.code, "")
            how = f"{also}: correct the record, or what train.toml says of the column" if also else ""
            raise self._refused(name, refusal, how) from None

    def categories(self, name: str) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
        """Return a column's categories and which of them are not null, each of shape (n,).

        Raises:
            DataError: Naming file, row and column of a value that names no category.
        """
        try:
            return categories_of(self._column(name))
        except RefusedCellError as refusal:
            raise self._refused(name, refusal) from None

    def first(self, name: str, text: str) -> RowLocation | None:
        """Return where a column of text first holds ``text``; None where no record of the sample does."""
        column = self._column(name)
        at = pc.index(column, text).as_py() if pa.types.is_string(column.type) else -1
        return None if at < 0 else self.location(at)

    def groups(self, name: str) -> NDArray[np.int64]:
        """Return a number for each distinct value of a column, shape (n,); -1 where null."""
        codes = self._column(name).dictionary_encode().indices
        groups: NDArray[np.int64] = codes.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return groups

    def _column(self, name: str) -> pa.Array:
        """Return a column; one that only records outside the sample have is null in all of it."""
        return self.table[name].combine_chunks() if name in self.table.schema.names else pa.nulls(len(self))

    def _refused(self, name: str, refusal: RefusedCellError, how: str = "") -> DataError:
        return DataError(f"{self.location(refusal.index)}, column {shown(name)}: {refusal}{how}")


def profile_and_sample(
    records: RecordSource,
    config: TrainConfig,
    generator: np.random.Generator,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[DataProfile, Sample]:
    """Read the files once: profile every record and keep a uniform sample.

    Args:
        records: The files, or records in memory.
        config: Sections `[data]` and `[kinds]` bound the sample and the profile. Columns to ignore are not kept, but
            for one that the records are split by.
        generator: Draws the sample.
        on_batch: Called with the number of records read so far.

    Raises:
        DataError: There are no records, a file cannot be read, or a value is not of the kind that is set for its
            column; names the file, and row and column where they are known.
    """
    time_column = config.data.time_column
    ignored = {name for name, column in config.columns.items() if column.kind == "ignore"}
    is_csv = records.format is FileFormat.CSV
    profiler = Profiler(is_text=is_csv, max_distinct=config.kinds.max_distinct)
    kinds: dict[str, Kind] = {
        name: column.kind
        for name, column in config.columns.items()
        if column.kind is not None and column.kind != "ignore"
    }
    if time_column in ignored:  # it is not scored, but splits all the same
        ignored.remove(time_column)
        kinds[time_column] = TIME_KIND
    if config.splits.group_column is not None:
        ignored.discard(config.splits.group_column)
        kinds.setdefault(config.splits.group_column, GROUP_KIND)
    sampler = Sampler(config.data.max_records, config.data.max_sample_bytes, generator, kinds)
    read = rows = 0
    try:
        for whole in records.batches():
            for part in _without_blank_lines(whole) if is_csv else (whole,):
                batch = replace(part, batch=_without_nulls(part.batch, config))
                profiler.add(batch)
                kept = _without_unscored(batch.batch, ignored, kinds)
                sampler.add(FileBatch(kept, batch.path, batch.first_row))
                read += batch.batch.num_rows
            rows += whole.batch.num_rows
            if on_batch is not None:
                on_batch(rows)
    except FileError as error:
        raise DataError(str(error)) from error
    if not read:
        others = f" and {len(records.paths) - 1} more files" if len(records.paths) > 1 else ""
        raise DataError(f"{records.paths[0]}{others}: expected records, got none")
    profile = profiler.finish(blank_lines=rows - read)
    return _objects_checked(profile) if records.format is FileFormat.NDJSON else profile, sampler.finish()


def _without_blank_lines(whole: FileBatch) -> Iterator[FileBatch]:
    """Yield the parts of a batch of CSV between lines that hold no value: spreadsheets leave such lines at the end."""
    columns = whole.batch.columns
    if len(columns) == 1 or not all(column.null_count for column in columns):
        yield whole
        return
    is_blank = np.logical_and.reduce([column.is_null().to_numpy(zero_copy_only=False) for column in columns])
    edges = np.flatnonzero(np.diff(np.concatenate([[True], is_blank, [True]]).astype(np.int8)))
    for start, end in edges.reshape(-1, 2).tolist():
        yield FileBatch(whole.batch.slice(start, end - start), whole.path, whole.first_row + start)


def _without_nulls(batch: pa.RecordBatch, config: TrainConfig) -> pa.RecordBatch:
    """Return a batch in which empty texts, and what the settings take for nulls, are null."""
    arrays = []
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        column = config.columns.get(name, ColumnSettings())
        nulls = config.data.null_values if column.null_values is None else column.null_values
        read = read_array(array, reader_for(Reading(null_values=tuple(nulls)))) if nulls else array
        arrays.append(_without_empty(read) if pa.types.is_string(read.type) else read)
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names) if arrays else batch


def _without_empty(texts: pa.Array) -> pa.Array:
    is_empty = pc.equal(pc.binary_length(texts), 0)
    return pc.if_else(is_empty, None, texts) if pc.any(is_empty).as_py() else texts


def _without_unscored(batch: pa.RecordBatch, ignored: Collection[str], kinds: Collection[str]) -> pa.RecordBatch:
    """Return a batch without what nothing reads: ignored columns, and lists and the like for which no kind is set.

    Arrow cannot take single values of some of these types.
    """
    return batch.select(
        [
            field.name
            for field in batch.schema
            if field.name not in ignored and (field.name in kinds or form_of(field.type) is not Form.OTHER)
        ]
    )


def _objects_checked(profile: DataProfile) -> DataProfile:
    """Return a profile of NDJSON without columns that are objects, but null in the first batches.

    Raises:
        DataError: A column holds objects in some batches and other values in others.
    """
    parents = Parents(column.name for column in profile.columns)
    objects = [column for column in profile.columns if column.name in parents]
    for name, value in ((column.name, column.first) for column in objects):
        within = (column.first for column in profile.columns if column.name.startswith(f"{name}."))
        if value is not None and (inner := next(filter(None, within), None)) is not None:
            raise DataError(
                f"{inner}, column {shown(name)}: expected values of one form, got an object here and another value at "
                f'{value}; only an ignored column may hold both: set {setting_of(name, "kind")} = "ignore" in '
                "train.toml"
            )
    return replace(
        profile, columns=tuple(column for column in profile.columns if column not in objects or column.first)
    )


class Sampler:
    """Keeps a uniform sample of a stream: every record draws a key, and those of the smallest keys are kept.

    So each set of records of the sample's size is as likely as any other, and the sample depends only on the seed and
    the records' positions, not on how they come in batches.
    """

    def __init__(
        self, max_records: int, max_bytes: int, generator: np.random.Generator, kinds: Mapping[str, Kind]
    ) -> None:
        """Begin.

        Args:
            max_records: Most records kept.
            max_bytes: Most memory of them, in bytes.
            generator: Draws the keys.
            kinds: The kinds of columns that are set, for those whose types differ.
        """
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._generator = generator
        self._kinds = kinds
        self._read = 0
        self._starts: list[tuple[int, RowLocation]] = []
        self._tables: list[pa.Table] = []
        self._keys: list[NDArray[np.float64]] = []
        self._rows: list[NDArray[np.int64]] = []
        self._buffered_records = 0
        self._buffered_bytes = 0
        self._largest_key = 1.0

    def add(self, batch: FileBatch) -> None:
        """Offer the records of a batch to the sample."""
        n = batch.batch.num_rows
        if not self._starts or _location(self._starts, self._read) != RowLocation(batch.path, batch.first_row):
            self._starts.append((self._read, RowLocation(batch.path, batch.first_row)))
        keys = self._generator.random(n)
        at = np.flatnonzero(keys < self._largest_key)
        if at.size:
            table = pa.Table.from_batches([batch.batch])
            # Taking copies the records, so that the whole batch can be let go.
            table = table if at.size == n else table.take(pa.array(at))
            self._tables.append(table)
            self._keys.append(keys[at])
            self._rows.append(self._read + at)
            self._buffered_records += at.size
            self._buffered_bytes += table.nbytes
        self._read += n
        full = self._buffered_records >= 2 * self._max_records
        if full or self._buffered_bytes >= _FULL_AT * self._max_bytes:
            self._prune()

    def finish(self) -> Sample:
        """Return the sample."""
        self._prune()
        return Sample(self._tables[0], self._rows[0], tuple(self._starts))

    def _prune(self) -> None:
        """Keep the records of the smallest keys, as one table in the order in which they came."""
        if not self._tables:
            self._tables, self._keys = [pa.table({})], [np.empty(0)]
            self._rows = [np.empty(0, dtype=np.int64)]
            return
        table = joined(self._tables, self._kinds, lambda at, row: _location(self._starts, int(self._rows[at][row])))
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        # Once records prove large, the sample stays as small as they make it: it is then still uniform.
        self._max_records = min(self._max_records, max(1, int(keys.size * self._max_bytes / max(1, table.nbytes))))
        capacity = self._max_records
        if keys.size > capacity:
            kept = np.sort(np.argpartition(keys, capacity - 1)[:capacity])
            table, keys, rows = table.take(pa.array(kept)), keys[kept], rows[kept]
            self._largest_key = float(keys.max())
        self._tables, self._keys, self._rows = [table.combine_chunks()], [keys], [rows]
        self._buffered_records, self._buffered_bytes = keys.size, self._tables[0].nbytes


def _location(starts: Sequence[tuple[int, RowLocation]], row: int) -> RowLocation:
    """Return where the record at ``row`` of all that were read stands."""
    start, first = starts[bisect_right([start for start, _ in starts], row) - 1]
    return RowLocation(first.path, first.row + row - start)

"""Read labelled records by the service's own rules, as a bounded sample."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns, stacked
from vaegis.service.contract import Schema
from vaegis.service.errors import FileError
from vaegis.service.files.arrow_columns import RefusedCellError, columns_from_batch, numbers_of
from vaegis.service.files.batches import FileBatch
from vaegis.service.files.formats import Dialect
from vaegis.service.files.record_files import PLAIN, open_records
from vaegis.service.records.column_names import nearest_hint, shown
from vaegis.service.records.kinds import BOOLEAN
from vaegis.training.errors import EvaluationError


@dataclass(frozen=True, slots=True)
class Labelled:
    """Records drawn from all that were read, in their order.

    Attributes:
        columns: The records, n of them.
        labels: Which of them are anomalies, shape (n,); all False where no label column was named.
        read: Number of records read.
    """

    columns: Columns
    labels: NDArray[np.bool_]
    read: int


def read_labelled(
    path: Path,
    schema: Schema,
    *,
    label_column: str | None,
    max_records: int,
    generator: np.random.Generator,
    infinities: Literal["refuse", "null"] = "refuse",
    dialect: Dialect = PLAIN,
) -> Labelled:
    """Read a file or a folder of records, at a memory that ``max_records`` bounds.

    Args:
        path: CSV, Parquet, Arrow or NDJSON.
        schema: The model's columns.
        label_column: Column that is 1 or true for an anomaly and 0 or false for a normal record; None: there is none.
        max_records: Most records kept, a uniform sample of those read.
        generator: Draws the sample.
        infinities: Whether an infinite value is refused, as in serving, or becomes a null, as in training.
        dialect: How CSV and NDJSON files are written.

    Raises:
        FileError: A file cannot be read, holds no records, or a value in it is refused; names the file, and row and
            column where they are known.
        EvaluationError: The model scores the label column.
    """
    if label_column in schema.names:
        raise EvaluationError(
            f"{shown(label_column or '')}: the label column is one that the model scores; train again without it"
        )
    kept = _Kept(max_records, generator)
    ignored = {column.name for column in schema.ignored} - {label_column}
    names = schema.of_records.names
    files = open_records(path, dialect=dialect, ignored=ignored, skips_nulls=True, columns_above=names)
    for batch in files.batches():
        labels = _labels(batch, label_column)
        records = batch.batch if label_column is None else batch.batch.drop_columns([label_column])
        columns = columns_from_batch(
            records, schema.of_records, path=batch.path, first_row=batch.first_row, infinities=infinities
        )
        kept.append(columns.first(len(schema.number_positions), len(schema.string_positions)), labels)
    if kept.columns is None:
        raise FileError(path, "expected records, got none")
    kept.prune()
    return Labelled(kept.columns, kept.labels, kept.read)


def _labels(batch: FileBatch, label_column: str | None) -> NDArray[np.bool_]:
    """Return which records of a batch are anomalies; raise `FileError` at the first without a label."""
    if label_column is None:
        return np.zeros(batch.batch.num_rows, dtype=np.bool_)
    names = batch.batch.schema.names
    if label_column not in names:
        hint = nearest_hint(label_column, names)
        raise FileError(batch.path, f"expected the label column {shown(label_column)}, got none of this name{hint}")
    try:
        labels = numbers_of(batch.batch[label_column], BOOLEAN)
    except RefusedCellError as refusal:
        row = batch.first_row + refusal.index
        raise FileError(batch.path, str(refusal), row=row, column=shown(label_column)) from None
    missing = np.flatnonzero(np.isnan(labels))
    if missing.size:
        row = batch.first_row + int(missing[0])
        raise FileError(batch.path, "expected a label, got null", row=row, column=shown(label_column))
    is_anomaly: NDArray[np.bool_] = labels == 1.0
    return is_anomaly


@dataclass(slots=True)
class _Kept:
    """A uniform sample of a stream: every record draws a key, and those of the smallest keys are kept."""

    max_records: int
    generator: np.random.Generator
    columns: Columns | None = None
    labels: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    read: int = 0
    _keys: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def append(self, columns: Columns, labels: NDArray[np.bool_]) -> None:
        self.columns = columns if self.columns is None else stacked((self.columns, columns))
        self.labels = np.concatenate([self.labels, labels])
        self._keys = np.concatenate([self._keys, self.generator.random(labels.size)])
        self.read += labels.size
        if self._keys.size > 2 * self.max_records:
            self.prune()

    def prune(self) -> None:
        if self.columns is not None and self._keys.size > self.max_records:
            smallest = np.sort(np.argpartition(self._keys, self.max_records - 1)[: self.max_records])
            self.columns, self.labels = self.columns.rows(smallest), self.labels[smallest]
            self._keys = self._keys[smallest]

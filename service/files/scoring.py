"""Score files of records as a stream: the output has the columns of the input and those of the verdict."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyarrow as pa

from vaegis.service.errors import FileError
from vaegis.service.files.arrow_columns import block_past_faults, fault_of_file
from vaegis.service.files.batches import batch_rows
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.output import Output, opened, write_lines
from vaegis.service.files.readers import arrow_schema, column_names
from vaegis.service.files.record_files import RecordFiles
from vaegis.service.files.tables import common_schema, fitted, json_records, table_writer
from vaegis.service.files.verdict_table import verdict_arrays, verdict_types
from vaegis.service.model import Model
from vaegis.service.records.blocks import Block
from vaegis.service.records.column_names import UnknownColumns, almost_known_columns, shown
from vaegis.service.records.faults import OnInvalid
from vaegis.service.score_result import ScoreResult
from vaegis.service.verdicts import Explain

_Write: TypeAlias = Callable[[pa.RecordBatch, ScoreResult], None]


@dataclass(frozen=True, slots=True)
class ScoreFilesOptions:
    """How records are judged and written.

    Attributes:
        alpha: A record is an anomaly when its p-value is at most this.
        explain: Which records come with contributions.
        unknown_columns: Whether columns that the model does not know are refused, or only copied.
        prefix: What the names of the verdict's columns begin with.
        on_invalid: Whether a record that does not fit the model's schema ends the work, or is written with its faults.
    """

    alpha: float
    explain: Explain
    unknown_columns: UnknownColumns
    prefix: str
    on_invalid: OnInvalid = OnInvalid.REJECT

    @property
    def reports(self) -> bool:
        """Whether faults are written with their records."""
        return self.on_invalid is OnInvalid.REPORT

    def added(self) -> dict[str, pa.DataType]:
        """Return the names and types of the columns that are added."""
        return {self.prefix + name: kind for name, kind in verdict_types(with_errors=self.reports).items()}


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """Counts of the records so far.

    Attributes:
        records: Those that were scored.
        anomalies: How many of them are anomalies.
        violated: How many of them have violations.
        refused: How many others were refused.
        notes: What to say of ignored columns at the end.
    """

    records: int = 0
    anomalies: int = 0
    violated: int = 0
    refused: int = 0
    notes: tuple[str, ...] = ()

    def with_part(self, result: ScoreResult) -> ScoreCounts:
        """Return the counts with those of a part."""
        refused = int(result.refused().sum())
        return ScoreCounts(
            self.records + len(result) - refused,
            self.anomalies + int(result.is_anomaly.sum()),
            self.violated + sum(map(bool, result.violations)),
            self.refused + refused,
        )


def score_files(
    model: Model,
    files: RecordFiles,
    output: Output,
    options: ScoreFilesOptions,
    progress: Callable[[ScoreCounts], None],
    observe: Callable[[Path, int, Block, ScoreResult], None] | None = None,
) -> ScoreCounts:
    """Score every record of ``files`` and write it to ``output``, at constant memory.

    Args:
        model: The model.
        files: The records.
        output: Where they go, with all their columns and those of the verdict.
        options: How they are judged.
        progress: Called after each part.
        observe: Called with each part: its file, the row of its first record, the records and their verdicts.

    Raises:
        FileError: a file cannot be read, or has a column of the name of one of the verdict's; the output cannot be
            written; or, unless faults are reported, a record does not fit the schema.
    """
    added = options.added()
    schema = pa.schema([]) if output.format is FileFormat.NDJSON else _input_schema(files, options.on_invalid)
    _refuse_taken(added, schema.names, files.paths[0])
    counts = ScoreCounts()
    names: set[str] = set()
    # NDJSON's batches have only the names of their own records, and get those of all.
    most = min(model.part_records, batch_rows(len(schema)))
    with opened(output.path) as stream, _verdict_writer(stream, output.format, schema, options) as write:
        for part in (part for whole in files.batches(options.on_invalid) for part in whole.parts(most)):
            _refuse_taken(added, part.batch.schema.names, part.path)
            names.update(part.batch.schema.names)
            block = block_past_faults(part, model.artifact.contract.columns.of_records, options.unknown_columns)
            if block.faults and not options.reports:
                raise fault_of_file(part.path, next(iter(block.faults.values()))[0])
            result = model.judge_blocks([block], alpha=options.alpha, explain=options.explain, reports=options.reports)
            if observe is not None:
                observe(part.path, part.first_row, block, result)
            batch = part.batch
            write(batch if output.format is FileFormat.NDJSON else fitted(batch, schema, part.path), result)
            counts = counts.with_part(result)
            progress(counts)
    return replace(counts, notes=tuple(almost_known_columns(names, model.artifact.contract.columns)))


def _input_schema(files: RecordFiles, on_invalid: OnInvalid) -> pa.Schema:
    """Return the columns of the input with their types.

    The types of NDJSON are known only at its end, so it is read once for them alone. Of Parquet and Arrow files that
    have the same types, the beginning of one is read.
    """
    if files.format is FileFormat.NDJSON:
        return common_schema(part.batch.schema for part in files.batches(on_invalid))
    headers: list[pa.Schema] = []
    found: list[pa.Schema] = []
    for path in files.paths:
        header = pa.schema([]) if files.format is FileFormat.CSV else arrow_schema(path).remove_metadata()
        if header in headers:
            continue
        first = next(replace(files, paths=(path,)).batches(on_invalid), None)
        if first is not None:
            headers.append(header)
            found.append(first.batch.schema)
    if not found:
        return pa.schema([(name, pa.null()) for name in column_names(files.paths[0], files.dialect) or ()])
    return common_schema(found)


def _refuse_taken(names: Collection[str], columns: list[str], path: Path) -> None:
    taken = sorted(set(columns).intersection(names))
    if taken:
        message = "the verdict has a column of this name; choose another with --prefix"
        raise FileError(path, message, column=shown(taken[0]))


@contextmanager
def _verdict_writer(
    stream: BinaryIO, output_format: FileFormat, schema: pa.Schema, options: ScoreFilesOptions
) -> Iterator[_Write]:
    """Yield a function that writes a batch with its verdicts."""
    if output_format is FileFormat.NDJSON:
        yield lambda batch, result: write_lines(stream, _json_records(batch, result, options.prefix))
        return
    both = pa.schema([*schema, *(pa.field(name, kind) for name, kind in options.added().items())])
    with table_writer(stream, output_format, both) as write:
        yield lambda batch, result: write(
            pa.RecordBatch.from_arrays(
                [*batch.columns, *verdict_arrays(result.fields(), result.refused())], schema=both
            )
        )


def _json_records(batch: pa.RecordBatch, result: ScoreResult, prefix: str) -> Iterator[dict[str, object]]:
    for record, verdict in zip(json_records(batch), result, strict=True):
        yield record | ({prefix + name: value for name, value in verdict.items()} if prefix else verdict)

"""Files of records scored as a stream: the input's columns with the verdict's beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
from msgspec.structs import asdict
from numpy.typing import NDArray

from service.artifact import Artifact
from service.errors import FileError
from service.explanations import Contribution
from service.offline.json_lines import write_lines
from service.offline.output import Output, OutputFormat, opened
from service.offline.tables import common_schema, fitted, json_records, table_writer
from service.records.arrow import columns_from_batch
from service.records.files import FileBatch, RecordFiles
from service.records.formats import FileFormat, column_names
from service.records.names import UnknownColumns, shown
from service.verdicts import Explain, Verdicts, judge

_CONTRIBUTION = pa.struct(
    [
        ("column", pa.string()),
        ("contribution", pa.float64()),
        ("observed", pa.string()),
        ("expected", pa.string()),
        ("reason", pa.string()),
    ]
)

VERDICT_TYPES = {
    "score": pa.float64(),
    "p_value": pa.float64(),
    "is_anomaly": pa.bool_(),
    "elbo": pa.float64(),
    "reconstruction_error": pa.float64(),
    "kl": pa.float64(),
    "latent_contribution": pa.float64(),
    "reasons": pa.list_(pa.string()),
    "contributions": pa.list_(_CONTRIBUTION),
}
"""Columns that scoring adds, in order. Within contributions, what was observed and expected is JSON text."""

_PART_TERMS = 100_000  # bounds the memory of a part's contributions, one term for each record and column

_Write: TypeAlias = Callable[[pa.RecordBatch, Verdicts], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """How records are judged and written.

    Attributes:
        alpha: A record is an anomaly when its p-value is at most this.
        explain: Which records come with contributions.
        unknown_columns: Whether columns that the model does not know are refused, or only copied.
        prefix: What the names of the verdict's columns begin with.
    """

    alpha: float
    explain: Explain
    unknown_columns: UnknownColumns
    prefix: str


@dataclass(frozen=True, slots=True)
class Tally:
    """Records scored so far, and how many of them are anomalies."""

    records: int = 0
    anomalies: int = 0


def score_files(
    artifact: Artifact, files: RecordFiles, output: Output, rules: Rules, progress: Callable[[Tally], None]
) -> Tally:
    """Score every record of ``files`` and write it to ``output``, at constant memory.

    Args:
        artifact: A verified model.
        files: The records.
        output: Where they go, with all their columns and those of the verdict.
        rules: How they are judged.
        progress: Called after each part.

    Raises:
        FileError: a file cannot be read, holds a value that its column does not take or a column of the name of one
            of the verdict's, or the output cannot be written.
    """
    names = {rules.prefix + name for name in VERDICT_TYPES}
    schema = pa.schema([]) if output.format is OutputFormat.NDJSON else _input_schema(files)
    _refuse_taken(names, schema.names, files.paths[0])
    tally = Tally()
    with opened(output) as stream, _verdict_writer(stream, output.format, schema, rules.prefix) as write:
        for part in _parts(files, max(1, _PART_TERMS // (len(artifact.contract.columns.columns) + 1))):
            _refuse_taken(names, part.batch.schema.names, part.path)
            verdicts = _judged(artifact, part, rules)
            batch = part.batch
            write(batch if output.format is OutputFormat.NDJSON else fitted(batch, schema, part.path), verdicts)
            tally = Tally(tally.records + len(verdicts), tally.anomalies + int(verdicts.is_anomaly.sum()))
            progress(tally)
    return tally


def _judged(artifact: Artifact, part: FileBatch, rules: Rules) -> Verdicts:
    schema = artifact.contract.columns
    columns = columns_from_batch(
        part.batch, schema, path=part.path, first_row=part.first_row, unknown_columns=rules.unknown_columns
    )
    scores = artifact.scorer.score(columns)
    return judge(schema, artifact.calibration_folds, columns, scores, alpha=rules.alpha, explain=rules.explain)


def _parts(files: RecordFiles, rows: int) -> Iterator[FileBatch]:
    for whole in files.batches():
        for start in range(0, whole.batch.num_rows, rows):
            yield FileBatch(whole.batch.slice(start, rows), whole.path, whole.first_row + start)


def _input_schema(files: RecordFiles) -> pa.Schema:
    """Return the columns of the input with their types.

    The types of NDJSON are known only at its end, so it is read once for them alone.
    """
    if files.format is FileFormat.NDJSON:
        return common_schema(part.batch.schema for part in files.batches())
    first = next(files.batches(), None)
    if first is None:
        return pa.schema([(name, pa.null()) for name in column_names(files.paths[0]) or ()])
    return first.batch.schema.remove_metadata()


def _refuse_taken(names: set[str], columns: list[str], path: Path) -> None:
    taken = sorted(names.intersection(columns))
    if taken:
        message = "expected no column named as one of the verdict's, got one; --prefix sets the verdict's apart"
        raise FileError(path, message, column=shown(taken[0]))


@contextmanager
def _verdict_writer(stream: BinaryIO, output_format: OutputFormat, schema: pa.Schema, prefix: str) -> Iterator[_Write]:
    """Yield a function that writes a batch with its verdicts."""
    if output_format is OutputFormat.NDJSON:
        yield lambda batch, verdicts: write_lines(stream, _json_verdicts(batch, verdicts, prefix))
        return
    added = [(prefix + name, kind) for name, kind in VERDICT_TYPES.items()]
    both = pa.schema([*schema, *(pa.field(name, kind) for name, kind in added)])
    with table_writer(stream, output_format, both) as write:
        yield lambda batch, verdicts: write(
            pa.RecordBatch.from_arrays([*batch.columns, *_verdict_arrays(verdicts)], schema=both)
        )


def _json_verdicts(batch: pa.RecordBatch, verdicts: Verdicts, prefix: str) -> Iterator[dict[str, object]]:
    names = [prefix + name for name in VERDICT_TYPES]
    contributions = (None if of_record is None else [*map(asdict, of_record)] for of_record in verdicts.contributions)
    fields = [values.tolist() for values in _arrays(verdicts)]
    for record, *values in zip(json_records(batch), *fields, verdicts.reasons, contributions, strict=True):
        yield record | dict(zip(names, values, strict=True))


def _verdict_arrays(verdicts: Verdicts) -> list[pa.Array]:
    contributions = [None if of_record is None else [*map(_struct, of_record)] for of_record in verdicts.contributions]
    values = (*_arrays(verdicts), verdicts.reasons, contributions)
    return [pa.array(of_field, kind) for of_field, kind in zip(values, VERDICT_TYPES.values(), strict=True)]


def _arrays(verdicts: Verdicts) -> list[NDArray[Any]]:
    return [getattr(verdicts, name) for name in VERDICT_TYPES if name not in ("reasons", "contributions")]


def _struct(contribution: Contribution) -> dict[str, object]:
    return {
        "column": contribution.column,
        "contribution": contribution.contribution,
        "observed": json.dumps(contribution.observed, ensure_ascii=False),
        "expected": json.dumps(contribution.expected, ensure_ascii=False),
        "reason": contribution.reason,
    }

"""Files of records scored as a stream: the input's columns with the verdict's beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
from msgspec.structs import asdict
from numpy.typing import NDArray

from vaegis.service.artifact import Artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import FileError
from vaegis.service.explanations import Contribution
from vaegis.service.offline.json_lines import write_lines
from vaegis.service.offline.output import Output, OutputFormat, opened
from vaegis.service.offline.tables import common_schema, fitted, json_records, table_writer
from vaegis.service.records.arrow import columns_from_batch
from vaegis.service.records.faults import OnInvalid, error_fields
from vaegis.service.records.files import FileBatch, RecordFiles
from vaegis.service.records.formats import FileFormat, column_names
from vaegis.service.records.names import UnknownColumns, shown
from vaegis.service.records.reading import batch_rows
from vaegis.service.records.reported import block_from_file
from vaegis.service.records.stream.blocks import Block, in_order, sound_block
from vaegis.service.verdicts import Explain, Verdicts, judge

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

_ERRORS = pa.list_(pa.struct([("column", pa.string()), ("code", pa.string()), ("message", pa.string())]))
"""The column that is added where faults are reported: those of the record, null where there are none."""

_PART_TERMS = 100_000  # bounds the memory of a part's contributions, one term for each record and column

_Write: TypeAlias = Callable[[pa.RecordBatch, Block, Verdicts], None]


@dataclass(frozen=True, slots=True)
class Rules:
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
        reported = {"errors": _ERRORS} if self.reports else {}
        return {self.prefix + name: kind for name, kind in (VERDICT_TYPES | reported).items()}


@dataclass(frozen=True, slots=True)
class Tally:
    """Records scored so far, how many of them are anomalies, and how many others were refused."""

    records: int = 0
    anomalies: int = 0
    refused: int = 0

    def with_part(self, block: Block, verdicts: Verdicts) -> Tally:
        """Return the tally with the records of a part."""
        return Tally(
            self.records + len(verdicts),
            self.anomalies + int(verdicts.is_anomaly.sum()),
            self.refused + len(block.faults),
        )


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
        FileError: a file cannot be read, or has a column of the name of one of the verdict's; the output cannot be
            written; or, unless faults are reported, a record does not fit the schema.
    """
    added = rules.added()
    schema = pa.schema([]) if output.format is OutputFormat.NDJSON else _input_schema(files, rules.on_invalid)
    _refuse_taken(added, schema.names, files.paths[0])
    tally = Tally()
    # NDJSON's batches have only the names of their own records, and get those of all.
    most = max(1, min(_PART_TERMS // (len(artifact.contract.columns.columns) + 1), batch_rows(len(schema))))
    with opened(output) as stream, _verdict_writer(stream, output.format, schema, rules) as write:
        for part in (part for whole in files.batches(rules.on_invalid) for part in whole.parts(most)):
            _refuse_taken(added, part.batch.schema.names, part.path)
            block = _block(artifact.contract.columns, part, rules)
            verdicts = _judged(artifact, block.columns, rules)
            batch = part.batch
            write(batch if output.format is OutputFormat.NDJSON else fitted(batch, schema, part.path), block, verdicts)
            tally = tally.with_part(block, verdicts)
            progress(tally)
    return tally


def _block(schema: Schema, part: FileBatch, rules: Rules) -> Block:
    """Return the records of a part, and the faults of those that have any where these are reported."""
    if rules.reports:
        return block_from_file(part, schema, rules.unknown_columns)
    columns = columns_from_batch(
        part.batch, schema, path=part.path, first_row=part.first_row, unknown_columns=rules.unknown_columns
    )
    return sound_block(columns)


def _judged(artifact: Artifact, columns: Columns, rules: Rules) -> Verdicts:
    schema = artifact.contract.columns
    scores = artifact.scorer.score(columns)
    return judge(schema, artifact.calibration_folds, columns, scores, alpha=rules.alpha, explain=rules.explain)


def _input_schema(files: RecordFiles, on_invalid: OnInvalid) -> pa.Schema:
    """Return the columns of the input with their types.

    The types of NDJSON are known only at its end, so it is read once for them alone.
    """
    if files.format is FileFormat.NDJSON:
        return common_schema(part.batch.schema for part in files.batches(on_invalid))
    first = next(files.batches(on_invalid), None)
    if first is None:
        return pa.schema([(name, pa.null()) for name in column_names(files.paths[0]) or ()])
    return first.batch.schema.remove_metadata()


def _refuse_taken(names: Collection[str], columns: list[str], path: Path) -> None:
    taken = sorted(set(columns).intersection(names))
    if taken:
        message = "the verdict has a column of this name; choose another with --prefix"
        raise FileError(path, message, column=shown(taken[0]))


@contextmanager
def _verdict_writer(stream: BinaryIO, output_format: OutputFormat, schema: pa.Schema, rules: Rules) -> Iterator[_Write]:
    """Yield a function that writes a batch with its verdicts."""
    if output_format is OutputFormat.NDJSON:
        yield lambda batch, block, verdicts: write_lines(stream, _json_verdicts(batch, block, verdicts, rules))
        return
    both = pa.schema([*schema, *(pa.field(name, kind) for name, kind in rules.added().items())])
    with table_writer(stream, output_format, both) as write:
        yield lambda batch, block, verdicts: write(
            pa.RecordBatch.from_arrays([*batch.columns, *_added_arrays(block, verdicts, rules)], schema=both)
        )


def _json_verdicts(
    batch: pa.RecordBatch, block: Block, verdicts: Verdicts, rules: Rules
) -> Iterator[dict[str, object]]:
    numbers = [in_order(block, values.tolist(), repeat(None)) for values in _numbers(verdicts)]
    fields = (*numbers, *_lists(block, verdicts, asdict, with_errors=rules.reports))
    names = [*rules.added()]
    for record, *values in zip(json_records(batch), *fields, strict=True):
        yield record | dict(zip(names, values, strict=True))


def _added_arrays(block: Block, verdicts: Verdicts, rules: Rules) -> list[pa.Array]:
    at_fault = ~block.sound() if block.faults else None
    numbers = [pa.array(block.spread(values, 0), mask=at_fault) for values in _numbers(verdicts)]
    fields = (*numbers, *_lists(block, verdicts, _struct, with_errors=rules.reports))
    return [pa.array(values, kind) for values, kind in zip(fields, rules.added().values(), strict=True)]


def _numbers(verdicts: Verdicts) -> list[NDArray[Any]]:
    return [getattr(verdicts, name) for name in VERDICT_TYPES if name not in ("reasons", "contributions")]


def _lists(
    block: Block, verdicts: Verdicts, told: Callable[[Contribution], object], *, with_errors: bool
) -> list[list[object]]:
    """Return reasons, contributions and, where they are reported, errors of each record, null where it has none."""
    contributions: list[object] = [
        None if of_record is None else [*map(told, of_record)] for of_record in verdicts.contributions
    ]
    lists = [in_order(block, values, repeat(None)) for values in (list[object](verdicts.reasons), contributions)]
    if with_errors:
        errors: list[object] = [None] * block.records
        for row, faults in block.faults.items():
            errors[row] = [*map(asdict, error_fields(faults))]
        lists.append(errors)
    return lists


def _struct(contribution: Contribution) -> dict[str, object]:
    return {
        "column": contribution.column,
        "contribution": contribution.contribution,
        "observed": json.dumps(contribution.observed, ensure_ascii=False),
        "expected": json.dumps(contribution.expected, ensure_ascii=False),
        "reason": contribution.reason,
    }

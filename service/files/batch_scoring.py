"""Score a stream of Arrow record batches: each comes back with its verdicts in one more column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from vaegis.service.files.arrow_data import block_of_batch
from vaegis.service.files.verdict_table import verdict_arrays, verdict_types
from vaegis.service.model import JudgeRules, Model
from vaegis.service.records.column_names import UnknownColumns


def scored_batches(
    model: Model,
    batches: Iterable[pa.RecordBatch],
    rules: JudgeRules,
    unknown_columns: UnknownColumns,
    verdict_column: str,
) -> Iterator[pa.RecordBatch]:
    """Yield one batch for each batch, as `Model.score_batches` says."""
    fields = [pa.field(name, kind) for name, kind in verdict_types(with_errors=rules["reports"]).items()]
    for number, batch in enumerate(batches):
        location = f"batches[{number}]"
        if not isinstance(batch, pa.RecordBatch):
            raise TypeError(f"{location}: expected a pyarrow.RecordBatch, got {type(batch).__name__}")
        if verdict_column in batch.schema.names:
            taken = f"{location}: expected no column of the name {verdict_column!r}, which the verdicts get, got one"
            raise ValueError(f"{taken}; choose another with verdict_column")
        schema = model.artifact.contract.columns.of_records
        block = block_of_batch(batch, schema, unknown_columns, first_row=0, location=location)
        blocks = [block] if block.records else []
        result = model.judge_blocks(blocks, **rules)
        verdicts = pa.StructArray.from_arrays(verdict_arrays(result.fields(), result.refused()), fields=fields)
        yield batch.append_column(verdict_column, verdicts)

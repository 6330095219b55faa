"""Records of a file's batch with the faults of those that have any, so that the others can be scored."""

from __future__ import annotations

from collections.abc import Sequence

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import place_in_file
from vaegis.service.records.arrow import RefusedCellError, cells_of_array, check_names, filled_from_batch
from vaegis.service.records.faults import Faults, FaultsByRow
from vaegis.service.records.files import FileBatch
from vaegis.service.records.json import MAX_FAULTS, filled_columns
from vaegis.service.records.names import UnknownColumns
from vaegis.service.records.stream.assembly import assembled
from vaegis.service.records.stream.blocks import Block, block_of


def block_from_file(part: FileBatch, schema: Schema, unknown_columns: UnknownColumns) -> Block:
    """Return the records of a batch, and what is wrong with those that do not fit the schema.

    Args:
        part: The records.
        schema: The columns to fill.
        unknown_columns: Whether columns that are not in the schema are refused: of JSON objects for each record, else
            for all.

    Raises:
        FileError: All records are of the same columns, and these do not fit the schema.
    """
    faults = FaultsByRow(MAX_FAULTS, part.first_row, lambda row, column: place_in_file(part.path, row, column))
    for row, refusal in part.refused.items():
        faults.add_fault(row, None, refusal.code, refusal.detail)
    if part.parsed is None:
        check_names(part.batch.schema.names, schema, part.path, unknown_columns)
        columns = _from_batch(part, schema, faults)
    else:
        columns = _from_json(part, part.parsed, schema, faults, unknown_columns)
    return block_of(columns, faults, part.first_row - 1)


def _from_json(
    part: FileBatch, parsed: Sequence[object], schema: Schema, faults: Faults, unknown_columns: UnknownColumns
) -> Columns:
    blank = {schema.names[0]: None}  # in the place of what is no record, which is told already
    records = [blank if row in part.refused else record for row, record in enumerate(parsed)]
    return filled_columns(records, schema, faults, unknown_columns=unknown_columns)


def _from_batch(part: FileBatch, schema: Schema, faults: Faults) -> Columns:
    try:
        return filled_from_batch(part.batch, schema)
    except RefusedCellError:  # looked at again, by the way that finds all of them
        arrays = dict(zip(part.batch.schema.names, part.batch.columns, strict=True))
        cells = {
            column.name: cells_of_array(arrays[column.name], column, faults.of_column(column.name, position))
            for position, column in enumerate(schema.columns)
            if column.name in arrays
        }
        return assembled(schema, cells, part.batch.num_rows, faults)

"""JSON bodies that hold records by column: an object of lists, told from a record by its values being lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

import msgspec

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import Fault, RecordError
from vaegis.service.records.faults import Faults, FaultsByRow
from vaegis.service.records.header import positions_of
from vaegis.service.records.json import VALUE_MARKS, columns_of_values, filled_columns
from vaegis.service.records.kinds import kind_of
from vaegis.service.records.marks import count_marks
from vaegis.service.records.names import UnknownColumns, shown
from vaegis.service.records.typed_forms import UnfitError
from vaegis.service.records.typed_json import if_keys_differ

_SCALARS: Any = list[str | int | float | bool | None] | msgspec.UnsetType


def is_by_column(document: object) -> TypeGuard[Mapping[str, list[object]]]:
    """Tell whether a parsed body holds records by column; an empty object is a record without columns."""
    return isinstance(document, dict) and bool(document) and all(isinstance(value, list) for value in document.values())


def filled_from_lists(
    lists: Mapping[str, list[object]],
    schema: Schema,
    faults: Faults,
    *,
    unknown_columns: UnknownColumns,
    max_faults: int,
) -> Columns:
    """Return records, given as a list of values for each column, by the rules that values of records have.

    Args:
        lists: The values of each column.
        schema: The columns to fill.
        faults: Told what is wrong with values, which then are null.
        unknown_columns: Whether a column that is not in the schema is refused.
        max_faults: Faults of names and lengths told in full.

    Raises:
        RecordError: The lists are not equally long, or their names do not fit the schema.
    """
    records = _length(lists, max_faults)
    parents = {name.partition(".")[0] for name in (*schema.names, *(column.name for column in schema.ignored))}
    if any(name in parents and any(isinstance(value, dict) for value in values) for name, values in lists.items()):
        rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        return filled_columns(rows, schema, faults, unknown_columns=unknown_columns)
    positions_of(list(lists), schema, unknown_columns, max_faults)
    return columns_of_values(schema, records, lists.get, faults)


class TypedColumns:
    """Decodes such bodies by a type made from the schema. It may be called from several threads."""

    def __init__(self, schema: Schema, *, max_values: int, max_records: int) -> None:
        """Make the type that bodies are decoded into, for the limits that JSON bodies have."""
        self._schema = schema
        self._max_values = max_values
        self._max_records = max_records
        kinds = [(column.name, kind_of(column).json_list) for column in schema.columns]
        kinds += [(column.name, _SCALARS) for column in schema.ignored]
        self._names = [name for name, _ in kinds]
        self._decoder: msgspec.json.Decoder[msgspec.Struct] | None
        try:
            made = msgspec.defstruct(
                "Columns",
                [(f"field{at}", kind, msgspec.UNSET) for at, (_, kind) in enumerate(kinds)],
                rename={f"field{at}": name for at, name in enumerate(self._names)},
                forbid_unknown_fields=True,
                gc=False,
            )
        except ValueError:  # a name has characters that JSON escapes
            self._decoder = None
        else:
            self._decoder = msgspec.json.Decoder(made)

    def columns(self, body: bytes) -> Columns | None:
        """Return the records of a body; None if it has to be read by `filled_from_lists`, or is no such body."""
        if self._decoder is None or count_marks(body, VALUE_MARKS) > self._max_values:
            return None
        try:
            values = msgspec.structs.astuple(self._decoder.decode(body))
            lists = {
                name: of_column
                for name, of_column in zip(self._names, values, strict=True)
                if of_column is not msgspec.UNSET
            }
            lengths = set(map(len, lists.values()))
            if len(lengths) != 1 or not 0 < max(lengths) <= self._max_records or not {*self._schema.names} & {*lists}:
                return None
            faults = FaultsByRow(1, 0)
            columns = if_keys_differ(columns_of_values(self._schema, max(lengths), lists.get, faults), body, len(lists))
            return None if faults.by_row() else columns
        except (UnfitError, msgspec.DecodeError, UnicodeDecodeError):
            return None


def _length(lists: Mapping[str, list[object]], max_faults: int) -> int:
    first = len(next(iter(lists.values())))
    faults = tuple(
        Fault(
            row=None,
            column=shown(name),
            code="wrong_length",
            message=f"columns.{shown(name)}: expected {first} values as in the first column, got {len(values)}",
        )
        for name, values in lists.items()
        if len(values) != first
    )
    if faults:
        raise RecordError(faults[:max_faults], max(0, len(faults) - max_faults))
    return first

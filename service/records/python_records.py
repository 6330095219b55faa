"""Convert records that are Python objects to columns: those parsed from JSON, and a caller's dicts and frames."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from types import NoneType
from typing import Any, Final, TypeGuard

import numpy as np

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import Fault, RecordError
from vaegis.service.records.blocks import Block, block_of
from vaegis.service.records.cells import columns_of_cells
from vaegis.service.records.column_names import (
    Parents,
    UnknownColumns,
    accepted_names,
    is_index_name,
    no_known_column,
    positions_of,
    shown,
    unknown_column,
)
from vaegis.service.records.faults import MAX_FAULTS, Faults
from vaegis.service.records.json_pointer import pointer_to
from vaegis.service.records.values import RefusedValueError, described, described_record

_MAX_DEPTH: Final = 32
_MOST_UNWRAPPED: Final = 5
"""Unknown names of a request in whose objects a record is looked for."""
_BLOCK_RECORDS: Final = 65_536
_JSON_TYPES: Final = frozenset((str, int, bool, NoneType))


def columns_from_records(
    records: Sequence[object],
    schema: Schema,
    *,
    unknown_columns: UnknownColumns = "reject",
    max_faults: int = MAX_FAULTS,
) -> Columns:
    """Return records, each a parsed JSON object, by column.

    Objects within a record flatten with dots. An absent key is a null. Columns that the model ignores are accepted
    and dropped.

    Args:
        records: The parsed records, n of them.
        schema: The columns to fill.
        unknown_columns: Whether a column that is not in the schema is a fault.
        max_faults: Most faults that are listed; the others are counted.

    Raises:
        RecordError: With the faults in order of row, then of column.
    """
    faults = Faults(max_faults)
    columns = filled_columns(records, schema, faults, unknown_columns=unknown_columns)
    faults.raise_any()
    return columns


def filled_columns(
    records: Sequence[object], schema: Schema, faults: Faults, *, unknown_columns: UnknownColumns
) -> Columns:
    """Return records as `columns_from_records` does, but report faults to ``faults``. Faulty values are null."""
    shape = _RecordShape(schema, ignore_unknown=unknown_columns == "ignore")
    flat = [shape.flat(row, record, faults) for row, record in enumerate(records)]
    return columns_of_cells(schema, lambda column, _: [each.get(column.name) for each in flat], len(flat), faults)


def blank_record(schema: Schema) -> dict[str, None]:
    """Return what stands for a record that cannot be read: it has no fault beside the one that is reported already."""
    return {schema.names[0]: None}


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
    """Return records that are given as a list of values for each column. Values follow the rules of records.

    Args:
        lists: The values of each column.
        schema: The columns to fill.
        faults: Collects what is wrong with values, which then are null.
        unknown_columns: Whether a column that is not in the schema is refused.
        max_faults: Most faults of names and lengths that are listed.

    Raises:
        RecordError: The lists are not equally long, or their names do not fit the schema.
    """
    name, values = next(iter(lists.items()))
    if len(lists) == 1 and name not in schema.names and values and isinstance(values[0], dict):
        hint = f"; to score the objects in it, send that list as the body, or set VAEGIS_UNWRAP=/{shown(name)}"
        raise RecordError((Fault(None, shown(name), "unknown_column", f"columns.{shown(name)}: unknown column{hint}"),))
    records = _length(lists, max_faults)
    parents = Parents(accepted_names(schema))
    if any(name in parents and any(isinstance(value, dict) for value in values) for name, values in lists.items()):
        rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        return filled_columns(rows, schema, faults, unknown_columns=unknown_columns)
    positions_of(list(lists), schema, unknown_columns, max_faults, "columns")
    return columns_of_cells(schema, lambda column, _: lists.get(column.name), records, faults)


def blocks_of_records(records: Sequence[object], schema: Schema, unknown_columns: UnknownColumns) -> Iterator[Block]:
    """Yield records, each a mapping of names to values, in blocks.

    Args:
        records: Python values by name; objects nest. NaN and pandas' NA and NaT are nulls, as None is.
        schema: The columns to fill.
        unknown_columns: Whether a name that the model does not know is a fault.
    """
    for start in range(0, len(records), _BLOCK_RECORDS):
        faults = Faults(MAX_FAULTS, start)
        part: list[object] = []
        for row, record in enumerate(records[start : start + _BLOCK_RECORDS]):
            try:
                part.append(plain_record(record))
            except RefusedValueError as refusal:
                faults.add_fault(row, None, refusal.code, str(refusal))
                part.append(blank_record(schema))
        columns = filled_columns(part, schema, faults, unknown_columns=unknown_columns)
        yield block_of(columns, faults, start)


def is_pandas_frame(data: object) -> bool:
    """Return whether data is a pandas frame, without importing pandas."""
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def with_index(frame: Any, names: Collection[str] | None = None) -> Any:  # noqa: ANN401 - a pandas frame
    """Return a pandas frame with named levels of its index as columns: those in ``names``, or all if None."""
    levels = [
        name
        for name in frame.index.names
        if name is not None and (names is None or name in names) and name not in frame.columns
    ]
    return frame.reset_index(level=levels) if levels else frame


def plain_record(record: object) -> object:
    """Return a record with the values that JSON has, and dates and times; what is no mapping comes back as it is.

    Raises:
        RefusedValueError: It nests too deep, or holds itself.
    """
    return _plain_mapping(record, _MAX_DEPTH) if isinstance(record, Mapping) else record


class _RecordShape:
    """The columns that a record may have, by name, as one schema gives them."""

    def __init__(self, schema: Schema, *, ignore_unknown: bool) -> None:
        self._names = schema.names
        self._scored = frozenset(self._names)
        self._known = accepted_names(schema)
        self._parents = Parents(self._known)
        self._ignore_unknown = ignore_unknown
        self._unknown_names = 0

    def flat(self, row: int, record: object, faults: Faults) -> Mapping[str, object]:
        """Return the record's known columns by full name, and report the others to ``faults``."""
        if not isinstance(record, dict):
            faults.add_fault(row, None, "not_an_object", f"expected an object, got {described_record(record)}")
            return {}
        if record.keys() <= self._known and not self._scored.isdisjoint(record):
            return record
        found: dict[str, object] = {}
        recognised, refused = self._walk(row, "", record, found, faults)
        if not recognised and not refused:
            faults.add_fault(row, None, "no_known_column", no_known_column(record, self._names))
        return found

    def _walk(
        self, row: int, prefix: str, part: Mapping[str, object], found: dict[str, object], faults: Faults
    ) -> tuple[bool, bool]:
        """Gather the columns under ``prefix``; return whether a scored one was among them, and whether any was refused.

        Only names under which the schema has a column are entered, so the schema bounds both depth and names.
        """
        recognised, refused = False, False
        for key, value in part.items():
            name = prefix + key
            if name in self._known:
                if name in found:
                    faults.add_fault(
                        row, name, "duplicate_key", "expected the column once, got it both nested and with dots"
                    )
                    refused = True
                found[name] = value
                recognised |= name in self._scored
            elif name not in self._parents:
                is_beside_columns = bool(prefix) or not self._scored.isdisjoint(part)
                refused |= self._unknown(row, name, None if is_beside_columns else value, faults)
            elif isinstance(value, dict):
                below = self._walk(row, f"{name}.", value, found, faults)
                recognised, refused = recognised or below[0], refused or below[1]
            elif value is None:
                recognised = True
            else:
                faults.add_fault(row, name, "wrong_type", f"expected an object, got {described(value)}")
                refused = True
        return recognised, refused

    def _unknown(self, row: int, name: str, value: object, faults: Faults) -> bool:
        """Report a name unless such names are ignored; ``value`` may be the envelope of a record."""
        if self._ignore_unknown or is_index_name(name):
            return False
        if not faults.would_keep(row):
            faults.count(row, 1)
            return True
        message = unknown_column(name, self._names, self._unknown_names)
        if self._unknown_names < _MOST_UNWRAPPED and (pointer := pointer_to({name: value}, self._scored)):
            unwrap = f"VAEGIS_UNWRAP={shown(pointer)}, or --unwrap for files, takes it from there"
            message = f"{message}; the record seems to be in an envelope: {unwrap}"
        faults.add_fault(row, name, "unknown_column", message)
        self._unknown_names += 1
        return True


def _plain_mapping(record: Mapping[Any, object], levels: int) -> dict[str, object]:
    if not levels:
        raise RefusedValueError("too_deep", f"expected at most {_MAX_DEPTH} levels of nesting, got more")
    return {
        key if type(key) is str else str(key): value if type(value) in _JSON_TYPES else _plain(value, levels)
        for key, value in record.items()
    }


def _plain(value: object, levels: int) -> object:  # noqa: PLR0911 - one for each kind of value
    if isinstance(value, float | np.floating):
        return None if np.isnan(value) else float(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value, levels - 1)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else float(value)
    if isinstance(value, np.datetime64):
        return _plain_instant(value)
    if isinstance(value, date):
        return None if value != value else value  # noqa: PLR0124 - true of pandas' NaT alone
    return None if type(value).__name__ == "NAType" else value


def _plain_instant(value: np.datetime64) -> object:
    if np.isnat(value):
        return None
    moment: object = value.astype("datetime64[us]").item()
    return moment if isinstance(moment, date) else value  # a number where the year is beyond Python's


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

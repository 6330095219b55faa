"""Decode dicts and pandas frames, whose values have types that JSON lacks."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from types import NoneType
from typing import Any, Final

import numpy as np

from vaegis.service.contract import Schema
from vaegis.service.records.blocks import Block, block_of
from vaegis.service.records.column_names import UnknownColumns
from vaegis.service.records.faults import Faults
from vaegis.service.records.json import MAX_FAULTS, filled_columns
from vaegis.service.records.values import RefusedValueError

_MAX_DEPTH: Final = 32
_BLOCK_RECORDS: Final = 65_536
_JSON_TYPES: Final = frozenset((str, int, bool, NoneType))


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
                part.append({schema.names[0]: None})
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

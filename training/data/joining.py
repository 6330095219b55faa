"""Concatenate tables of one stream whose columns may have different types."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaegis.service.files.arrow_columns import RefusedCellError, numbers_of, text_of
from vaegis.service.records.column_names import shown
from vaegis.service.records.kinds import number_kind_named
from vaegis.training.config import Kind
from vaegis.training.data.kinds import KINDS, kind_of_joined
from vaegis.training.data.profiling.profile import Form, form_of
from vaegis.training.data.row_location import RowLocation
from vaegis.training.errors import DataError

_MICROSECONDS_PER_SECOND = 1e6


def joined(tables: list[pa.Table], kinds: Mapping[str, Kind], location: Callable[[int, int], RowLocation]) -> pa.Table:
    """Concatenate tables. A column that one of them lacks is null there.

    A column whose types have no common one is converted: to text where its kind is boolean or categorical, to instants
    of UTC for a timestamp, else to float64.

    Args:
        tables: One or more.
        kinds: The kinds of columns that are set.
        location: Returns the location of a record, given its table and its row there.

    Raises:
        DataError: Naming file, row and column of a value that is not of the kind.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        names = dict.fromkeys(name for table in tables for name in table.schema.names)
        return pa.table({name: _column(tables, name, kinds.get(name), location) for name in names})


def _column(
    tables: list[pa.Table], name: str, kind: Kind | None, location: Callable[[int, int], RowLocation]
) -> pa.Array:
    parts = [_part(table, name) for table in tables]
    try:
        return _concatenated(parts)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        forms = {form_of(part.type) for part in parts if not pa.types.is_null(part.type)}
    if kind is None and len(forms) == 1:
        kind = kind_of_joined(next(iter(forms)))
    if kind is None:
        # Nothing reads such values: planning ignores the column, or refuses it for its types.
        return pa.nulls(sum(map(len, parts)))
    if Form.OTHER in forms:
        at, part = next((at, part) for at, part in enumerate(parts) if form_of(part.type) is Form.OTHER)
        raise DataError(
            f"{location(at, 0)}, column {shown(name)}: expected values that can be {kind}, got the {part.type}"
        )
    converted = []
    for at, part in enumerate(parts):
        try:
            converted.append(_converted(part, kind))
        except RefusedCellError as refusal:
            raise DataError(f"{location(at, refusal.index)}, column {shown(name)}: {refusal}") from None
    return _concatenated(converted)


def _part(table: pa.Table, name: str) -> pa.Array:
    """Return a column of a table; without a value it has no type either."""
    if name not in table.schema.names or table[name].null_count == table.num_rows:
        return pa.nulls(table.num_rows)
    return table[name].combine_chunks()


def _concatenated(parts: list[pa.Array]) -> pa.Array:
    tables = [pa.table({"": part}) for part in parts]
    return pa.concat_tables(tables, promote_options="permissive")[""].combine_chunks()


def _converted(part: pa.Array, kind: Kind) -> pa.Array:
    if KINDS[kind].is_joined_as_text:
        return text_of(part)
    number_kind = number_kind_named(kind)
    numbers = numbers_of(part, number_kind, infinities="null")
    return _instants(numbers) if number_kind.takes_instants else pa.array(numbers, from_pandas=True)


def _instants(seconds: NDArray[np.float64]) -> pa.Array:
    # Typed: a bare number would be read as an instant anew, its unit told by its size.
    missing = np.isnan(seconds)
    microseconds = np.round(np.where(missing, 0.0, seconds) * _MICROSECONDS_PER_SECOND).astype(np.int64)
    return pa.array(microseconds, mask=missing).cast(pa.timestamp("us", "UTC"))

"""Convert the values of columns, as a format has them, to what the graph takes, and report every fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Categories, Columns, build_columns
from vaegis.service.contract import NO_CATEGORY, Column, Schema
from vaegis.service.records import values as rules
from vaegis.service.records.column_kind import NumberKind
from vaegis.service.records.faults import Faults, Report
from vaegis.service.records.kinds import number_kind_of
from vaegis.service.records.reading import ColumnReader, reader_of, reporting_forms

_MEAN_CHARACTERS: Final = 64

Cells: TypeAlias = "NDArray[np.float64] | Instants | Sequence[object]"
"""One column's values: numbers, NaN where null; or instants; or text and values of JSON, None where null."""

_Parsed = TypeVar("_Parsed", float, str)

_NUMBERS: Final = msgspec.json.Decoder(list[float])


@dataclass(frozen=True, slots=True)
class Instants:
    """Values whose unit is known: ``seconds`` since 1970, shape (n,), NaN where null."""

    seconds: NDArray[np.float64]


def columns_of_cells(
    schema: Schema, cells_of: Callable[[Column, Report], Cells | None], records: int, faults: Faults
) -> Columns:
    """Return the columns of ``records`` records. All formats come here, except JSON records that `json_types` reads.

    Args:
        schema: The columns to fill.
        cells_of: Returns the cells of a column, ``records`` of them, or None if it is null throughout. It is also given
            what reports a fault of the column, for cells that the format itself refuses.
        records: Number of records.
        faults: Collects a fault for each cell that is refused, which then is null.
    """

    def numbers(position: int, column: Column) -> NDArray[np.float64] | None:
        report = faults.of_column(column.name, position)
        cells = cells_of(column, report)
        return None if cells is None else numbers_of_cells(cells, number_kind_of(column), reader_of(column), report)

    def categories(position: int, column: Column) -> Categories | None:
        report = faults.of_column(column.name, position)
        cells = cells_of(column, report)
        if cells is None:
            return None
        if isinstance(cells, (np.ndarray, Instants)):
            raise TypeError(f"{column.name}: expected text in a categorical column, got numbers")
        if reader := reader_of(column):
            cells = [reader.category(value) if isinstance(value, str) else value for value in cells]
        return categories_of_values(cells, report)

    return build_columns(schema, records, numbers, categories)


def numbers_of_cells(
    cells: Cells, kind: NumberKind[Any], reader: ColumnReader | None, report: Report
) -> NDArray[np.float64]:
    """Return cells as the numbers, truth values or instants that ``kind`` makes of them.

    Args:
        cells: n cells.
        kind: The column's.
        reader: Reads them first; None where the common rules do.
        report: Called for each cell that is refused.

    Returns:
        Shape (n,); NaN where null or refused.
    """
    if reader is None:
        return _numbers(cells, kind, report)
    if isinstance(cells, np.ndarray):
        cells = reader.numbers(cells)
    elif not isinstance(cells, Instants):
        cells = [reader.value(value) for value in cells]
    converted = _numbers(cells, kind, reporting_forms(report, reader))
    return reader.without_null_instants(converted) if kind.takes_instants else converted


def numbers_of_values(values: Sequence[object], kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    """Return text and values of JSON as the numbers, truth values or instants that ``kind`` makes of them.

    Args:
        values: n values; None is a null.
        kind: The column's.
        report: Called for each value that is refused.

    Returns:
        Shape (n,); NaN where null or refused.
    """
    types = set(map(type, values))
    has_nulls = NoneType in types
    types.discard(NoneType)
    at_once = None
    if types <= {int, float} or (kind.takes_truths and types <= {bool, int, float}):
        at_once = _typed_at_once(values, kind, values.count(None) if has_nulls else 0)
    elif types == {str}:
        at_once = _texts_at_once(cast("Sequence[str | None]", values), kind, has_nulls=has_nulls)
    if at_once is not None:
        return at_once
    return np.array(_one_by_one(values, kind.parse, math.nan, report), dtype=np.float64)


def checked_numbers(numbers: NDArray[np.float64], kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    """Return numbers as the quantities, truth values or instants that ``kind`` makes of them.

    Args:
        numbers: Shape (n,), of the caller's making; NaN is a null.
        kind: The column's.
        report: Called for each number that is refused.

    Returns:
        Shape (n,); NaN where null or refused.
    """
    converted, wrong = kind.of_numbers(numbers)
    if not wrong.any():
        return converted
    for row in np.flatnonzero(wrong).tolist():
        try:
            kind.parse(float(numbers[row]))
        except rules.RefusedValueError as refusal:
            report(row, refusal.code, str(refusal))
    return np.where(wrong, np.nan, converted)


def categories_of_values(values: Sequence[object], report: Report) -> Categories:
    """Return values as categories, `contract.NO_CATEGORY` where null or refused, and which are not null."""
    types = set(map(type, values))
    has_nulls = NoneType in types
    observed = [value is not None for value in values] if has_nulls else True
    if types <= {str, NoneType}:
        texts = cast(
            "Sequence[str]", [NO_CATEGORY if value is None else value for value in values] if has_nulls else values
        )
        if all(map(str.isascii, texts)) or all(map(rules.is_text, texts)):
            return texts, observed
    return _one_by_one(values, rules.category, NO_CATEGORY, report), observed


def _numbers(cells: Cells, kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    if isinstance(cells, np.ndarray):
        return checked_numbers(cells, kind, report)
    if not isinstance(cells, Instants):
        return numbers_of_values(cells, kind, report)
    wrong = ~rules.in_calendar(cells.seconds)
    for row in np.flatnonzero(wrong).tolist():
        report(row, "invalid_timestamp", rules.OUTSIDE_CALENDAR)
    return np.where(wrong, np.nan, cells.seconds)


def _one_by_one(
    values: Sequence[object], parse: Callable[[object], _Parsed], null: _Parsed, report: Report
) -> list[_Parsed]:
    """Return what ``parse`` makes of each value; ``null`` where it is None or refused."""
    parsed = [null] * len(values)
    for row, value in enumerate(values):
        if value is not None:
            try:
                parsed[row] = parse(value)
            except rules.RefusedValueError as refusal:
                report(row, refusal.code, str(refusal))
    return parsed


def _typed_at_once(values: Sequence[object], kind: NumberKind[Any], nulls: int) -> NDArray[np.float64] | None:
    """Return values that are numbers or, so many of them, null; None if one of them breaks a rule."""
    try:
        converted = np.array(values, dtype=np.float64)  # None becomes NaN.
    except OverflowError:
        return None
    if np.count_nonzero(np.isfinite(converted)) + nulls != len(values):
        return None
    return _if_accepted(converted, kind)


def _texts_at_once(
    texts: Sequence[str | None], kind: NumberKind[Any], *, has_nulls: bool
) -> NDArray[np.float64] | None:
    """Return the values of uniform text; None if each value must be parsed by itself."""
    present = [text for text in texts if text is not None] if has_nulls else cast("list[str]", texts)
    numbers = kind.parse_uniform(present)
    if numbers is None and sum(map(len, present)) <= _MEAN_CHARACTERS * len(present):
        # Longer texts are not joined: it may be one text in memory that all records refer to.
        try:
            # JSON's numbers are among those that the rules take, and its parser is several times as fast as Python's.
            decoded = _NUMBERS.decode("[" + ",".join(present) + "]")
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None
        numbers = _if_accepted(np.array(decoded), kind) if len(decoded) == len(present) else None
    if numbers is None or len(present) == len(texts):
        return numbers
    converted = np.full(len(texts), np.nan)
    converted[[text is not None for text in texts]] = numbers
    return converted


def _if_accepted(numbers: NDArray[np.float64], kind: NumberKind[Any]) -> NDArray[np.float64] | None:
    """Return what ``kind`` makes of numbers; None if it refuses one."""
    converted, wrong = kind.of_numbers(numbers)
    return None if wrong.any() else converted

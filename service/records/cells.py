"""Convert the cells of columns, text, numbers or times, to what the graph takes, and report every fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Categories, Columns, build_columns
from vaegis.service.contract import NO_CATEGORY, Column, Schema
from vaegis.service.records import values as rules
from vaegis.service.records.faults import Faults, Report
from vaegis.service.records.kinds import NumberKind, number_kind_of
from vaegis.service.records.reading import reader_of, reporting_forms

_MEAN_CHARACTERS: Final = 64

Cells: TypeAlias = "NDArray[np.float64] | Instants | Sequence[str | None]"
"""One column's values: numbers, NaN where null, or instants, or text. A categorical column has text."""

_NUMBERS: Final = msgspec.json.Decoder(list[float])


@dataclass(frozen=True, slots=True)
class Instants:
    """Values whose unit is known: ``seconds`` since 1970, shape (n,), NaN where null."""

    seconds: NDArray[np.float64]


def columns_of_cells(schema: Schema, found: Mapping[str, Cells], records: int, faults: Faults) -> Columns:
    """Return the columns of ``records`` records; a column that was not found is null throughout.

    Args:
        schema: The columns to fill.
        found: Cells by name of the column, ``records`` in each.
        records: Number of records.
        faults: Told of each cell that is refused, which then is null.
    """

    def numbers(position: int, column: Column) -> NDArray[np.float64] | None:
        cells = found.get(column.name)
        if cells is None:
            return None
        report = faults.of_column(column.name, position)
        kind, reader = number_kind_of(column), reader_of(column)
        if reader is None:
            return _converted(cells, kind, report)
        if not isinstance(cells, Instants):
            cells = reader.numbers(cells) if isinstance(cells, np.ndarray) else reader.texts(cells)
        converted = _converted(cells, kind, reporting_forms(report, reader))
        return reader.without_null_instants(converted) if kind.takes_instants else converted

    def categories(_: int, column: Column) -> Categories | None:
        cells = found.get(column.name)
        if isinstance(cells, (np.ndarray, Instants)):
            raise TypeError(f"{column.name}: expected text in a categorical column, got numbers")
        if cells is not None and (reader := reader_of(column)):
            cells = [None if text is None else reader.category(text) for text in cells]
        return None if cells is None else categories_of_texts(cells)

    return build_columns(schema, records, numbers, categories)


def numbers_of_texts(texts: Sequence[str | None], kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    """Return text as the numbers, truth values or instants that ``kind`` makes of it.

    Args:
        texts: n cells; None is a null.
        kind: The column's.
        report: Told of each cell that is refused.

    Returns:
        Shape (n,); NaN where null or refused.
    """
    if None in texts:
        present = [(index, text) for index, text in enumerate(texts) if text is not None]
        rows = [index for index, _ in present]
        converted = np.full(len(texts), np.nan)
        converted[rows] = numbers_of_texts(
            [text for _, text in present], kind, lambda row, code, detail: report(rows[row], code, detail)
        )
        return converted
    told = [text or "" for text in texts]
    at_once = _at_once(told, kind) if told else None
    return _one_by_one(told, kind, report) if at_once is None else at_once


def checked_numbers(numbers: NDArray[np.float64], kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    """Return numbers as the quantities, truth values or instants that ``kind`` makes of them.

    Args:
        numbers: Shape (n,), of the caller's making; NaN is a null.
        kind: The column's.
        report: Told of each number that is refused.

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


def checked_instants(seconds: NDArray[np.float64], report: Report) -> NDArray[np.float64]:
    """Return instants in seconds since 1970; those outside the calendar are reported, and null."""
    wrong = ~rules.in_calendar(seconds)
    for row in np.flatnonzero(wrong).tolist():
        report(row, "invalid_timestamp", rules.OUTSIDE_CALENDAR)
    return np.where(wrong, np.nan, seconds)


def categories_of_texts(texts: Sequence[str | None]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return text as categories, `contract.NO_CATEGORY` where null, and which are not null; both of shape (n,)."""
    strings = np.empty(len(texts), dtype=object)
    observed = np.ones(len(texts), dtype=np.bool_)
    if None in texts:
        observed[:] = [text is not None for text in texts]
        texts = [NO_CATEGORY if text is None else text for text in texts]
    strings[:] = texts
    return strings, observed


def _converted(cells: Cells, kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    if isinstance(cells, Instants):
        return checked_instants(cells.seconds, report)
    if isinstance(cells, np.ndarray):
        return checked_numbers(cells, kind, report)
    return numbers_of_texts(cells, kind, report)


def _at_once(texts: list[str], kind: NumberKind[Any]) -> NDArray[np.float64] | None:
    """Return the values of uniform text; None if each value must be parsed by itself."""
    if (uniform := kind.parse_uniform(texts)) is not None:
        return uniform
    if sum(map(len, texts)) > _MEAN_CHARACTERS * len(texts):
        return None  # which may be one text, held once, that all records refer to
    try:
        # JSON's numbers are among those that the rules take, and its parser is several times as fast as Python's.
        decoded = _NUMBERS.decode("[" + ",".join(texts) + "]")
    except msgspec.DecodeError:
        return None
    if len(decoded) != len(texts):
        return None
    refused = False

    def refuse(*_: object) -> None:
        nonlocal refused
        refused = True

    numbers = checked_numbers(np.array(decoded), kind, refuse)
    return None if refused else numbers


def _one_by_one(texts: list[str], kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    converted = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        try:
            converted[row] = kind.parse(text)
        except rules.RefusedValueError as refusal:
            report(row, refusal.code, str(refusal))
    return converted

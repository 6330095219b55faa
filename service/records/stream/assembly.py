"""Assemble cells, from any format, into the columns that a model scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import NO_CATEGORY, Schema
from vaegis.service.records import values as rules
from vaegis.service.records.cells import categories_of_texts, checked_instants, checked_numbers, numbers_of_texts
from vaegis.service.records.faults import Faults


@dataclass(frozen=True, slots=True)
class Instants:
    """Values whose unit is known: ``seconds`` since 1970, shape (n,), NaN where null."""

    seconds: NDArray[np.float64]


Cells: TypeAlias = NDArray[np.float64] | Instants | Sequence[str | None]
"""One column's values: numbers, NaN where null, or instants, or text. A categorical column has text."""


def assembled(schema: Schema, found: Mapping[str, Cells], records: int, faults: Faults) -> Columns:
    """Return the columns of ``records`` records; a column that was not found is null throughout.

    Args:
        schema: The columns to fill.
        found: Cells by name of the column, ``records`` in each.
        records: Number of records.
        faults: Told of each cell that is refused, which then is null.
    """
    numbers = np.full((records, len(schema.number_positions)), np.nan)
    for at, position in enumerate(schema.number_positions):
        column = schema.columns[position]
        cells = found.get(column.name)
        if cells is not None:
            kind, report = rules.rule_of(column), faults.of_column(column.name, position)
            if isinstance(cells, Instants):
                numbers[:, at] = checked_instants(cells.seconds, report)
            elif isinstance(cells, np.ndarray):
                numbers[:, at] = checked_numbers(cells, kind, report)
            else:
                numbers[:, at] = numbers_of_texts(cells, kind, report)
    strings = np.full((records, len(schema.string_positions)), NO_CATEGORY, dtype=object)
    observed = np.zeros(strings.shape, dtype=np.bool_)
    for at, position in enumerate(schema.string_positions):
        cells = found.get(schema.columns[position].name)
        if isinstance(cells, (np.ndarray, Instants)):
            raise TypeError(f"{schema.columns[position].name}: expected text in a categorical column, got numbers")
        if cells is not None:
            strings[:, at], observed[:, at] = categories_of_texts(cells)
    return Columns(numbers, strings, observed)

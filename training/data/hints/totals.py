"""Warn of a last line that holds the totals of the others, as spreadsheets and reports write it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records.column_names import shown
from vaegis.training.data.kind_messages import is_total
from vaegis.training.data.kinds import KINDS, ColumnPlan
from vaegis.training.data.profiling.profile import Form
from vaegis.training.data.sampling import Sample

_FEWEST: Final = 2
"""Fewest values that make a sum."""
_FEWEST_BARE: Final = 20
"""Fewest values other than 0 whose sum is no chance although no word says so."""
_MOST_DECIMALS: Final = 6
_MOST_ROUNDING: Final = 0.01
"""Largest share of a total that may be due to rounding."""


def total_line_hint(plans: Sequence[ColumnPlan], sample: Sample, records: int) -> str | None:
    """Return a warning if the last record of a file is called a total, or is without text, and holds a column's sum.

    Args:
        plans: The plan of each column.
        sample: The records. Where it holds only some of them, nothing is found.
        records: How many records were read.
    """
    if len(sample) < records:
        return None
    words = [(rows, _first_word(plans, sample, rows.stop - 1)) for rows in _files(sample)]
    called = [(rows, bool(word)) for rows, word in words if word is not None and (not word or is_total(word))]
    for plan in plans if called else ():
        if plan.kind is None or not _is_number(plan):
            continue
        values = sample.numbers(plan.name, plan.kind, plan.reading, plan.number_form)
        for rows, is_called in called:
            of_file = values[rows.start : rows.stop]
            if _ends_in_sum(of_file) and (is_called or np.count_nonzero(of_file) >= _FEWEST_BARE):
                why = "its text says so" if is_called else "it has no text"
                return (
                    f"Warning: {sample.location(rows.stop - 1)} seems to hold totals: {why}, and its "
                    f"{shown(plan.name)} is the sum of the others. Remove that line."
                )
    return None


def _is_number(plan: ColumnPlan) -> bool:
    return plan.kind is not None and KINDS[plan.kind].joined_form is Form.NUMBER


def _files(sample: Sample) -> list[range]:
    """Return the positions of each file's records in a sample that holds all of them."""
    starts = [next(of_file)[0] for _, of_file in groupby(sample.starts, lambda start: start[1].path)]
    return [range(*edges) for edges in pairwise([*starts, len(sample)]) if edges[0] < edges[1]]


def _first_word(plans: Sequence[ColumnPlan], sample: Sample, at: int) -> str | None:
    """Return the first text of a record outside numeric columns; empty if all are null, None if there is no word."""
    names = [plan.name for plan in plans if not _is_number(plan) and plan.name in sample.table.schema.names]
    values = [sample.table[name][at].as_py() for name in names]
    if values and all(value is None for value in values):
        return ""
    return next((value for value in values if isinstance(value, str) and any(map(str.isalpha, value))), None)


def _ends_in_sum(values: NDArray[np.float64]) -> bool:
    """Return whether the last value is the sum of the others, as far as values are rounded.

    >>> _ends_in_sum(np.array([1.5, 2.25, 3.75])), _ends_in_sum(np.array([1.5, 2.25, 1.5]))
    (True, False)
    """
    total, others = values[-1], values[:-1][~np.isnan(values[:-1])]
    if np.isnan(total) or others.size < _FEWEST:
        return False
    of_all = np.append(others, total)
    decimals = next((d for d in range(_MOST_DECIMALS) if np.array_equal(np.round(of_all, d), of_all)), _MOST_DECIMALS)
    # What was summed may have had more decimals than are shown. Such errors grow by the root of their number.
    rounding = min(np.sqrt(others.size) * 10.0**-decimals, _MOST_ROUNDING * abs(total))
    return bool(total != 0.0 and abs(total - others.sum()) <= rounding)

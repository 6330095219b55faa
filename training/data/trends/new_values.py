"""Recognise columns of text to which values are added as time goes on, so that the next records hold unknown ones."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.training.data.kind_messages import setting_line
from vaegis.training.data.kinds import FORM_ALONE, LIST_KIND, ColumnPlan
from vaegis.training.data.sampling import Sample
from vaegis.training.data.trends.record_order import FEWEST_ORDERED, LEAST_NEW, LEAST_NEW_IN_FILES, NEWEST, Order

_FEWEST_NEW_VALUES: Final = 10
"""Fewest new values of a list that goes on; fewer may be a new shop or a new version."""
_FEWEST_NEW: Final = 7
"""Fewest records with a new value that give a warning."""
_CLEARLY: Final = 4.0  # standard deviations
_MOST_RUNS: Final = 1.5
"""Runs of equal values, for each value, up to which a file may be sorted by them, or by what they depend on."""


def with_new_values(plan: ColumnPlan, sample: Sample, order: Order) -> ColumnPlan:
    """Return the plan of a column; one of categories becomes text, or gets a warning, if its newest values are new.

    Args:
        plan: The plan by the profile alone.
        sample: The records.
        order: That of a time, or of the files. By the latter, a column is only warned of, because the file may have
            another order than that of time; and not if the file seems to be sorted by it.
    """
    if plan.kind != LIST_KIND:
        return plan
    groups = sample.groups(plan.name)[order.positions]
    groups = groups[groups >= 0]
    newest = int(groups.size * NEWEST)
    if groups.size < FEWEST_ORDERED or (order.name is None and _are_sorted(groups)):
        return plan
    ends = [("newest", groups[:-newest], groups[-newest:])]
    if order.name is None:  # the file may begin with its newest records
        ends.append(("oldest", groups[newest:], groups[:newest]))
    excesses = [_excess(rest, new) for _, rest, new in ends]
    excess = max(excesses)
    which, rest, new = ends[excesses.index(excess)]
    values = np.setdiff1d(new, rest).size
    seen = f"{excess:.0%} of the {which} fifth, by {order.shown}, hold a value that the rest lacks"
    if order.name is not None and excess >= LEAST_NEW_IN_FILES and values >= _FEWEST_NEW_VALUES:
        return replace(plan, kind="text", reason=f"new values come with the time: {seen}; {FORM_ALONE}", warnings=())
    if excess < (LEAST_NEW_IN_FILES if order.name is None else LEAST_NEW):
        return plan
    unless = "Unless the file has another order than time, about" if order.name is None else "About"
    warning = (
        f"{seen}. {unless} as many normal records of the next period may be flagged. If new values will come, set "
        f"{setting_line(plan.name, 'text')}: then only the form of its values is scored"
    )
    return replace(plan, warnings=(*plan.warnings, warning), leaves_range=True)


def _are_sorted(groups: NDArray[np.int64]) -> bool:
    """Return whether the records of most values stand side by side."""
    return bool(1 + np.count_nonzero(np.diff(groups)) <= _MOST_RUNS * np.unique(groups).size)


def _excess(rest: NDArray[np.int64], new: NDArray[np.int64]) -> float:
    """Return the share of records with a value that the rest lacks, beyond what any order of the records would give.

    All c records of one value are among a random fifth with a probability of about .2^c. The share is 0 if chance can
    give as many records.

    >>> values = np.arange(1000)
    >>> [round(_excess(each[:800], each[800:]), 3) for each in (values // 10, values, values % 10)]
    [1.0, 0.0, 0.0]
    """
    _, counts = np.unique(np.concatenate([rest, new]), return_counts=True)
    share = new.size / (rest.size + new.size)
    probability = share ** counts.astype(np.float64)
    expected, deviation = float(counts @ probability), math.sqrt(float(counts**2 @ probability))
    excess = int(np.count_nonzero(~np.isin(new, rest))) - expected
    return excess / new.size if excess >= max(_FEWEST_NEW, _CLEARLY * deviation) else 0.0

"""Recognise columns of text to which values are added as time goes on, so that the next records hold unknown ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.training.data.kind_messages import setting_line
from vaegis.training.data.kinds import FORM_ALONE, LIST_KIND, ColumnPlan
from vaegis.training.data.record_order import FEWEST_ORDERED, LEAST_NEW, LEAST_NEW_IN_FILES, NEWEST, Order
from vaegis.training.data.sampling import Sample

_FEWEST_NEW_VALUES: Final = 10
"""Fewest new values of a list that goes on; fewer may be a new shop or a new version."""


def with_new_values(plan: ColumnPlan, sample: Sample, order: Order) -> ColumnPlan:
    """Return the plan of a column; one of categories becomes text, or gets a warning, if its newest values are new.

    Args:
        plan: The plan by the profile alone.
        sample: The records.
        order: That of a time, or of the files. By the latter, a column is only warned of: the file may be sorted by it.
    """
    if plan.kind != LIST_KIND:
        return plan
    groups = sample.groups(plan.name)[order.positions]
    groups = groups[groups >= 0]
    newest = int(groups.size * NEWEST)
    if groups.size < FEWEST_ORDERED:
        return plan
    rest, new = groups[:-newest], groups[-newest:]
    which = "newest"
    if order.name is None and _excess(groups[newest:], groups[:newest]) > _excess(rest, new):
        rest, new, which = groups[newest:], groups[:newest], "oldest"  # the file may begin with its newest records
    excess, values = _excess(rest, new), np.setdiff1d(new, rest).size
    seen = f"{excess:.0%} of the {which} fifth, by {order.shown}, hold a value that the rest lacks"
    if order.name is not None and excess >= LEAST_NEW_IN_FILES and values >= _FEWEST_NEW_VALUES:
        return ColumnPlan(plan.name, "text", f"new values come with the time: {seen}; {FORM_ALONE}")
    if excess < (LEAST_NEW_IN_FILES if order.name is None else LEAST_NEW):
        return plan
    unless = "Unless the file is sorted by it, about" if order.name is None else "About"
    warning = (
        f"{seen}. {unless} as many normal records of the next period may be flagged. If new values will come, set "
        f"{setting_line(plan.name, 'text')}: then only the form of its values is scored"
    )
    return replace(plan, warnings=(*plan.warnings, warning), leaves_range=True)


def _excess(rest: NDArray[np.int64], new: NDArray[np.int64]) -> float:
    """Return the share of records with a value that the rest lacks, beyond what any order of the records would give.

    All c records of one value are among a random fifth with a probability of about .2^c.

    >>> values = np.arange(1000)
    >>> [f"{_excess(each[:800], each[800:]):.0%}" for each in (values // 10, values % 10)]
    ['100%', '0%']
    """
    _, counts = np.unique(np.concatenate([rest, new]), return_counts=True)
    share = new.size / (rest.size + new.size)
    by_chance = float((counts * share ** counts.astype(np.float64)).sum()) / new.size
    return float((~np.isin(new, rest)).mean()) - by_chance

"""Find values that seem to stand for a null: far from all others, and repeated exactly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import MOST_PLACEHOLDERS
from vaegis.service.records.column_names import setting_of
from vaegis.service.records.values import iso_instant
from vaegis.training.config import TIME_KIND
from vaegis.training.data.kinds import KINDS, ColumnPlan
from vaegis.training.data.sampling import Sample

_FEWEST = 5
"""Fewest records that hold the value; fewer may hold it by chance."""
_FEWEST_OTHERS = 20
"""Distinct other values, below which none can be far from them."""
_USUAL = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0)
"""What many programs write for a null where numbers are positive."""
_BULK = (0.01, 0.99)
_MIDNIGHT = "T00:00:00+00:00"
_LEAST_SHARE = 0.02
"""Share of the values from which a placeholder has a probability of its own."""


def with_placeholders(plans: tuple[ColumnPlan, ...], sample: Sample) -> tuple[ColumnPlan, ...]:
    """Return the plans with a warning for each column that seems to hold a placeholder."""
    return tuple(_warned(plan, sample) for plan in plans)


def find_placeholders(values: NDArray[np.float64]) -> list[float]:
    """Return the least and the greatest value, if it repeats and is farther from the others than most of them spread.

    Args:
        values: Shape (n,), finite.

    >>> find_placeholders(np.concatenate([np.full(9, -999.0), np.linspace(15.0, 25.0, 100)]))
    [-999.0]
    """
    distinct, counts = np.unique(values, return_counts=True)
    found: list[float] = []
    first, last = 0, distinct.size - 1
    while last - first > _FEWEST_OTHERS:
        inner = distinct[first + 1 : last]
        low, high = np.quantile(inner, _BULK)
        spread = float(high - low)
        if counts[first] >= _FEWEST and inner[0] - distinct[first] > spread > 0.0:
            found.append(float(distinct[first]))
            first += 1
        elif counts[last] >= _FEWEST and distinct[last] - inner[-1] > spread > 0.0:
            found.append(float(distinct[last]))
            last -= 1
        else:
            break
    return found


def frequent_placeholders(found: Sequence[float], values: NDArray[np.float64]) -> list[float]:
    """Return the placeholders that are frequent enough to have a probability of their own, ascending.

    Others count as gross values, because the history may hold anomalies that repeat.

    >>> values = np.concatenate([np.full(9, -999.0), [9e9], np.linspace(15.0, 25.0, 100)])
    >>> frequent_placeholders(find_placeholders(values), values)
    [-999.0]
    """
    least = _LEAST_SHARE * values.size
    return sorted([value for value in found if np.count_nonzero(values == value) >= least][:MOST_PLACEHOLDERS])


def lone_negative(values: NDArray[np.float64]) -> float | None:
    """Return -1, -9, -99 or the like if it repeats and is the only negative number of many; else None.

    >>> counts = np.arange(100.0, 140.0)
    >>> lone_negative(np.append(counts, [-1.0] * 5)), lone_negative(np.append(counts, [-1.0] * 5 + [-2.0]))
    (-1.0, None)
    """
    below = values[values < 0]
    if below.size < _FEWEST or below.min() < below.max() or below[0] not in _USUAL:
        return None
    return float(below[0]) if np.unique(values).size > _FEWEST_OTHERS else None


def _warned(plan: ColumnPlan, sample: Sample) -> ColumnPlan:
    if plan.kind is None or KINDS[plan.kind].joined_form is None:
        return plan  # Its values are neither numbers nor times.
    numbers = sample.numbers(plan.name, plan.kind, plan.reading, plan.number_form)
    values = numbers[~np.isnan(numbers)]
    warnings = []
    found = find_placeholders(values)
    known = [] if plan.kind == TIME_KIND else frequent_placeholders(found, values)
    for value in found:
        text = iso_instant(value).removesuffix(_MIDNIGHT) if plan.kind == TIME_KIND else f"{value:.15g}"
        share = np.count_nonzero(values == value) / numbers.size
        effect = "counts as a case of its own" if value in known else "hides anomalies between"
        warnings.append(
            f"{text} repeats in {share:.1%} of the records, far from all others, and {effect}: "
            f"if it stands for no value, set {setting_of(plan.name, 'null_values')} = [{json.dumps(text)}]"
        )
    if plan.kind != TIME_KIND and (lone := lone_negative(values)) is not None and lone not in found:
        share = np.count_nonzero(values == lone) / numbers.size
        warnings.append(
            f"{lone:.0f} repeats in {share:.1%} of the records, and no other number is negative: if it stands for no "
            f'value, set {setting_of(plan.name, "null_values")} = ["{lone:.0f}"]'
        )
    return replace(plan, warnings=(*plan.warnings, *warnings)) if warnings else plan

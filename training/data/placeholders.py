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
_MOST_TOGETHER = 3
"""Most placeholders that stand side by side, as 997, 998 and 999 do in surveys."""
_FEWEST_GRADES = 3
"""Fewest distinct other values beside which a usual placeholder stands apart."""
_MOST_ZEROS = 0.5
"""Largest share of zeros that may be nulls; where there are more, nothing is rather the rule."""
_SPIKE = 5.0
"""How many times as frequent as any other number a usual placeholder is that stands between them."""
_LEAST_SPIKE = 9998.0
_LARGEST_CODE = 1e12
_TAIL = (0.05, 0.25)
"""Shares of the records next to a value that show how far such records lie from each other."""
_BULK = (0.01, 0.99)
_FAR = "far from all others, and hides anomalies between"
_MIDNIGHT = "T00:00:00+00:00"
_LEAST_SHARE = 0.02
"""Share of the values from which a placeholder has a probability of its own."""


def with_placeholders(plans: tuple[ColumnPlan, ...], sample: Sample) -> tuple[ColumnPlan, ...]:
    """Return the plans with a warning for each column that seems to hold a placeholder."""
    return tuple(_warned(plan, sample) for plan in plans)


def find_placeholders(values: NDArray[np.float64]) -> list[float]:
    """Return the least and the greatest value, if it repeats and is farther from the others than most of them spread.

    Up to three codes such as 997, 998 and 999 may stand in the place of one value.

    Args:
        values: Shape (n,), finite.

    >>> find_placeholders(np.concatenate([np.full(9, -999.0), np.linspace(15.0, 25.0, 100)]))
    [-999.0]
    """
    distinct, counts = np.unique(values, return_counts=True)
    found: list[float] = []
    while distinct.size - 1 > _FEWEST_OTHERS:
        below = _at_start(distinct, counts, distinct[:-1])
        above = 0 if below else _at_start(-distinct[::-1], counts[::-1], -distinct[:0:-1])
        if not below and not above:
            break
        end = distinct.size - above
        found += [*distinct[:below].tolist(), *distinct[end:][::-1].tolist()]
        distinct, counts = distinct[below:end], counts[below:end]
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


def lone_negatives(values: NDArray[np.float64]) -> list[float]:
    """Return -1, -9, -99 or the like if each repeats and no other number of many is negative; else nothing.

    >>> counts = np.append(np.arange(100.0, 140.0), [-1.0] * 5)
    >>> lone_negatives(np.append(counts, [-9.0] * 5)), lone_negatives(np.append(counts, [-2.0]))
    ([-9.0, -1.0], [])
    """
    distinct, counts = np.unique(values, return_counts=True)
    below = int(np.count_nonzero(distinct < 0))
    are_usual = 0 < below <= _MOST_TOGETHER and all(map(_is_usual, distinct[:below].tolist()))
    if not are_usual or counts[:below].min() < _FEWEST or distinct.size <= _FEWEST_OTHERS:
        return []
    found: list[float] = distinct[:below].tolist()
    return found


def usual_placeholders(values: NDArray[np.float64]) -> list[float]:
    """Return repeated values that programs write for nulls and that stand apart from the others, though not far.

    They are 0 below many other numbers, -1, and numbers of the digits 7, 8 and 9.

    >>> usual_placeholders(np.append(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 9), [99.0] * 5))
    [99.0]
    >>> usual_placeholders(np.append(np.arange(80.0, 160.0), [0.0] * 5))
    [0.0]
    """
    distinct, counts = np.unique(values, return_counts=True)
    below = _usual_at_start(distinct, counts)
    above = _usual_at_start(-distinct[::-1], counts[::-1], are_highest=True)
    found: list[float] = [*distinct[:below].tolist(), *distinct[distinct.size - above :].tolist()]
    return found


def spikes(values: NDArray[np.float64]) -> list[float]:
    """Return 9999, 99999 or the like if it is far more frequent than any other number.

    >>> spikes(np.append(np.linspace(4e3, 2e5, 100), [99998.0] * 6 + [99999.0] * 6))
    [99998.0, 99999.0]
    """
    distinct, counts = np.unique(values, return_counts=True)
    is_usual = np.array(
        [abs(value) >= _LEAST_SPIKE and _is_nines(value) for value in distinct.tolist()], dtype=np.bool_
    )
    if not is_usual.any() or np.count_nonzero(~is_usual) <= _FEWEST_OTHERS:
        return []
    least = max(_FEWEST, _SPIKE * counts[~is_usual].max())
    found: list[float] = distinct[is_usual & (counts >= least)].tolist()
    return found


def _at_start(distinct: NDArray[np.float64], counts: NDArray[np.int64], without_last: NDArray[np.float64]) -> int:
    """Return how many of the first values repeat and are farther from the next than most of the others spread."""
    for together in range(1, min(_MOST_TOGETHER, distinct.size - _FEWEST_OTHERS - 1) + 1):
        if counts[together - 1] < _FEWEST or (together > 1 and not all(map(_is_code, distinct[:together].tolist()))):
            break
        inner = without_last[together:]
        low, high = np.quantile(inner, _BULK)
        if inner[0] - distinct[together - 1] > high - low > 0.0:
            return together
    return 0


def _usual_at_start(distinct: NDArray[np.float64], counts: NDArray[np.int64], *, are_highest: bool = False) -> int:
    """Return how many of the first values are usual placeholders that stand apart from the others."""
    usual = 0
    for value, count in zip(distinct[:_MOST_TOGETHER].tolist(), counts.tolist(), strict=False):
        is_zero = value == 0.0 and not are_highest and count <= _MOST_ZEROS * counts.sum()
        if count < _FEWEST or not (is_zero or _is_usual(-value if are_highest else value)):
            break
        usual += 1
    for together in range(usual, 0, -1):
        if _stands_apart(distinct[together - 1], distinct[together:], counts[together:]):
            return together
    return 0


def _stands_apart(value: float, others: NDArray[np.float64], counts: NDArray[np.int64]) -> bool:
    """Return whether the next of greater values is farther away than values in that tail are from each other."""
    if others.size < (_FEWEST_OTHERS if value == 0.0 else _FEWEST_GRADES):
        return False
    gap = others[0] - value
    if others.size <= _FEWEST_OTHERS and gap < (others[-1] - others[0] if abs(value) > 1.0 else 0.0):
        return False
    near, tail = (int(np.searchsorted(np.cumsum(counts), share * counts.sum())) for share in _TAIL)
    spacing = np.diff(others[: max(tail, 1) + 1]).max()
    return bool(gap >= 2.0 * spacing and gap > others[near] - others[0])


def _is_usual(value: float) -> bool:
    """Return whether programs write a number for a null: -1, or one of the digits 7, 8 and 9."""
    return value == -1.0 or _is_code(value)


def _is_code(value: float) -> bool:
    return value == round(value) and abs(value) < _LARGEST_CODE and set(str(abs(int(value)))) <= set("789")


def _is_nines(value: float) -> bool:
    return value == round(value) and abs(value) < _LARGEST_CODE and set(str(abs(int(value)))[:-1]) == {"9"}


def _number_text(value: float) -> str:
    """Return a number as `null_values` takes it: short, and the same when it is read.

    >>> _number_text(-999.0), _number_text(float(np.float32(-999.9))), _number_text(float(np.float32(1e20)))
    ('-999', '-999.9000244140625', '1.0000000200408773e+20')
    """
    text = f"{value:.15g}"
    return text if float(text) == value else repr(value)


def _warned(plan: ColumnPlan, sample: Sample) -> ColumnPlan:
    if plan.kind is None or KINDS[plan.kind].joined_form is None:
        return plan  # Its values are neither numbers nor times.
    numbers = sample.numbers(plan.name, plan.kind, plan.reading, plan.number_form)
    values = numbers[~np.isnan(numbers)]
    found = find_placeholders(values)
    if plan.kind == TIME_KIND:
        texts = [(value, iso_instant(value).removesuffix(_MIDNIGHT), _FAR) for value in found]
    else:
        known = frequent_placeholders(found, values)
        effects = dict.fromkeys(known, "far from all others, and counts as a case of its own")
        effects |= {value: _FAR for value in found if value not in effects}
        others = values[~np.isin(values, found)]
        effects |= dict.fromkeys(lone_negatives(others), "and no other number is negative")
        for value in usual_placeholders(others):
            effects.setdefault(value, "apart from all others, and may hide anomalies between")
        for value in spikes(others):
            effects.setdefault(value, "far more often than any other number")
        texts = [(value, _number_text(value), effect) for value, effect in effects.items()]
    if not texts:
        return plan
    nulls = json.dumps([text for _, text, _ in texts])
    warnings = []
    for value, text, effect in texts:
        share = np.count_nonzero(values == value) / numbers.size
        warnings.append(f"{text} repeats in {share:.1%} of the records, {effect}")
    what = "these stand" if len(texts) > 1 else "it stands"
    return replace(
        plan,
        warnings=(
            *plan.warnings,
            f"{'; '.join(warnings)}: if {what} for no value, set {setting_of(plan.name, 'null_values')} = {nulls}",
        ),
    )

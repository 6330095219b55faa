"""Find the limits beyond which a new number is certainly wrong, and the step between numbers.

The margin beyond the range of the training records follows from the tail: the excesses of the k largest values over the
next one are taken to have a generalised Pareto distribution, whose shape says how heavy the tail is. The limit is the
number that a new value exceeds with a given probability. A tail without excess, such as that of months or ratings, gets
no margin.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

import numpy as np
from numpy.typing import NDArray

from vaegis.service.violations import is_off_grid
from vaegis.training.data.schema import coarsest_step

CHANCE_BEYOND = 5e-4
"""Chance of a normal number beyond any of the limits of a table."""
ANY_BUT_NEGATIVE = math.inf
"""Factor of the margin of a number that may be anything but negative."""

_FEWEST_MISSING = 8.0  # values with one more decimal place that should have come, so that none ever will
_SMALLEST_TAIL, _LARGEST_TAIL = 10, 40  # values, a tenth of all in between
_SHAPE, _SHAPE_WEIGHT = 0.2, 20.0  # of a Pareto tail, where nothing else is known, and how many values that counts as
_SHAPES = (-0.1, 0.7)
_NEAR_ZERO = 1e-6
_FEWEST_FOR_A_SHAPE = 5
_GROSS = 30.0  # median excesses; values farther out in the history do not stretch the limit
_SIGNIFICANT_DIGITS = 4
_FEWEST_ABOVE = 3
_CLEAR_FALL = 2.0  # standard deviations of the difference of two counts


def lower_limit(values: NDArray[np.float64], chance: float, wider: float, *, step: float) -> float:
    """Return the number that a new normal value falls below with about the probability ``chance``.

    A column without negative numbers has none below zero. One of positive numbers has a limit above zero, by their
    logarithms, unless the least multiples of its ``step`` pass and zero is likely to follow. The other arguments are
    those of `upper_limit`.
    """
    if values[0] < 0:
        return -upper_limit(-values[::-1], chance, wider)
    if values[0] == 0 or wider == ANY_BUT_NEGATIVE:
        return 0.0
    limit = float(np.exp(-upper_limit(-np.log(values)[::-1], chance, wider)))
    return 0.0 if limit <= step and upper_limit(-values[::-1], chance, wider) >= 0 else limit


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of numbers that hardly fit into float64
def upper_limit(values: NDArray[np.float64], chance: float, wider: float) -> float:
    """Return the number that a new normal value exceeds with about the probability ``chance``.

    Args:
        values: Ascending, more than `_SMALLEST_TAIL`, without nulls.
        chance: A probability.
        wider: Factor of the margin.
    """
    k = min(_LARGEST_TAIL, max(_SMALLEST_TAIL, values.size // 10))
    start = float(values[-1 - k])
    excess = values[-k:] - start
    gross = _GROSS * _usual_excess(values, excess)
    if np.count_nonzero(excess > gross) > max(1.0, CHANCE_BEYOND * values.size):
        gross = math.inf  # so many are no errors
    excess = excess[(excess > 0) & (excess <= gross)]
    if excess.size:
        last, beyond = start + float(excess[-1]), excess.size
        shape, scale = _pareto_tail(excess)
    else:
        inside = values[values <= start + gross]
        start = last = float(inside[-1])
        shape, scale, beyond = 0.0, _fall(inside), int((inside == last).sum())
    ratio = max(math.e, beyond / (values.size * chance))
    margin = wider * scale * (math.expm1(shape * math.log(ratio)) / shape if shape else math.log(ratio))
    # Only where normal records broke the limit: a tail may have no excess by chance.
    margin += (wider - 1.0) * (last - float(np.median(values))) / 2.0
    limit = max(last, start + margin)
    return limit if math.isfinite(limit) else float(np.finfo(np.float64).max)


def settled_step(values: NDArray[np.float64], step: float) -> float:
    """Return the step on whose multiples new values will lie as well.

    Amounts that people round, mostly to 1,000 and sometimes to 100, may be rounded to 10 next. So a coarse step counts
    only if at least as many values need it as need one ten times as coarse. Decimal places may go on as they began: if
    few values have the last one, the next may be missing by chance, and is allowed where it would come too often. Whole
    numbers stay whole.
    """
    coarsest = coarsest_step(values, step)
    if coarsest > step:
        finest, coarser = _needing(values, coarsest)
        if finest >= coarser:
            return coarsest
    finest, coarser = _needing(values, step)
    expected = finest * min(1.0, finest / max(1, coarser))
    may_go_on = step < 1.0 and CHANCE_BEYOND * values.size < expected < _FEWEST_MISSING
    return step / 10.0 if may_go_on else step


def rounded_up(limit: float) -> float:
    """Return the next number of four significant digits, which people can read.

    >>> rounded_up(95.8868), rounded_up(-0.123456), rounded_up(12.0)
    (95.89, -0.1234, 12.0)
    """
    if limit == 0 or not math.isfinite(limit):
        return limit
    unit = Decimal(1).scaleb(Decimal(limit).adjusted() - _SIGNIFICANT_DIGITS + 1)
    rounded = float((Decimal(limit) / unit).to_integral_value(ROUND_CEILING) * unit)
    return rounded if math.isfinite(rounded) else limit


def _pareto_tail(excess: NDArray[np.float64]) -> tuple[float, float]:
    """Return the shape and the scale of the generalised Pareto distribution of positive numbers, ascending.

    The empirical Bayes estimate of Zhang & Stephens (2009, Technometrics 51). The shape is drawn towards `_SHAPE`, as
    if that had been seen in `_SHAPE_WEIGHT` more numbers: a few of them say little about it.
    """
    n = excess.size
    if n < _FEWEST_FOR_A_SHAPE or excess[0] == excess[-1]:
        return _SHAPE, float(excess.mean())
    quartile = excess[max(0, int(n / 4 + 0.5) - 1)]
    points = 20 + int(math.sqrt(n))
    theta = 1 / excess[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (3 * quartile)
    theta[theta == 0] = _NEAR_ZERO / excess[-1]  # an exponential tail, where the shape is 0
    shapes = np.log1p(-theta[:, None] * excess).mean(1)
    likelihoods = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(likelihoods - likelihoods.max())
    mean = float(theta @ weights / weights.sum())
    shape = float(np.log1p(-mean * excess).mean())
    drawn = (n * shape + _SHAPE_WEIGHT * _SHAPE) / (n + _SHAPE_WEIGHT)
    return min(max(drawn, _SHAPES[0]), _SHAPES[1]), -shape / mean


def _usual_excess(values: NDArray[np.float64], excess: NDArray[np.float64]) -> float:
    """Return the median of the excesses above 0; where they are too few, the gap below the tail."""
    above = excess[excess > 0]
    if above.size >= _FEWEST_ABOVE:
        return float(np.median(above))
    distinct = np.unique(values[: values.size - above.size])
    return float(distinct[-1] - distinct[-2]) if distinct.size > 1 else 0.0


def _fall(values: NDArray[np.float64]) -> float:
    """Return the scale of a tail that ends in many equal values; 0 where their number says that it is bounded there.

    Counts of something become rarer with each step. Months and ratings do not.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if distinct.size == 1:
        return 0.0
    below, last = counts[-2:].tolist()
    if below - last < _CLEAR_FALL * math.sqrt(below + last):
        return 0.0
    return float(distinct[-1] - distinct[-2]) / max(1.0, math.log(below / last))


def _needing(values: NDArray[np.float64], step: float) -> tuple[int, int]:
    """Return how many values need a step, and how many one ten times as coarse."""
    finest, all_below = (int(np.count_nonzero(is_off_grid(values, step * times))) for times in (10.0, 100.0))
    return finest, all_below - finest

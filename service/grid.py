"""The grid of a numeric column: the multiples of its step, on which all its training values lie."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from itertools import pairwise

from vaegis.service.contract import NumericColumn

_SIGNIFICANT_DIGITS = 6


def is_integral(column: NumericColumn) -> bool:
    """Return whether all values of a column are whole."""
    return column.step >= 1.0 and column.step.is_integer()


@cache
def decimals(step: float) -> int:
    """Return how many decimal places the multiples of a step have.

    >>> decimals(1.0), decimals(0.25), decimals(0.01)
    (0, 2, 2)
    """
    return max(0, -int(Decimal(str(step)).normalize().as_tuple().exponent))


def on_grid(column: NumericColumn) -> Callable[[float], float | int]:
    """Return a function that finds the nearest possible value of a column.

    That is one of its known values if it has them, else a multiple of its step. Without a step, six digits are kept.
    """
    step = column.step
    if column.values:
        known = [int(value) for value in column.values] if is_integral(column) else list(column.values)
        middles = [low + (high - low) / 2 for low, high in pairwise(column.values)]
        return lambda value: known[bisect(middles, value)]
    if step == 0:
        return lambda value: float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    # A quotient of whole numbers is the decimal that it should be, which a multiple of the step may miss by a bit.
    unit = 10 ** decimals(step)
    units = round(step * unit)
    if is_integral(column):
        return lambda value: round(value / step) * units // unit
    return lambda value: round(value / step) * units / unit

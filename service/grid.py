"""The grid of a numeric column: the multiples of its step, on which all its training values lie."""

from __future__ import annotations

from decimal import Decimal
from functools import cache

from vaegis.service.contract import NumericColumn


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

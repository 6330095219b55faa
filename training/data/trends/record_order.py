"""Orders of the records, and whether the numbers of a column follow one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FEWEST_ORDERED: Final = 50
"""Fewest values whose order says anything."""
NEWEST: Final = 0.2
"""Share of the records that are compared with the rest, because the next ones will be more like these."""
LEAST_NEW: Final = 0.03
"""Share of the newest fifth outside what the rest holds that gives a warning: three times the usual alpha."""
LEAST_NEW_IN_FILES: Final = 0.1
"""The same by the order of the files, in which records of one place or customer often stand side by side."""
_FOLLOWS: Final = 0.99
"""Least rank correlation with an order, either way, of values that follow it."""
_FEWEST_LEVELS: Final = 3
"""Fewest distinct values that never step back for a reason other than chance."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the records; ``name`` is the column whose time it is, or None for the files' own order.

    ``span_s`` is the time between the first and the last of them, 0 where it is not known.
    """

    name: str | None
    positions: NDArray[np.int64]
    span_s: float = 0.0

    @property
    def shown(self) -> str:
        """What messages say that values follow."""
        return "the order of the records" if self.name is None else f"the time in {self.name}"


def follows(values: NDArray[np.float64], order: Order) -> bool:
    """Return whether values rise, or fall, with an order: by their rank correlation, or because none steps back."""
    ordered = finite(values[order.positions])
    if ordered.size < FEWEST_ORDERED:
        return False
    steps = np.diff(ordered)
    if np.unique(ordered).size < _FEWEST_LEVELS:
        return False
    one_way = bool((steps >= 0).all() or (steps <= 0).all())
    return one_way or abs(rank_correlation(ordered)) >= _FOLLOWS


def rank_correlation(values: NDArray[np.float64]) -> float:
    """Return Spearman's correlation of values with their positions; 0 if all are equal."""
    is_finite = np.isfinite(values)
    _, inverse, counts = np.unique(values[is_finite], return_inverse=True, return_counts=True)
    if counts.size < 2:  # noqa: PLR2004 - a constant has no correlation
        return 0.0
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    return float(np.corrcoef(ranks, np.flatnonzero(is_finite))[0, 1])


def finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are neither null nor infinite."""
    return values[np.isfinite(values)]


def are_whole(numbers: NDArray[np.float64]) -> bool:
    """Tell whether all numbers are whole."""
    return bool((numbers == np.floor(numbers)).all())

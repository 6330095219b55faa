"""Profile the numbers of one column: whether they are booleans, or only number the records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_LEAST_STEPS = 10
"""Steps of one from which numbers are taken for row numbers; fewer come by chance."""


@dataclass(frozen=True, slots=True)
class NumberProfile:
    """The finite numbers of a column.

    Attributes:
        count: How many there are.
        non_finite: How many NaN and infinite values there are beside them.
        infinite: How many of those are infinite.
        are_zero_and_one: Whether they are 0 and 1 alone, and both occur.
        are_consecutive: Whether each is the one before plus 1, file by file, as in row numbers.
    """

    count: int
    non_finite: int
    infinite: int
    are_zero_and_one: bool
    are_consecutive: bool


class NumberTally:
    """Gathers a `NumberProfile` batch by batch."""

    def __init__(self) -> None:
        self._count = 0
        self._non_finite = 0
        self._infinite = 0
        self._minimum = math.inf
        self._maximum = -math.inf
        self._only_zero_and_one = True
        self._steps = 0
        self._last: float | None = None
        self._path: Path | None = None
        self.may_be_consecutive = True

    def observe(self, numbers: NDArray[np.float64], weights: NDArray[np.int64] | None = None) -> None:
        """Add numbers, in any order, each standing for as many records as its weight says."""
        finite = np.isfinite(numbers)
        whole = numbers.size if weights is None else int(weights.sum())
        kept = int(np.count_nonzero(finite) if weights is None else weights[finite].sum())
        self._count += kept
        self._non_finite += whole - kept
        if whole != kept:
            infinite = np.isinf(numbers)
            self._infinite += int(np.count_nonzero(infinite) if weights is None else weights[infinite].sum())
        numbers = numbers[finite]
        if numbers.size:
            self._minimum = min(self._minimum, float(numbers.min()))
            self._maximum = max(self._maximum, float(numbers.max()))
            self._only_zero_and_one = self._only_zero_and_one and bool(((numbers == 0) | (numbers == 1)).all())

    def add_order(self, numbers: NDArray[np.float64], path: Path) -> None:
        """Add the numbers of consecutive records of one file, none of them null."""
        if not self.may_be_consecutive or not numbers.size:
            return
        if not np.isfinite(numbers).all():
            self.break_order()
            return
        before = [] if self._last is None or path != self._path else [self._last]
        steps = np.diff(np.concatenate([before, numbers]))
        if not (steps == 1).all() or numbers[0] != math.floor(numbers[0]):
            self.break_order()
            return
        self._steps += steps.size
        self._last, self._path = float(numbers[-1]), path

    def break_order(self) -> None:
        """Note that the numbers cannot be row numbers: a record has none, or they do not go up by one."""
        self.may_be_consecutive = False

    def profile(self) -> NumberProfile:
        """Return what was gathered."""
        return NumberProfile(
            count=self._count,
            non_finite=self._non_finite,
            infinite=self._infinite,
            are_zero_and_one=self._only_zero_and_one and self._minimum == 0 and self._maximum == 1,
            are_consecutive=self.may_be_consecutive and self._steps >= _LEAST_STEPS,
        )

"""Contenders measured in turn, round after round, so that what else the machine does meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.serving.closed_loop import Slice

Contender = Callable[[float], Slice]
"""Does its work for so many seconds."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle and the ends of a figure over the rounds."""

    median: float
    least: float
    greatest: float


def spread(values: Sequence[float]) -> Spread:
    """Return the middle and the ends of some values."""
    return Spread(median(values), min(values), max(values))


def in_rounds(contenders: Mapping[str, Contender], *, rounds: int, seconds: float) -> dict[str, list[Slice]]:
    """Return the slices of each contender, one a round, after a short one that is not counted."""
    slices: dict[str, list[Slice]] = {name: [] for name in contenders}
    for contend in contenders.values():
        contend(min(1.0, seconds))
    for _ in range(rounds):
        for name, contend in contenders.items():
            slices[name].append(contend(seconds))
    return slices


def best_of(slices: Mapping[str, Sequence[Slice]]) -> str:
    """Return the name of the contender with the highest median rate by processor time."""
    return max(slices, key=lambda name: median(each.cpu_rate for each in slices[name]))


def ratios(some: Sequence[Slice], others: Sequence[Slice], rate: Callable[[Slice], float]) -> Spread:
    """Return how many times the rate of ``others`` that of ``some`` is, each round by itself."""
    return spread([rate(one) / rate(other) for one, other in zip(some, others, strict=True)])

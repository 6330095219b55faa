"""Delays before a worker that ended is started again, and when the service gives up."""

from __future__ import annotations

from typing import Final

STABLE_S: Final = 10.0
"""A worker that served at least this long did not end because of its start."""

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
MOST_FAILED_STARTS: Final = 5


class Restarts:
    """The history of one service's workers."""

    def __init__(self) -> None:
        """Begin with none."""
        self._failed_starts = 0
        self._short_lives: dict[int, int] = {}

    def note_ready(self) -> None:
        """Note that a worker began to serve: starting is possible."""
        self._failed_starts = 0

    def note_end(self, worker: int, *, served_s: float | None) -> float:
        """Note that a worker ended which served for so long, or not at all if None; return when to start the next.

        The first is started at once. Each that lives for a short time doubles the wait for its successor.
        """
        if served_s is None:
            self._failed_starts += 1
        if served_s is not None and served_s >= STABLE_S:
            self._short_lives.pop(worker, None)
            return 0.0
        short_lives = self._short_lives.get(worker, 0)
        self._short_lives[worker] = short_lives + 1
        return min(FIRST_DELAY_S * 2 ** (short_lives - 1), LONGEST_DELAY_S) if short_lives else 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether so many starts in a row failed that the next will."""
        return self._failed_starts >= MOST_FAILED_STARTS

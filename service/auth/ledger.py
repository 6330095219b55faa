"""How full each caller's bucket is, in memory that several processes may share."""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Final

if sys.platform != "win32":
    import fcntl

_SETS: Final = 256
_PLACES: Final = 16  # in each set
_WIDTH: Final = 16  # bytes of a place: a mark, and the instant at which its bucket is empty


class Ledger:
    """Buckets that leak, each known by a mark. Several threads may use it, and with a file several processes.

    A bucket that leaks one second's worth a second is known by the one instant at which it will be empty (the generic
    cell rate algorithm; ITU-T I.371, annex A). A mark decides on a set of places. Where all of a set are taken, the
    bucket that is empty first gives way: with most of 4,096 places free that is one that nobody has used for long.
    """

    def __init__(self, file: Path | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        """Open the ledger.

        Args:
            file: What the processes of one run share, made if it is not there; None keeps all in this process.
            now: The time in seconds, the same in all processes.

        Raises:
            OSError: the file cannot be written.
        """
        self._now = now
        self._threads = Lock()
        self._file = None if file is None else os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = _SETS * _PLACES * _WIDTH
        if self._file is None:
            memory = memoryview(bytearray(size))
        else:
            os.ftruncate(self._file, size)
            memory = memoryview(mmap.mmap(self._file, size))
        self._marks = memory.cast("Q")
        self._instants = memory.cast("d")
        self._known: dict[int, int] = {}

    def take(self, mark: int, cost_s: float, room_s: float) -> float:
        """Put ``cost_s`` into a bucket if that much is free in it, or all of it is.

        Args:
            mark: Whose bucket, by `mark_of`.
            cost_s: How long it takes to leak again, in seconds.
            room_s: How much the bucket holds, likewise. What costs more is put into an empty one all the same.

        Returns:
            0 if it was put in; otherwise the seconds until it could be.
        """
        with self._threads:
            self._lock()
            try:
                at, now = self._place_of(mark), self._now()
                level_s = max(self._instants[at] - now, 0.0)
                excess_s = level_s + min(cost_s, room_s) - room_s
                if excess_s > 0:
                    return excess_s
                self._instants[at] = now + level_s + cost_s
                return 0.0
            finally:
                self._unlock()

    def put(self, mark: int, cost_s: float, room_s: float) -> float:
        """Put ``cost_s`` into a bucket whatever is free in it.

        Returns:
            The seconds until the bucket holds no more than its room again.
        """
        with self._threads:
            self._lock()
            try:
                at, now = self._place_of(mark), self._now()
                level_s = max(self._instants[at] - now, 0.0) + cost_s
                self._instants[at] = now + level_s
                return max(level_s - room_s, 0.0)
            finally:
                self._unlock()

    def _lock(self) -> None:
        """Keep other processes out. The system lets them in again if this one dies."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX)

    def _unlock(self) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _place_of(self, mark: int) -> int:
        """Return where the instant of ``mark`` stands, having taken a place for it if it had none."""
        marks, instants = self._marks, self._instants
        known = self._known.get(mark)
        if known is not None and marks[known] == mark:
            return known + 1
        first = mark % _SETS * _PLACES * 2
        places = range(first, first + _PLACES * 2, 2)
        at = next((place for place in places if marks[place] == mark), None)
        if at is None:
            at = min(places, key=lambda place: instants[place + 1])
            marks[at], instants[at + 1] = mark, 0.0
        self._known[mark] = at
        return at + 1


def mark_of(name: str) -> int:
    """Return the number by which a name is known in a ledger: 64 bits of its hash."""
    return int.from_bytes(sha256(name.encode()).digest()[:8]) or 1

"""Show a count of records while a command runs, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_INTERVAL_S = 0.2
_ERASE_LINE = "\r\x1b[K"


class ProgressLine:
    """Counts records on one line that it keeps rewriting."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._started = time.monotonic()
        self._next = self._started + _INTERVAL_S

    def show(self, records: int, more: str = "") -> None:
        """Show the number of records done so far, and their rate, unless the line was rewritten just before."""
        now = time.monotonic()
        if self._live and now >= self._next:
            self._next = now + _INTERVAL_S
            rate = records / (now - self._started)
            self._stream.write(f"{_ERASE_LINE}{records:,} records, {rate:,.0f} records/s{more}")
            self._stream.flush()

    def erase(self) -> None:
        """Leave an empty line."""
        if self._live:
            self._stream.write(_ERASE_LINE)
            self._stream.flush()


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """Yield a line on standard error that disappears when the block ends."""
    line = ProgressLine(sys.stderr)
    try:
        yield line
    finally:
        line.erase()

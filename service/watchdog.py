"""A thread that ends a hanging process if there is no supervisor to do it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

_CHECKS: Final = 20  # within the time allowed
_LONGEST_WAIT_S: Final = 0.5


class Watchdog:
    """Calls a function once if no sign of life comes in time, until it is closed."""

    def __init__(self, timeout_s: float, on_late: Callable[[float], None]) -> None:
        """Begin to wait.

        Args:
            timeout_s: Longest time from one sign of life to the next.
            on_late: Called, on another thread, with the seconds since the last one.
        """
        self._timeout_s = timeout_s
        self._on_late = on_late
        self._heard = monotonic()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="vaegis-watchdog", daemon=True).start()

    def beat(self, timeout_s: float | None = None) -> None:
        """Give a sign of life; the next one is due within ``timeout_s``, or the same time as before."""
        if timeout_s is not None:
            self._timeout_s = timeout_s
        self._heard = monotonic()

    def close(self) -> None:
        """Wait no more."""
        self._closed.set()

    def _watch(self) -> None:
        looked = monotonic()
        while not self._closed.wait(min(self._timeout_s / _CHECKS, _LONGEST_WAIT_S)):
            now = monotonic()
            if now - looked > self._timeout_s / 2:
                self._heard = now  # all of the process was stopped, as by a debugger
            looked, silent_s = now, now - self._heard
            if silent_s > self._timeout_s:
                self._on_late(silent_s)
                return

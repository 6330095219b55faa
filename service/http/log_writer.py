"""Lines of the log on their way out: a thread writes them, so that a slow reader delays no request."""

from __future__ import annotations

import atexit
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Event, Lock, Thread
from typing import Final, TextIO

MAX_LINES: Final = 10_000
"""Most lines that wait; further ones are dropped and counted."""

_COLLECT_S: Final = 0.05  # what comes within it is written together, so that the thread wakes 20 times a second at most
_CLOSE_S: Final = 2.0
# Several processes may write to one pipe, and up to this many bytes at a time do not mix (PIPE_BUF of Linux).
_ATOMIC_BYTES: Final = 4096


class LineWriter:
    """Writes lines in order. Lines may come from any thread."""

    def __init__(self, stream: TextIO, max_lines: int = MAX_LINES) -> None:
        """Write to ``stream``, holding at most ``max_lines``."""
        self._stream = stream
        self._max_lines = max_lines
        self._on_dropped: list[Callable[[float], object]] = []
        self._thread: Thread | None = None
        self._begin()
        atexit.register(self.close)

    def write(self, line: str) -> None:
        """Hand over a line with its end. It is dropped if too many wait."""
        lines = self._lines
        if len(lines) >= self._max_lines:
            self._drop(1)
            return
        lines.append(line)
        if not self._woken.is_set():
            if self._thread is None:
                self._start()
            self._woken.set()

    def tell_dropped(self, to: Callable[[float], object]) -> None:
        """Call ``to`` with how many lines were dropped, whenever some are."""
        self._on_dropped.append(to)

    def close(self) -> None:
        """Write what waits, giving up on a reader that takes nothing for seconds. Lines after that start anew."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._closing.set()
            self._woken.set()
            thread.join(_CLOSE_S)
            self._begin()

    def _begin(self) -> None:
        """Start with nothing."""
        self._lines: deque[str] = deque()
        self._lock = Lock()
        self._woken = Event()
        self._closing = Event()
        self._thread = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                state = self._lines, self._woken, self._closing
                self._thread = Thread(target=self._run, args=state, name="log", daemon=True)
                self._thread.start()

    def _run(self, lines: deque[str], woken: Event, closing: Event) -> None:
        while lines or not closing.is_set():
            woken.wait()
            closing.wait(_COLLECT_S)
            woken.clear()
            for part in _parts(lines.popleft() for _ in range(len(lines))):
                self._write(part)

    def _write(self, part: list[str]) -> None:
        try:
            self._stream.write("".join(part))
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more, or it is closed
            self._drop(len(part))

    def _drop(self, lines: int) -> None:
        for to in self._on_dropped:
            to(lines)


def _parts(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield lines in parts that can be written in one piece each."""
    part: list[str] = []
    size = 0
    for line in lines:
        if part and size + len(line) > _ATOMIC_BYTES:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line)
    if part:
        yield part

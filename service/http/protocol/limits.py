"""What a client may take of a connection: time, bytes, and how little it may move."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of every connection of a process.

    Attributes:
        header_timeout_s: Longest time from a request's first byte to the end of its headers; for the first request,
            from the connection's start.
        body_timeout_s: Time in which a body must end, or at least ``min_bytes_per_s`` times as many bytes come.
        answer_timeout_s: The same for an answer that the client should be reading.
        keep_alive_s: Longest wait for the next request on a connection.
        min_bytes_per_s: Least speed of a body or of an answer, over its time-out.
        max_header_bytes: Longest request line and headers together.
        max_headers: Most headers of a request.
        max_connections: Most connections; a new one takes the place of the one that has been idle for longest.
        max_unsent_bytes: Most bytes of answers that wait for their clients to read; the largest is cut first.
    """

    header_timeout_s: float
    body_timeout_s: float
    answer_timeout_s: float
    keep_alive_s: float
    min_bytes_per_s: int
    max_header_bytes: int
    max_headers: int
    max_connections: int
    max_unsent_bytes: int

    @property
    def shortest_s(self) -> float:
        """The shortest of the times."""
        return min(self.header_timeout_s, self.body_timeout_s, self.answer_timeout_s, self.keep_alive_s)


class Pace:
    """Whether bytes move fast enough: in every window of time, a least number of them."""

    __slots__ = ("_least", "_moved", "_started", "_window_s")

    def __init__(self, now: float, moved: int, window_s: float, min_bytes_per_s: float) -> None:
        """Begin a first window.

        Args:
            now: Seconds on a clock that never goes back.
            moved: Bytes that have moved so far.
            window_s: Length of a window.
            min_bytes_per_s: Least speed, on average over a window.
        """
        self._started = now
        self._moved = moved
        self._window_s = window_s
        self._least = window_s * min_bytes_per_s

    def excuse(self, seconds: float) -> None:
        """Leave out a time in which nothing could move for a reason of ours."""
        self._started += seconds

    def is_too_slow(self, now: float, moved: int) -> bool:
        """Tell whether a window has ended in which too few bytes moved; ``moved`` counts all since the beginning.

        >>> pace = Pace(now=0.0, moved=0, window_s=10.0, min_bytes_per_s=5)
        >>> pace.is_too_slow(9.0, 0), pace.is_too_slow(10.0, 50), pace.is_too_slow(20.0, 99)
        (False, False, True)
        """
        if now - self._started < self._window_s:
            return False
        if moved - self._moved < self._least:
            return True
        self._started, self._moved = now, moved
        return False

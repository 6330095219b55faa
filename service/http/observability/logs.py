"""The log: one event a line on stderr, without records, bodies, or messages of exceptions that may quote them."""

from __future__ import annotations

import atexit
import json
import logging
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from threading import Event, Lock, Thread
from typing import Final, Literal, TextIO, TypeAlias

from vaegis.service.http.request_context import RequestContext
from vaegis.service.terminal import printable

LogFormat: TypeAlias = Literal["json", "text"]
"""Format of log lines: JSON for programs, text for people."""

_LOGGERS: Final = ("vaegis", "opentelemetry")
# The exporters of OpenTelemetry never see a header. Its other parts quote unreadable headers in warnings, with which a
# caller could fill the log.
_QUOTE_NO_CALLER: Final = ("vaegis", "opentelemetry.sdk", "opentelemetry.exporter")
MAX_LINES: Final = 10_000
"""Most lines that wait; further ones are dropped and counted."""

_COLLECT_S: Final = 0.05  # what comes within it is written together, so that the thread wakes 20 times a second at most
_CLOSE_S: Final = 2.0
# Several processes may write to one pipe, and up to this many bytes at a time do not mix (PIPE_BUF of Linux).
_ATOMIC_BYTES: Final = 4096


def configure_logs(level: str, log_format: LogFormat = "json", stream: TextIO | None = None) -> LineWriter:
    """Send the events of the service and its server, from ``level`` up, to ``stream`` (stderr if left out).

    Returns:
        The writer, for lines that are formatted elsewhere. Close it at the end.
    """
    writer = LineWriter(sys.stderr if stream is None else stream)
    handler = logging.StreamHandler(writer)
    handler.setFormatter(_Formatter(log_format))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    for name in _QUOTE_NO_CALLER:
        logging.getLogger(name).setLevel(level.upper())
    return writer


def shown_instant(instant_s: float) -> str:
    """Return an instant, given in Unix time, as ISO 8601 in UTC, to the millisecond."""
    second = int(instant_s)
    return f"{_shown_second(second)}.{int((instant_s - second) * 1000):03}+00:00"


@lru_cache(1)
def _shown_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


class RequestLog:
    """Writes a line for each request, by hand: `logging` would cost several times as much. Not thread-safe.

    Each value in a line is a number, comes from a bounded set, or has a checked form, so nothing needs to be escaped.
    Only the ids of the request and its trace come from headers; nothing comes from a record or a path.
    """

    def __init__(self, writer: LineWriter, level: str, log_format: LogFormat = "json") -> None:
        """Write to ``writer``, if ``level`` is low enough; requests to quiet routes only at level debug."""
        self._writer = writer
        self._writes = level in ("debug", "info")
        self._writes_quiet = level == "debug"
        self._shown = _text_line if log_format == "text" else _json_line

    def note(self, context: RequestContext, method: str, duration_s: float) -> None:
        """Write the line of an answered request."""
        quiet = context.route.quiet
        if self._writes_quiet if quiet else self._writes:
            level = "debug" if quiet else "info"
            now = shown_instant(time.time())  # noqa: TID251 - for people
            self._writer.write(self._shown(context, now, level, method, duration_s))


class LineWriter:
    """Writes lines in order. Lines may come from any thread."""

    def __init__(self, stream: TextIO, max_lines: int = MAX_LINES) -> None:
        """Write to ``stream``, holding at most ``max_lines``."""
        self._stream = stream
        self._max_lines = max_lines
        self.on_dropped: list[Callable[[float], object]] = []
        """Called with how many lines were dropped, whenever some are."""
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

    def close(self) -> None:
        """Write the lines that wait, but give up after seconds if nobody reads them. Later lines start a new thread."""
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
        for report in self.on_dropped:
            report(lines)


class _Formatter(logging.Formatter):
    """Formats an event as one line."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self._is_text = log_format == "text"

    def format(self, record: logging.LogRecord) -> str:
        time_shown, level, event = shown_instant(record.created), record.levelname.lower(), record.getMessage()
        fields = getattr(record, "fields", {}) | dict(_fault(record))
        if not self._is_text:
            return json.dumps({"time": time_shown, "level": level, "event": event} | fields, separators=(",", ":"))
        shown = (f" {name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items())
        return printable(f"{time_shown} {level:<7} {event}{''.join(shown)}")


def _fault(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield the fields of an exception: its kind and its places in the code, but not its text."""
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, where = record.exc_info
        yield "error", kind.__name__
        yield "at", [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(where)]


def _json_line(context: RequestContext, instant: str, level: str, method: str, duration_s: float) -> str:
    key = "null" if context.key is None else f'"{context.key}"'
    return (
        f'{{"time":"{instant}","level":"{level}","event":"request","request_id":"{context.request_id}",'
        f'"trace_id":"{context.trace_id}","span_id":"{context.span_id}","method":"{method}","route":"{context.route.template}",'
        f'"status":{context.status},"duration_s":{duration_s:.6f},"records":{context.records},"flagged":{context.flagged},'
        f'"key":{key}}}\n'
    )


def _text_line(context: RequestContext, instant: str, level: str, method: str, duration_s: float) -> str:
    key = "" if context.key is None else f" key={context.key}"
    return (
        f"{instant} {level:<7} {method} {context.route.template} {context.status} in {duration_s * 1000:.2f} ms, "
        f"{context.records} records, {context.flagged} flagged{key} request_id={context.request_id} "
        f"trace_id={context.trace_id}\n"
    )


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

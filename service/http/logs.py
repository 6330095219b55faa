"""The log: one event a line on stderr, without records, bodies, or messages of exceptions that may quote them."""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Final, Literal, TextIO, TypeAlias

from vaegis.service.http.log_writer import LineWriter
from vaegis.service.terminal import printable

LogFormat: TypeAlias = Literal["json", "text"]
"""For programs, or for whoever reads along."""

_LOGGERS: Final = ("vaegis", "opentelemetry")
# What exports traces knows no header. The rest of OpenTelemetry warns with the text of those that it cannot read, which
# a caller could also fill the log with.
_QUOTE_NO_CALLER: Final = ("vaegis", "opentelemetry.sdk", "opentelemetry.exporter")


def configure_logs(level: str, log_format: LogFormat = "json", stream: TextIO | None = None) -> LineWriter:
    """Send the events of the service and its server, from ``level`` up, to ``stream`` (stderr if left out).

    Returns:
        What writes them, for lines that are made elsewhere; to be closed in the end.
    """
    writer = LineWriter(sys.stderr if stream is None else stream)
    handler = _Handler(writer)
    handler.setFormatter(_Formatter(log_format))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.ERROR)
        logger.propagate = False
    for name in _QUOTE_NO_CALLER:
        logging.getLogger(name).setLevel(level.upper())
    return writer


class Stamp:
    """Shows instants in UTC, to the millisecond."""

    def __init__(self) -> None:
        """Remember no second yet."""
        self._second, self._shown = -1, ""

    def __call__(self, instant_s: float) -> str:
        """Return an instant, given in Unix time, as ISO 8601."""
        second = int(instant_s)
        if second != self._second:
            self._second, self._shown = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._shown}.{int((instant_s - second) * 1000):03}+00:00"


class _Handler(logging.Handler):
    """Hands events to the writer."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        self._writer.write(self.format(record) + "\n")


class _Formatter(logging.Formatter):
    """Formats an event as one line."""

    def __init__(self, log_format: LogFormat) -> None:
        super().__init__()
        self._stamp = Stamp()
        self._is_text = log_format == "text"

    def format(self, record: logging.LogRecord) -> str:
        time_shown, level, event = self._stamp(record.created), record.levelname.lower(), record.getMessage()
        fields = getattr(record, "fields", {}) | dict(_fault(record))
        if not self._is_text:
            return json.dumps({"time": time_shown, "level": level, "event": event} | fields, separators=(",", ":"))
        told = (f" {name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items())
        return printable(f"{time_shown} {level:<7} {event}{''.join(told)}")


def _fault(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Yield what an event tells of an exception: its kind and its places, but not its text."""
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, where = record.exc_info
        yield "error", kind.__name__
        yield "at", [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(where)]

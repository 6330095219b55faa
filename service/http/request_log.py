"""The line that a request leaves in the log, put together by hand: `logging` would cost several times as much."""

from __future__ import annotations

import time

from vaegis.service.http.call import Call
from vaegis.service.http.log_writer import LineWriter
from vaegis.service.http.logs import LogFormat, Stamp


class RequestLog:
    """Writes a line for each request. Only for use on the event loop's thread.

    Whatever stands in a line is one of a bounded set, a number, or was checked for its form, so that nothing in it
    needs to be escaped, and nothing comes from a record, a path or a header but the ids of the request and its trace.
    """

    def __init__(self, writer: LineWriter, level: str, log_format: LogFormat = "json") -> None:
        """Write to ``writer``, if ``level`` is low enough; requests to quiet routes at level debug alone."""
        self._writer = writer
        self._writes = level in ("debug", "info")
        self._writes_quiet = level == "debug"
        self._shown = _text if log_format == "text" else _json
        self._stamp = Stamp()

    def note(self, call: Call, method: str, status: int, duration_s: float) -> None:
        """Write the line of an answered request.

        Args:
            call: The request.
            method: Its method, if that is a known one.
            status: Of the answer; 0 if there was none.
            duration_s: From the request's headers to the end of the answer.
        """
        quiet = call.route.quiet
        if self._writes_quiet if quiet else self._writes:
            level = "debug" if quiet else "info"
            self._writer.write(self._shown(call, self._stamp(time.time()), level, method, status, duration_s))


def _json(call: Call, instant: str, level: str, method: str, status: int, duration_s: float) -> str:
    key = "null" if call.key is None else f'"{call.key}"'
    return (
        f'{{"time":"{instant}","level":"{level}","event":"request","request_id":"{call.request_id}",'
        f'"trace_id":"{call.trace_id}","span_id":"{call.span_id}","method":"{method}","route":"{call.route.template}",'
        f'"status":{status},"duration_s":{duration_s:.6f},"records":{call.records},"flagged":{call.flagged},'
        f'"key":{key}}}\n'
    )


def _text(call: Call, instant: str, level: str, method: str, status: int, duration_s: float) -> str:
    key = "" if call.key is None else f" key={call.key}"
    return (
        f"{instant} {level:<7} {method} {call.route.template} {status} in {duration_s * 1000:.2f} ms, "
        f"{call.records} records, {call.flagged} flagged{key} request_id={call.request_id} trace_id={call.trace_id}\n"
    )

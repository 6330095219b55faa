"""What every request leaves behind: its count, its time and a line in the log; and the last resort for its errors."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaegis.service.http.access import route_of
from vaegis.service.http.call import Call, enter
from vaegis.service.http.metrics import METHODS, OTHER, Metrics
from vaegis.service.http.problems import plain_problem, problem_response
from vaegis.service.http.request_log import RequestLog
from vaegis.service.http.traces import identify

if TYPE_CHECKING:
    from vaegis.service.http.tracing import Tracing

_LOG: Final = logging.getLogger("vaegis.http")


class Instrumentation:
    """ASGI middleware around everything else. It makes the `Call` that all within finds in the scope."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog | None, tracing: Tracing | None) -> None:
        """Wrap ``app``; without a ``log`` requests leave no line, and without ``tracing`` no span."""
        self._app = app
        self._metrics = metrics
        self._log = log
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        call = Call(route_of(scope["path"]), *identify(scope["headers"]))
        enter(scope, call)
        if self._tracing is not None and not call.route.quiet:
            self._tracing.begin(scope, call)
        status = 0
        failure: str | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", call.request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - the last resort
            failure = type(error).__name__
            _LOG.exception("unexpected error", extra={"fields": {"request_id": call.request_id}})
            # An answer that has begun stays half: the server cuts it off there, so that nobody takes it for whole.
            if not status:
                document = plain_problem(500, f"expected no fault of the service, got {failure}; see its log")
                await problem_response(scope, document)(scope, receive, noting)
        finally:
            if call.span is not None:
                call.span.end(call, status, failure)
            self._note(scope["method"], call, status, time.perf_counter() - started)

    def _note(self, method: str, call: Call, status: int, seconds: float) -> None:
        self._metrics.count_request(method, call.route.template, status, seconds)
        if self._log is not None:
            self._log.note(call, method if method in METHODS else OTHER, status, seconds)

"""What every request leaves behind: its count, its time and a line in the log; and the last resort for its errors."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.access import route_of
from service.http.call import Call, enter
from service.http.metrics import Metrics
from service.http.problems import plain_problem, problem_response

_LOG: Final = logging.getLogger("vaegis.http")


class Instrumentation:
    """ASGI middleware around the routes and their error handlers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap ``app``."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        call = Call(route_of(scope["path"]))
        enter(scope, call)
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            _LOG.exception("unexpected error")
            if status:
                raise  # the server cuts the connection, so that nobody takes half an answer for a whole one
            document = plain_problem(500, f"expected no fault of the service, got {type(error).__name__}; see its log")
            await problem_response(document)(scope, receive, noting)
        finally:
            self._note(scope["method"], call, status, time.perf_counter() - started)

    def _note(self, method: str, call: Call, status: int, seconds: float) -> None:
        route = call.route
        self._metrics.count_request(method, route.template, status, seconds)
        level = logging.DEBUG if route.quiet else logging.INFO
        fields = {"method": method, "route": route.template, "status": status, "duration_s": round(seconds, 6)}
        if call.key is not None:
            fields["key"] = call.key
        _LOG.log(level, "request", extra={"fields": fields})

"""Middleware of every request: its metrics, log line and trace, then the check of its key, then its endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaegis.service.auth.keys import KeyStore
from vaegis.service.auth.rate_limits import RateLimits
from vaegis.service.errors import ServiceError
from vaegis.service.http.errors import KeyRequiredError, MissingScopeError, UnknownKeyError
from vaegis.service.http.logs import RequestLog
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.problems import plain_problem, problem_response, response_to
from vaegis.service.http.request_context import CONTEXT, RequestContext, identify
from vaegis.service.http.routes import METHODS, OTHER, SCORING, route_of

BeginSpan = Callable[[Scope, RequestContext], None]
"""Begins the tracing span of a request."""

_LOG: Final = logging.getLogger("vaegis.http")
_SCHEME: Final = b"bearer "
_MAX_KEY_BYTES: Final = 256


class Instrumentation:
    """ASGI middleware around everything else: counts, logs and traces requests, and answers unexpected errors.

    It puts a `RequestContext` into the scope, for everything within.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog | None, begin_span: BeginSpan | None) -> None:
        """Wrap ``app``; without a ``log`` requests leave no line, and without ``begin_span`` no trace."""
        self._app = app
        self._metrics = metrics
        self._log = log
        self._begin_span = begin_span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        context = RequestContext(route_of(scope["path"]), *identify(scope["headers"]))
        scope[CONTEXT] = context
        if self._begin_span is not None and not context.route.quiet:
            self._begin_span(scope, context)
        failure: str | None = None

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - the last resort
            failure = type(error).__name__
            _LOG.exception("unexpected error", extra={"fields": {"request_id": context.request_id}})
            # If an answer has begun, the server cuts the connection, so that nobody takes it for a whole one.
            if not context.status:
                document = plain_problem(500, f"internal error ({failure}); see the log of the service")
                await problem_response(scope, document)(scope, receive, noting)
        finally:
            if context.span is not None:
                context.span.end(context, failure)
            self._note(scope["method"], context, time.perf_counter() - started)

    def _note(self, method: str, context: RequestContext, seconds: float) -> None:
        self._metrics.count_request(method, context.route.template, context.status, seconds)
        if self._log is not None:
            self._log.note(context, method if method in METHODS else OTHER, seconds)


class KeyCheck:
    """ASGI middleware, within `Instrumentation`: lets a request through if its route exists and its key allows it."""

    def __init__(self, app: ASGIApp, key_store: KeyStore | None, rate_limits: RateLimits | None) -> None:
        """Wrap ``app``; without a ``key_store`` everyone may call, and without ``rate_limits`` at any rate."""
        self._app = app
        self._key_store = key_store
        self._rate_limits = rate_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] == "http":
            context: RequestContext = scope[CONTEXT]
            try:
                self._admit(context, scope["headers"])
            except ServiceError as error:
                await response_to(scope, error)(scope, receive, send)
                return
            if context.route.template == OTHER:
                # Not left to the framework, whose patterns also match a path with a line end after it: the route would
                # be reached without its scope and its rate.
                await response_to(scope, HTTPException(404))(scope, receive, send)
                return
            try:
                await self._app(scope, receive, send)
            finally:
                context.settle()
        else:
            await self._app(scope, receive, send)

    def _admit(self, context: RequestContext, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Note who calls. A caller whose rate limit is reached is refused before its body is read.

        Raises:
            KeyRequiredError: a key is needed, and there is none.
            UnknownKeyError: there is one that is not valid.
            MissingScopeError: there is one that does not allow the route.
            RateLimitedError: the caller may not send a record now.
        """
        needs = context.route.scopes
        if not needs:
            return
        key = None
        if self._key_store is not None:
            key = self._key_store.find(_presented(headers))
            if key is None:
                raise UnknownKeyError
            context.key, context.scopes = key.name, key.scopes
            if key.scopes.isdisjoint(needs):
                raise MissingScopeError(sorted(needs))
        if needs == SCORING and self._rate_limits is not None:
            context.rate_limit = self._rate_limits.limit_of(key)
            context.require_tokens()


class Dispatch:
    """ASGI middleware, within `KeyCheck`: calls the endpoints of POST, and leaves all other routes to the framework.

    The framework's own way to an endpoint has six more layers, which take a seventh of a small request's time.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, ASGIApp]) -> None:
        """Wrap ``app``; ``endpoints`` has those of POST, by template."""
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        context: RequestContext | None = scope.get(CONTEXT)
        endpoint = None if context is None else self._endpoints.get(context.route.template)
        if context is None or endpoint is None:
            await self._app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await response_to(scope, HTTPException(405))(scope, receive, send)
            return
        try:
            await endpoint(scope, receive, send)
        except (ServiceError, HTTPException) as error:
            if context.status:
                raise  # the answer has begun
            await response_to(scope, error)(scope, receive, send)


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    values = [value for name, value in headers if name == b"authorization"]
    if not values or values[0][: len(_SCHEME)].lower() != _SCHEME:
        raise KeyRequiredError
    key = values[0][len(_SCHEME) :].strip(b" ")
    if len(values) > 1 or len(key) > _MAX_KEY_BYTES:
        raise UnknownKeyError
    return key

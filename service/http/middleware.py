"""Middleware of every request: its metrics, log line and trace, and then the check of its key."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaegis.service.auth.keys import Access, Key, KeyStore
from vaegis.service.auth.rate_limits import RateLimits
from vaegis.service.errors import ServiceError
from vaegis.service.http.errors import KeyRequiredError, MissingScopeError, UnknownKeyError
from vaegis.service.http.logs import RequestLog
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.problems import answer_http_exception, plain_problem, problem_response, response_to
from vaegis.service.http.request_context import RequestContext, identify, put_context, request_context
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
        put_context(scope, context)
        if self._begin_span is not None and not context.route.quiet:
            self._begin_span(scope, context)
        status = 0
        failure: str | None = None

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:  # noqa: BLE001 - the last resort
            failure = type(error).__name__
            _LOG.exception("unexpected error", extra={"fields": {"request_id": context.request_id}})
            # If an answer has begun, the server cuts the connection, so that nobody takes it for a whole one.
            if not status:
                document = plain_problem(500, f"internal error ({failure}); see the log of the service")
                await problem_response(scope, document)(scope, receive, noting)
        finally:
            if context.span is not None:
                context.span.end(context, status, failure)
            self._note(scope["method"], context, status, time.perf_counter() - started)

    def _note(self, method: str, context: RequestContext, status: int, seconds: float) -> None:
        self._metrics.count_request(method, context.route.template, status, seconds)
        if self._log is not None:
            self._log.note(context, method if method in METHODS else OTHER, status, seconds)


class KeyCheck:
    """ASGI middleware, within `Instrumentation`: lets a request through if its route exists and its key allows it."""

    def __init__(self, app: ASGIApp, key_store: KeyStore | None, rate_limits: RateLimits) -> None:
        """Wrap ``app``; without a ``key_store`` everyone may call."""
        self._app = app
        self._key_store = key_store
        self._rate_limits = rate_limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        if scope["type"] == "http":
            context = request_context(scope)
            try:
                self._admit(context, scope["headers"])
            except ServiceError as error:
                await response_to(scope, error)(scope, receive, send)
                return
            if context.route.template == OTHER:
                # Not left to the framework, whose patterns also match a path with a line end after it: the route would
                # be reached without its scope and its rate.
                unknown = await answer_http_exception(Request(scope, receive), HTTPException(404))
                await unknown(scope, receive, send)
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
            _require_scope(key, needs)
            context.recheck_key = partial(self._recheck, key.digest, needs)
        if needs == SCORING:
            context.rate_limit = self._rate_limits.limit_of(key)
            context.require_tokens()

    def _recheck(self, digest: bytes, needs: frozenset[Access]) -> None:
        key = None if self._key_store is None else self._key_store.find_digest(digest)
        if key is None:
            raise UnknownKeyError
        _require_scope(key, needs)


def _require_scope(key: Key, needs: frozenset[Access]) -> None:
    if key.scopes.isdisjoint(needs):
        raise MissingScopeError(sorted(needs))


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    values = [value for name, value in headers if name == b"authorization"]
    if not values or values[0][: len(_SCHEME)].lower() != _SCHEME:
        raise KeyRequiredError
    key = values[0][len(_SCHEME) :].strip(b" ")
    if len(values) > 1 or len(key) > _MAX_KEY_BYTES:
        raise UnknownKeyError
    return key

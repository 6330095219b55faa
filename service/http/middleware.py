"""Middleware of every request: its metrics, log line and trace, then its checks, then its endpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaegis.service.auth.keys import KeyStore
from vaegis.service.auth.rate_limits import RateLimits
from vaegis.service.errors import ServiceError
from vaegis.service.http.errors import KeyRequiredError, MissingScopeError, UnknownKeyError
from vaegis.service.http.observability.logs import RequestLog
from vaegis.service.http.observability.metrics import Metrics
from vaegis.service.http.problems import plain_problem, problem_response, response_to
from vaegis.service.http.request_context import CONTEXT, RequestContext, identify
from vaegis.service.http.routes import METHODS, OTHER, SCORING, route_of

BeginSpan = Callable[[Scope, RequestContext], None]
"""Begins the tracing span of a request."""

_LOG: Final = logging.getLogger("vaegis.http")
_SCHEME: Final = b"bearer "
_MAX_KEY_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """ASGI middleware around everything else: counts, logs and traces requests, and answers unexpected errors.

    It puts a `RequestContext` into the scope, for everything within.
    """

    app: ASGIApp
    metrics: Metrics
    log: RequestLog | None
    begin_span: BeginSpan | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        context = RequestContext(route_of(scope["path"]), *identify(scope["headers"]))
        scope[CONTEXT] = context
        if self.begin_span is not None and not context.route.quiet:
            self.begin_span(scope, context)
        failure: str | None = None

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self.app(scope, receive, send_noted)
        except Exception as error:  # noqa: BLE001 - the last resort
            failure = type(error).__name__
            _LOG.exception("unexpected error", extra={"fields": {"request_id": context.request_id}})
            # If an answer has begun, the server cuts the connection, so that nobody takes it for a whole one.
            if not context.status:
                document = plain_problem(500, f"internal error ({failure}); see the log of the service")
                await problem_response(scope, document)(scope, receive, send_noted)
        finally:
            if context.span is not None:
                context.span.end(context, failure)
            method, seconds = scope["method"], time.perf_counter() - started
            self.metrics.count_request(method, context.route.template, context.status, seconds)
            if self.log is not None:
                self.log.note(context, method if method in METHODS else OTHER, seconds)


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """Lets a request through if its route exists and its key allows it.

    Without a key store everyone may call, and without rate limits at any rate.
    """

    key_store: KeyStore | None
    rate_limits: RateLimits | None

    def __call__(self, scope: Scope) -> None:
        """Note who calls. A caller whose rate limit is reached is refused before its body is read.

        Raises:
            KeyRequiredError: a key is needed, and there is none.
            UnknownKeyError: there is one that is not valid.
            MissingScopeError: there is one that does not allow the route.
            RateLimitedError: the caller may not send a record now.
            HTTPException: there is no such route.
        """
        context: RequestContext = scope[CONTEXT]
        needs = context.route.scopes
        if not needs:
            return
        key = None
        if self.key_store is not None:
            key = self.key_store.find(_presented(scope["headers"]))
            if key is None:
                raise UnknownKeyError
            context.key, context.scopes = key.name, key.scopes
            if key.scopes.isdisjoint(needs):
                raise MissingScopeError(sorted(needs))
        if needs == SCORING and self.rate_limits is not None:
            context.rate_limit = self.rate_limits.limit_of(key)
            context.require_tokens()
        if context.route.template == OTHER:
            # Not left to the framework, whose patterns also match a path with a line end after it: the route would be
            # reached without its scope and its rate.
            raise HTTPException(404)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """ASGI middleware, within `Instrumentation`: checks a request, and calls its endpoint if it is one of POST.

    All other routes are left to the framework. Its own way to an endpoint has six more layers, which take a seventh of
    a small request's time.

    Attributes:
        framework: Answers the other routes.
        endpoints: Those of POST, by template.
        checks: Each raises an error for a request that is refused.
    """

    framework: ASGIApp
    endpoints: Mapping[str, ASGIApp]
    checks: Sequence[Callable[[Scope], None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered."""
        context: RequestContext = scope[CONTEXT]
        endpoint = self.endpoints.get(context.route.template)
        try:
            for check in self.checks:
                check(scope)
            if endpoint is not None:
                if scope["method"] != "POST":
                    raise HTTPException(405)  # noqa: TRY301 - answered as the errors of checks are
                await endpoint(scope, receive, send)
        except (ServiceError, HTTPException) as error:
            if context.status:
                raise  # the answer has begun
            await response_to(scope, error)(scope, receive, send)
        else:
            if endpoint is None:
                await self.framework(scope, receive, send)


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    values = [value for name, value in headers if name == b"authorization"]
    if not values or values[0][: len(_SCHEME)].lower() != _SCHEME:
        raise KeyRequiredError
    key = values[0][len(_SCHEME) :].strip(b" ")
    if len(values) > 1 or len(key) > _MAX_KEY_BYTES:
        raise UnknownKeyError
    return key

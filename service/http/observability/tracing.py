"""OpenTelemetry traces: a server span for each request, and one within it for each step of the work.

Only `tracing_setup` imports this, when traces are asked for, because it needs the otel extra. Attributes follow the
semantic conventions for HTTP spans, without what may contain a secret of a caller: no header, no query, no address of a
caller, the route's template instead of the path, and the kind of an exception without its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_span_id, format_trace_id, set_span_in_context
from starlette.types import Scope

from vaegis.service.http.request_context import RequestContext
from vaegis.service.http.routes import METHODS, OTHER

_FIRST_SERVER_ERROR: Final = 500


class Tracing:
    """Begins the tracing spans of requests."""

    def __init__(self, provider: TracerProvider) -> None:
        try:
            installed = version("vaegis")
        except PackageNotFoundError:
            installed = None
        self._tracer = provider.get_tracer("vaegis", installed, schema_url=Schemas.V1_25_0.value)

    def begin(self, scope: Scope, request: RequestContext) -> None:
        """Give ``request`` a span, within the caller's trace if it names one, and the ids of that span."""
        method = scope["method"] if scope["method"] in METHODS else OTHER
        template = request.route.template
        named = [method if method != OTHER else "HTTP", *([template] if template != OTHER else [])]
        span = self._tracer.start_span(
            " ".join(named),
            context=_context_of(scope["headers"]),
            kind=SpanKind.SERVER,
            attributes=dict(_request_attributes(scope, method, template)),
        )
        context = span.get_span_context()
        request.trace_id, request.span_id = format_trace_id(context.trace_id), format_span_id(context.span_id)
        request.span = RequestSpan(self._tracer, span)


class RequestSpan:
    """The span of one request."""

    __slots__ = ("_context", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Record a span within this one, with the kind of what is raised in it; on any thread."""
        span = self._tracer.start_span(name, context=self._context)
        try:
            yield
        except BaseException as error:
            span.set_attribute(error_attributes.ERROR_TYPE, type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()

    def end(self, context: RequestContext, error: str | None) -> None:
        """End it; ``error`` is the kind of an exception that nobody expected."""
        span = self._span
        if context.status:
            span.set_attribute(http_attributes.HTTP_RESPONSE_STATUS_CODE, context.status)
        if error is not None or context.status >= _FIRST_SERVER_ERROR:
            span.set_attribute(error_attributes.ERROR_TYPE, error or str(context.status))
            span.set_status(StatusCode.ERROR)
        if context.records:
            span.set_attributes({"vaegis.records": context.records, "vaegis.flagged": context.flagged})
        span.set_attribute("vaegis.request_id", context.request_id)
        span.end()


def _context_of(headers: Iterable[tuple[bytes, bytes]]) -> Context:
    """Return the trace that headers name, by the propagators that are configured."""
    fields = propagate.get_global_textmap().fields
    carrier: dict[str, list[str]] = {}
    for name, value in headers:
        field = name.decode("latin-1")
        if field in fields:
            carrier.setdefault(field, []).append(value.decode("latin-1"))
    if len(carrier.get("traceparent", ())) > 1:
        del carrier["traceparent"]
    return propagate.extract(carrier, Context())


def _request_attributes(scope: Scope, method: str, template: str) -> Iterable[tuple[str, str | int]]:
    yield http_attributes.HTTP_REQUEST_METHOD, method
    yield url_attributes.URL_SCHEME, scope.get("scheme", "http")
    if "http_version" in scope:
        yield network_attributes.NETWORK_PROTOCOL_VERSION, scope["http_version"]
    if template != OTHER:
        yield http_attributes.HTTP_ROUTE, template
        yield url_attributes.URL_PATH, template
    server = scope.get("server")
    if server is not None:
        yield server_attributes.SERVER_ADDRESS, server[0]
        if server[1] is not None:
            yield server_attributes.SERVER_PORT, server[1]

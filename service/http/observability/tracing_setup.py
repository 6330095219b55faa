"""Set-up of traces by the standard `OTEL_*` variables, if the otel extra is installed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vaegis.service.http.observability.tracing import Tracing

_LOG: Final = logging.getLogger("vaegis.tracing")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"
_EXPORTERS: Final = ("otlp", "console")
_NAMELESS: Final = "unknown_service"


def configured_tracing(environment: Mapping[str, str]) -> Tracing | None:
    """Return the set-up of traces; None if nobody asks for traces, or if they cannot be exported, which is logged.

    OTEL_TRACES_EXPORTER or an endpoint of OTLP asks for them, unless OTEL_SDK_DISABLED is true. The SDK reads the other
    variables: headers, resource, sampler, batches. They may be set for a whole cluster, so none of them keeps the
    service from starting.
    """
    endpoint = next((name for name in _ENDPOINTS if environment.get(name)), None)
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or ("otlp" if endpoint else "none")
    if exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    reason = _unsupported(exporter, environment)
    if reason is None:
        try:
            return _tracing(exporter)
        except ImportError:
            reason = "the extra otel is not installed: pip install 'vaegis[otel]'"
    _LOG.warning("no traces are exported", extra={"fields": {"reason": reason}})
    return None


def _unsupported(exporter: str, environment: Mapping[str, str]) -> str | None:
    """Return which value of the variables is not supported, if any."""
    if exporter not in _EXPORTERS:
        return f"OTEL_TRACES_EXPORTER: expected none or one of {', '.join(_EXPORTERS)}, got {exporter!r}"
    name = next((name for name in _PROTOCOLS if environment.get(name)), None)
    if exporter == "otlp" and name is not None and environment[name] != _PROTOCOL:
        return f"{name}: expected {_PROTOCOL}, got {environment[name]!r}"
    return None


def _tracing(exporter: str) -> Tracing:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    from vaegis.service.http.observability.tracing import Tracing

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, _NAMELESS)).startswith(_NAMELESS):
        resource = resource.merge(Resource({SERVICE_NAME: "vaegis"}))
    provider = TracerProvider(resource=resource)
    if exporter == "console":
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)

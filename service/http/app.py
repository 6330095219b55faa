"""The app factory: the one place that reads settings and joins the service's parts."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from vaegis.service.artifact import Artifact
from vaegis.service.auth.keys import Access, KeyStore, parse_keys
from vaegis.service.auth.rate_limits import RateLimits, TokenBuckets
from vaegis.service.errors import ServiceError
from vaegis.service.http.admission import Admission, AdmissionLimits, Readiness
from vaegis.service.http.cross_site import CrossSiteCheck, parse_hosts, parse_origins
from vaegis.service.http.drill import DrillEndpoint
from vaegis.service.http.endpoints import PostEndpoint
from vaegis.service.http.generate import GenerateEndpoint
from vaegis.service.http.middleware import BeginSpan, Dispatch, Instrumentation, KeyCheck
from vaegis.service.http.models.promotion import PROMOTE, ROLLBACK, PromotionEndpoint, may_change_versions
from vaegis.service.http.models.registry import ModelRegistry, ModelsAnswer, NewServed, ServedAs, ShadowAnswer
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.models.version_check import VersionChecks
from vaegis.service.http.negotiation import HEADER_LENGTH
from vaegis.service.http.observability.logs import LineWriter, RequestLog
from vaegis.service.http.observability.metrics import Metrics
from vaegis.service.http.observability.model_metrics import ModelMetrics
from vaegis.service.http.openapi import OF_VERSION, openapi_document
from vaegis.service.http.page.docs_page import docs_endpoints
from vaegis.service.http.page.live_page import COUNTS, LiveAnswer, page_endpoints
from vaegis.service.http.problems import answer_error
from vaegis.service.http.request_context import CONTEXT
from vaegis.service.http.routes import ROUTES
from vaegis.service.http.schemas import ModelAnswer, StateAnswer, record_schema, rendered
from vaegis.service.http.score import SCORE_BY_NAME, ScoreEndpoint
from vaegis.service.http.v2 import INFER, InferEndpoint, v2_endpoints
from vaegis.service.model_file import DIGEST_PREFIX, Expected, content_digest, read_model_file
from vaegis.service.records.blocks import RecordLimits
from vaegis.service.runtime import RunLimits
from vaegis.service.settings import Settings, variable_of
from vaegis.service.verdicts import Explain

_JSON: Final = "application/json"
_SCHEMA_JSON: Final = "application/schema+json"
_CONTENT: Final[Mapping[str, dict[int | str, dict[str, Any]]]] = {
    "/model": {200: {"model": ModelAnswer}},
    "/model/schema": {200: {"content": {_SCHEMA_JSON: {}}}},
    "/metrics": {200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
    COUNTS: {200: {"model": LiveAnswer}},
}
"""Answers of the routes whose functions do not declare them by their return type."""

_CORS: Final[Mapping[str, Any]] = {
    "allow_methods": ["GET", "HEAD", "POST"],
    "allow_headers": ["Authorization", "Content-Encoding", HEADER_LENGTH.decode(), "Traceparent", "X-Request-Id"],
    "expose_headers": ["Retry-After", "X-Request-Id", HEADER_LENGTH.decode()],
    "max_age": 600,
}
"""What pages of the sites that `VAEGIS_CORS_ORIGINS` names may send and see."""


@dataclass(frozen=True, slots=True)
class ServiceApp:
    """The service, as an ASGI app.

    Attributes:
        asgi: Answers a request.
        framework: Answers all routes but those of POST.
        models: The registry, into which other models can be put.
        readiness: Whether it is ready; not before it is given a verification.
        metrics: Its metrics.
    """

    asgi: ASGIApp
    framework: FastAPI
    models: ModelRegistry
    readiness: Readiness
    metrics: Metrics

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one request."""
        return self.asgi(scope, receive, send)


def create_app(
    artifact: Artifact | None,
    settings: Settings,
    *,
    served_as: ServedAs | None = None,
    writer: LineWriter | None = None,
    buckets: TokenBuckets | None = None,
    begin_span: BeginSpan | None = None,
    collector: Collector | None = None,
) -> ServiceApp:
    """Return the service for one model, not ready until its `readiness` is given a verification.

    Args:
        artifact: The model of routes that name none; None if a loader puts it into the registry, under ``served_as``.
        settings: The settings in force.
        served_as: The name by which it is served; its own if None.
        writer: Writes the log line of each request; None for no log.
        buckets: Token buckets of the callers' rate limits, which workers share; None for buckets of this process.
        begin_span: Begins the tracing span of a request; None for no traces.
        collector: What collects the metrics of all processes, if this is one of several workers.

    Raises:
        AlphaError: the model's calibration cannot promise the alpha of ``settings``.
        KeysError: the keys cannot be read.
        SettingsError: an allowed host is neither a name nor an address.
    """
    if served_as is None:
        if artifact is None:
            raise ValueError("expected a model or the name of one that will be loaded, got neither")
        served_as = ServedAs(artifact.contract.provenance.model_name)
    metrics = Metrics(collector)
    models = ModelRegistry(served_as.name, metrics, _new_served(settings, metrics), settings.shadow_share)
    if artifact is not None:
        models.swap(models.new_served(artifact, served_as.name, served_as.version))
    readiness = Readiness()
    key_store = _key_store(settings, metrics)
    has_keys = key_store is not None
    is_permitted = partial(may_change_versions, has_keys=has_keys, is_open=settings.open)
    admission = _admission(settings, readiness, metrics)
    posts = _post_endpoints(models, served_as.folder, admission, settings, is_permitted)
    framework = _framework(served_as.name)
    openapi = _openapi(framework, posts, models, settings, has_keys=has_keys)

    def can_promote(scope: Scope) -> bool:
        return served_as.folder is not None and scope[CONTEXT].allows(Access.ADMIN) and is_permitted(scope)

    endpoints: dict[str, Callable[..., Any]] = {
        **v2_endpoints(models, readiness),
        **_model_endpoints(models, served_as.folder),
        **docs_endpoints(has_keys=has_keys),
        **_operator_endpoints(readiness, metrics, openapi),
    }
    if settings.page:
        endpoints |= page_endpoints(metrics.registry, models, can_promote, shows_values=settings.show_values)
    _mount(framework, endpoints)
    origins = _cors_origins(settings)
    asgi: ASGIApp = Dispatch(framework, posts, _checks(settings, key_store, buckets, origins))
    if origins:
        asgi = CORSMiddleware(asgi, [origin.decode() for origin in sorted(origins)], **_CORS)
    log = _request_log(settings, writer, metrics)
    return ServiceApp(Instrumentation(asgi, metrics, log, begin_span), framework, models, readiness, metrics)


def _framework(name: str) -> FastAPI:
    """Return the framework without routes; it answers errors as problems."""
    framework = FastAPI(
        title="vaegis",
        description=f"Scores records with the model {name}.",
        openapi_url=None,
        redirect_slashes=False,
        # FastAPI's own would put queries and texts of exceptions into traces; older versions ignore the argument.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for kind in (ServiceError, HTTPException, RequestValidationError, Exception):
        framework.add_exception_handler(kind, answer_error)
    return framework


def _admission(settings: Settings, readiness: Readiness, metrics: Metrics) -> Admission:
    limits = {field.name: getattr(settings, field.name) for field in fields(AdmissionLimits)}
    return Admission(AdmissionLimits(**limits), readiness, metrics)


def _post_endpoints(
    models: ModelRegistry,
    folder: Path | None,
    admission: Admission,
    settings: Settings,
    is_permitted: Callable[[Scope], bool],
) -> dict[str, PostEndpoint]:
    """Return the endpoints of POST, by template."""
    checked_digest = partial(_checked_digest, settings)
    return {
        "/score": ScoreEndpoint(models, models.default, admission, settings.inline_body_bytes),
        SCORE_BY_NAME: ScoreEndpoint(models, None, admission, settings.inline_body_bytes),
        "/generate": GenerateEndpoint(models.default, admission, settings.max_generate_count),
        "/drill": DrillEndpoint(models, admission),
        PROMOTE: PromotionEndpoint(models, folder, admission, is_permitted, checked_digest),
        ROLLBACK: PromotionEndpoint(models, folder, admission, is_permitted, None),
        INFER: InferEndpoint(models, admission),
    }


def _openapi(
    framework: FastAPI,
    posts: Mapping[str, PostEndpoint],
    models: ModelRegistry,
    settings: Settings,
    *,
    has_keys: bool,
) -> Callable[[], bytes]:
    """Return what gives the OpenAPI document of the live model, which is kept until another is live."""

    @lru_cache(1)
    def document_of(digest: str) -> bytes:  # noqa: ARG001 - the document of another model is made anew
        framework.openapi_schema = None  # where the framework keeps the document of the model before
        live = models.default.live()
        framework.version = live.artifact.contract.provenance.vaegis_version
        document = openapi_document(
            framework,
            {template: endpoint.operation() for template, endpoint in posts.items()},
            record_schema(live.artifact.contract, settings.unknown_columns),
            max_records=settings.max_records,
            has_keys=has_keys,
            root_path=settings.root_path,
        )
        answer = document["paths"]["/model"]["get"]["responses"]["200"]["content"][_JSON]
        answer["example"] = json.loads(live.description)
        return rendered(document)

    return lambda: document_of(models.default.live().artifact.digest)


def _checked_digest(settings: Settings, path: Path) -> str:
    """Return the digest of the model in a file, once it has passed every check, in a process of its own.

    Raises:
        ArtifactError: it does not pass one.
    """
    data = read_model_file(path, Expected(public_key=settings.model_public_key))
    VersionChecks(settings).optimized(data, str(path))
    return DIGEST_PREFIX + content_digest(data)


def _new_served(settings: Settings, metrics: Metrics) -> NewServed:
    limits = RecordLimits(
        max_records=min(settings.max_records, settings.max_body_records),
        max_body_records=settings.max_body_records,
        max_held_bytes=min(settings.max_document_bytes, settings.max_body_bytes),
        max_columns=settings.max_columns,
        max_values=settings.max_values,
        max_depth=settings.max_depth,
        max_faults=settings.max_faults,
        unknown_columns=settings.unknown_columns,
        unwrap=settings.unwrap,
    )

    def new_served(artifact: Artifact, name: str, version: str | None) -> ServedModel:
        return ServedModel(
            artifact,
            ModelMetrics(metrics, name, artifact),
            limits,
            alpha=settings.alpha,
            explain=Explain(settings.explain),
            max_batch_records=settings.max_batch_records,
            decoder=RunLimits(1, settings.run_timeout_s, settings.max_tensor_bytes),
            version=version,
        )

    return new_served


def _mount(app: FastAPI, endpoints: Mapping[str, Callable[..., Any]]) -> None:
    """Register the ``endpoints`` of GET, which are keyed by template, in the order of the table of routes.

    OpenAPI has their docstrings, and the first clause as the summary.
    """
    for route in (route for route in ROUTES if route.template in endpoints):  # the live page can be turned off
        endpoint = endpoints[route.template]
        for path in route.paths:
            name = endpoint.__name__ if path == route.template else f"{endpoint.__name__}{OF_VERSION}"
            app.add_api_route(
                path,
                endpoint,
                summary=re.split(r"[:;,.]", endpoint.__doc__ or "")[0],
                include_in_schema=route.tag is not None,
                responses=_CONTENT.get(path),
                operation_id=name,
            )
            app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)


def _model_endpoints(models: ModelRegistry, folder: Path | None) -> dict[str, Callable[..., Any]]:
    """Return the endpoints that describe the models, by template."""

    async def get_model() -> Response:
        """Describe the model: its columns, calibration and provenance."""
        return Response(models.default.live().description, media_type=_JSON)

    async def get_record_schema() -> Response:
        """Give the JSON Schema of a record."""
        return Response(models.default.live().record_schema, media_type=_SCHEMA_JSON)

    def get_models() -> ModelsAnswer:  # not a coroutine: it reads folders, so the framework runs it on a thread
        """List the models that are served, with the version that is live and why a change was not taken."""
        return models.described(folder)

    def get_shadow(model: str) -> ShadowAnswer:  # on a thread as well: it reads the counts of all workers
        """Tell how the version in shadow of a model compares with the live one."""
        return models.compared(model)

    return {
        "/models/{model}/shadow": get_shadow,
        "/model": get_model,
        "/model/schema": get_record_schema,
        "/models": get_models,
    }


def _operator_endpoints(
    readiness: Readiness, metrics: Metrics, openapi: Callable[[], bytes]
) -> dict[str, Callable[..., Any]]:
    """Return the endpoints for operators, by template."""

    async def livez() -> StateAnswer:
        """Answer as long as the process runs; this says nothing about the model."""
        return StateAnswer(state="alive")

    async def readyz() -> StateAnswer:
        """Tell whether requests should be sent here: the golden records were reproduced, and no shutdown has begun."""
        readiness.require_ready()
        return StateAnswer(state=readiness.state)

    # These two are not coroutines: the framework runs them on a thread, because both take milliseconds.
    def get_metrics(request: Request) -> Response:
        """Expose the metrics, in the text format or in OpenMetrics."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": content_type})

    def get_openapi() -> Response:
        return Response(openapi(), media_type=_JSON)

    return {"/livez": livez, "/readyz": readyz, "/metrics": get_metrics, "/openapi.json": get_openapi}


def _key_store(settings: Settings, metrics: Metrics) -> KeyStore | None:
    """Return the keys that are set, if any."""
    if not settings.has_keys:
        return None
    inline = parse_keys(settings.keys.replace(";", "\n"), variable_of("keys")) if settings.keys else ()
    return KeyStore(inline, settings.keys_file, on_reload=metrics.count_key_reload)


def _checks(
    settings: Settings, key_store: KeyStore | None, buckets: TokenBuckets | None, origins: frozenset[bytes]
) -> list[Callable[[Scope], None]]:
    """Return what every request has to pass before it is answered, in this order."""
    has_keys = key_store is not None
    rate_limits = None
    if has_keys or settings.rate_records_per_s is not None:  # a key may have a rate of its own
        rate_limits = RateLimits(buckets or TokenBuckets(), settings.rate_records_per_s, settings.rate_burst_s)
    checks: list[Callable[[Scope], None]] = []
    hosts = _allowed_hosts(settings, has_keys=has_keys)
    if not has_keys or hosts is not None:
        checks.append(CrossSiteCheck(hosts, has_keys=has_keys, origins=origins))
    checks.append(KeyCheck(key_store, rate_limits))
    return checks


def _cors_origins(settings: Settings) -> frozenset[bytes]:
    """Return the other sites whose pages may call."""
    if not settings.cors_origins:
        return frozenset()
    return parse_origins(settings.cors_origins, variable_of("cors_origins"))


def _request_log(settings: Settings, writer: LineWriter | None, metrics: Metrics) -> RequestLog | None:
    if writer is None:
        return None
    writer.on_dropped.append(metrics.log_lines_dropped.inc)
    return RequestLog(writer, settings.log_level, settings.log_format)


def _allowed_hosts(settings: Settings, *, has_keys: bool) -> frozenset[str] | None:
    """Return the names by which the service may be called, besides this machine's own; None for any."""
    if settings.allowed_hosts is None:
        return None if has_keys or settings.open else frozenset({settings.host.lower()})
    return parse_hosts(settings.allowed_hosts, variable_of("allowed_hosts")) | {settings.host.lower()}

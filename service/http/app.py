"""The app factory: the one place that reads settings and joins the service's parts."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException

from vaegis.service.artifact import Artifact
from vaegis.service.callers.keyring import Keyring
from vaegis.service.callers.keys import parse_keys
from vaegis.service.callers.ledger import Ledger
from vaegis.service.callers.rates import Rates
from vaegis.service.errors import ServiceError
from vaegis.service.http.admission import Admission, Room
from vaegis.service.http.answers import model_answer, rendered
from vaegis.service.http.batch_size import BatchSize
from vaegis.service.http.batches import Batches
from vaegis.service.http.bodies import AnyBody
from vaegis.service.http.cross_site import CrossSiteCheck, parse_hosts
from vaegis.service.http.front import ScoreEndpoint, Service
from vaegis.service.http.generating import Generating
from vaegis.service.http.instrumentation import Instrumentation
from vaegis.service.http.intake import Intake
from vaegis.service.http.keys import KeyCheck
from vaegis.service.http.log_writer import LineWriter
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.openapi import openapi_document
from vaegis.service.http.problems import answer_http_exception, answer_query_error, answer_service_error
from vaegis.service.http.readiness import Readiness
from vaegis.service.http.record_schema import record_schema
from vaegis.service.http.request_log import RequestLog
from vaegis.service.http.routes import model_routes, operator_routes, work_routes
from vaegis.service.http.scoring import Scoring
from vaegis.service.http.streaming import StreamRoom
from vaegis.service.http.v2 import Inference
from vaegis.service.http.v2_routes import v2_routes
from vaegis.service.pvalues import threshold
from vaegis.service.records.blocks import RecordLimits
from vaegis.service.settings import Settings, variable_of
from vaegis.service.verdicts import Explain

if TYPE_CHECKING:
    from vaegis.service.http.tracing import Tracing


def create_app(
    artifact: Artifact,
    settings: Settings,
    *,
    writer: LineWriter | None = None,
    ledger: Ledger | None = None,
    tracing: Tracing | None = None,
    collector: Collector | None = None,
) -> FastAPI:
    """Return the service for one model, not ready until its `app.state.readiness` is given a verification.

    Args:
        artifact: The model.
        settings: The settings in force.
        writer: Where requests leave their line in the log; nowhere if None.
        ledger: Where callers' rates are kept; one of this process where None, so that each process has its own.
        tracing: What exports requests as traces; they are not exported if None.
        collector: What collects the metrics of all processes, if this is one of several workers.

    Raises:
        AlphaError: the model's calibration cannot promise the alpha of ``settings``.
        KeysError: the keys cannot be read.
        SettingsError: the allowed hosts are none.
    """
    alpha = artifact.contract.calibration.alpha if settings.alpha is None else settings.alpha
    limit = threshold(artifact.calibration_folds, alpha)
    metrics = Metrics(artifact, alpha=alpha, threshold=limit, collector=collector)
    readiness = Readiness(on_ready=metrics.count_model_ready)
    room = Room(settings.max_requests_in_flight, settings.max_records_in_flight, settings.max_bytes_in_flight)
    admission = Admission(
        room,
        timeout_s=settings.request_timeout_s,
        patience_s=settings.body_timeout_s,
        threads=settings.scoring_threads,
    )
    metrics.requests_in_flight.set_function(lambda: admission.in_flight)
    limits = _record_limits(settings)
    intake = Intake(readiness, admission, metrics, settings.max_body_bytes)
    scoring = Scoring(artifact, metrics, limits)
    generating = Generating(
        artifact,
        metrics,
        max_count=settings.max_generate_count,
        max_depth=settings.max_depth,
        max_values=settings.max_values,
        run_timeout_s=settings.run_timeout_s,
    )
    record = record_schema(artifact.contract, settings.unknown_columns)

    batches, explain = Batches(scoring, BatchSize(settings.max_batch_records)), Explain(settings.explain)
    any_body = AnyBody(artifact, intake, scoring, limits, _stream_room(settings), alpha, explain)
    score = ScoreEndpoint(intake, scoring, batches, alpha, explain, settings.inline_body_bytes, any_body)
    app = _bare_app(artifact, score)
    keyring = _keyring(settings, metrics)
    rates = Rates(ledger or Ledger(), settings.rate_records_per_s, settings.rate_burst_s)
    app.surround(KeyCheck, keyring=keyring, rates=rates)
    hosts = _allowed_hosts(settings, has_keys=keyring is not None)
    if keyring is None or hosts is not None:
        app.surround(CrossSiteCheck, hosts=hosts, has_keys=keyring is not None)
    log = None if writer is None else _request_log(settings, metrics, writer)
    app.surround(Instrumentation, metrics=metrics, log=log, tracing=tracing)
    app.state.model_name = artifact.contract.provenance.model_name
    app.state.readiness = readiness
    app.state.metrics = metrics

    @cache
    def openapi() -> bytes:
        document = openapi_document(
            app, artifact, record, alpha=alpha, max_records=settings.max_records, has_keys=keyring is not None
        )
        return rendered(document)

    app.include_router(work_routes(intake, generating))
    app.include_router(model_routes(model_answer(artifact, alpha=alpha, threshold=limit), rendered(record)))
    inference = Inference(artifact, intake, scoring, limits, alpha, explain)
    app.include_router(v2_routes(inference, readiness))
    app.include_router(operator_routes(readiness, metrics, openapi))
    return app


def _keyring(settings: Settings, metrics: Metrics) -> Keyring | None:
    """Return the keys that are set, if any."""
    if settings.keys is None and settings.keys_file is None:
        return None
    inline = parse_keys(settings.keys.replace(";", "\n"), variable_of("keys")) if settings.keys else ()
    return Keyring(inline, settings.keys_file, on_reload=metrics.count_key_reload)


def _allowed_hosts(settings: Settings, *, has_keys: bool) -> frozenset[str] | None:
    """Return the names by which the service may be called, besides this machine's own; None for any."""
    if settings.allowed_hosts is None:
        return None if has_keys or settings.open else frozenset({settings.host.lower()})
    return parse_hosts(settings.allowed_hosts, variable_of("allowed_hosts")) | {settings.host.lower()}


def _request_log(settings: Settings, metrics: Metrics, writer: LineWriter) -> RequestLog:
    writer.tell_dropped(metrics.log_lines_dropped.inc)
    return RequestLog(writer, settings.log_level, settings.log_format)


def _record_limits(settings: Settings) -> RecordLimits:
    return RecordLimits(
        max_records=settings.max_records,
        max_held_bytes=settings.max_body_bytes,
        max_columns=settings.max_columns,
        max_values=settings.max_values,
        max_depth=settings.max_depth,
        max_faults=settings.max_faults,
        unknown_columns=settings.unknown_columns,
    )


def _stream_room(settings: Settings) -> StreamRoom:
    return StreamRoom(
        settings.max_stream_bytes, settings.max_answer_bytes, settings.inline_body_bytes, settings.max_batch_records
    )


def _bare_app(artifact: Artifact, score: ScoreEndpoint) -> Service:
    """Return an app with no route but POST /score, that answers every error with a problem."""
    app = Service(
        score,
        title="vaegis",
        description=f"Scores records with the model {artifact.contract.provenance.model_name}.",
        version=artifact.contract.provenance.vaegis_version,
        openapi_url=None,
        redirect_slashes=False,
        # Its own would put queries and texts of exceptions into traces; older versions know nothing of it.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.add_exception_handler(ServiceError, answer_service_error)
    app.add_exception_handler(HTTPException, answer_http_exception)
    app.add_exception_handler(RequestValidationError, answer_query_error)
    return app

"""A model served by this process: alone, or as one of several workers."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from fastapi import FastAPI

from vaegis.service.artifact import open_artifact
from vaegis.service.callers.ledger import Ledger
from vaegis.service.generation import Generator
from vaegis.service.http.app import create_app
from vaegis.service.http.logs import LineWriter, configure_logs
from vaegis.service.http.multiprocess_metrics import ServiceCollector, count_in_files, count_in_memory
from vaegis.service.http.problems import refusal_of
from vaegis.service.http.routes import route_of
from vaegis.service.http.server.callbacks import Callbacks
from vaegis.service.http.server.limits import Limits
from vaegis.service.http.server.server import Server
from vaegis.service.http.tls import Certificate, certificate_of
from vaegis.service.http.tracing_setup import configured_tracing
from vaegis.service.http.workers.shared_memory import WorkerTable
from vaegis.service.settings import Settings
from vaegis.service.watchdog import Watchdog

_LOG: Final = logging.getLogger("vaegis")


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's place among the others.

    Attributes:
        number: Which of them it is.
        table: What they know of each other.
        metrics_folder: Where they count.
        ledger: File in which they keep their callers' rates.
        beat: Gives a sign of life.
    """

    number: int
    table: WorkerTable
    metrics_folder: Path
    ledger: Path
    beat: Callable[[], None]


def serve(
    model: bytes,
    name: str,
    settings: Settings,
    listening: socket.socket,
    *,
    on_listening: Callable[[str], None],
    place: Place | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        model: Content of a model file.
        name: Name of that file, for messages.
        settings: The settings in force.
        listening: Where connections come from; closed in the end.
        on_listening: Called with the model's own name once requests are answered.
        place: This process's place among several; None if it is alone.

    Raises:
        SettingsError: the certificate cannot be used.
        AlphaError: the model's calibration cannot promise the alpha that is set.
        ArtifactError: the model cannot be used.
    """
    certificate = certificate_of(settings.tls_certificate, settings.tls_key)
    with (
        closing(configure_logs(settings.log_level, settings.log_format)) as writer,
        _watched(settings, writer, place) as beat,
    ):
        if certificate is not None:
            certificate.warn_if_exposed()
        app = _ready_app(model, name, settings, writer, place)
        beat(settings.worker_timeout_s)
        server = _server(app, settings, certificate, place, on_listening, beat)
        # uvicorn puts this back in the end, when one more signal must not end the process with another exit code.
        signal.signal(signal.SIGTERM, server.handle_exit)
        try:
            server.run([listening])
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _server(
    app: FastAPI,
    settings: Settings,
    certificate: Certificate | None,
    place: Place | None,
    on_listening: Callable[[str], None],
    beat: Callable[[float], None],
) -> Server:
    metrics = app.state.metrics

    def tick() -> None:
        beat(settings.worker_timeout_s)
        if place is not None:
            place.beat()
            metrics.sample_gauges()

    def is_crowded(connections: int) -> bool:
        return place is not None and place.table.is_crowded(place.number, connections)

    callbacks = Callbacks(
        refusal=refusal_of,
        count_cut=metrics.count_cut,
        is_probe=lambda path: route_of(path).quiet,
        tls=(lambda: None) if certificate is None else certificate.context,
        is_crowded=is_crowded,
        on_listening=lambda: on_listening(app.state.model_name),
        on_drain=app.state.readiness.drain,
        on_tick=tick,
    )
    server = Server(app, limits_of(settings), callbacks)
    metrics.connections.set_function(lambda: len(server.server_state.connections))
    return server


def limits_of(settings: Settings) -> Limits:
    """Return what ``settings`` say about connections."""
    return Limits(**{field.name: getattr(settings, field.name) for field in fields(Limits)})


@contextmanager
def _watched(settings: Settings, writer: LineWriter, place: Place | None) -> Iterator[Callable[[float], None]]:
    """Yield what takes a sign of life, and the time until the next; without one in time, the process ends.

    It ends so that whatever started it notices. A worker among several is watched by the parent that replaces it.
    """
    if place is not None:
        yield lambda _: None
        return

    def end(silent_s: float) -> None:
        _LOG.error("process hangs", extra={"fields": {"silent_s": round(silent_s, 1)}})
        writer.close()
        os._exit(1)

    with Watchdog(settings.model_timeout_s, end) as watchdog:
        yield watchdog.beat


def _ready_app(model: bytes, name: str, settings: Settings, writer: LineWriter, place: Place | None) -> FastAPI:
    """Return the app over a model that has reproduced its golden records."""
    artifact = open_artifact(model, name, threads=settings.inference_threads, run_timeout_s=settings.run_timeout_s)
    verification = artifact.verify()
    Generator(artifact.contract)  # checked and let go: POST /generate loads it at its first request
    if place is None:
        ledger = collector = None
        count_in_memory()
    else:
        ledger = Ledger(place.ledger)
        collector = ServiceCollector(place.metrics_folder, place.table.pids)
        count_in_files(place.metrics_folder, str(place.number))
    tracing = configured_tracing(os.environ)
    app = create_app(
        artifact,
        settings,
        writer=writer,
        ledger=ledger,
        begin_span=None if tracing is None else tracing.begin,
        collector=collector,
    )
    app.state.readiness.admit(verification)
    fields = {
        "model": artifact.contract.provenance.model_name,
        "digest": artifact.digest,
        "golden_records": verification.records,
        "largest_difference": verification.largest_difference,
    }
    _LOG.info("model ready", extra={"fields": fields})
    gc.collect()
    gc.freeze()  # what is there now stays, and looking through it for cycles would hold up all requests for 40 ms
    return app

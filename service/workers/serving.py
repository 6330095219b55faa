"""Serves a model in this process: alone, or as one of several workers."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from vaegis.service.artifact import Artifact
from vaegis.service.auth.rate_limits import TokenBuckets
from vaegis.service.http.app import ServiceApp, create_app
from vaegis.service.http.models.loader import (
    FileSource,
    FolderSource,
    ModelLoader,
    ModelSource,
    default_model,
    opened_content,
)
from vaegis.service.http.models.registry import ModelRegistry, ServedAs
from vaegis.service.http.models.version_check import VersionChecks
from vaegis.service.http.observability.logs import LineWriter, configure_logs
from vaegis.service.http.observability.multiprocess_metrics import ServiceCollector, count_in_files, count_in_memory
from vaegis.service.http.observability.tracing_setup import configured_tracing
from vaegis.service.http.problems import refusal_of
from vaegis.service.http.routes import route_of
from vaegis.service.http.server.interface import Callbacks, Limits
from vaegis.service.http.server.server import Server
from vaegis.service.http.server.tls import tls_context, warn_if_exposed
from vaegis.service.reloaded_files import ReloadedFiles
from vaegis.service.runtime import end_runs, has_late_run
from vaegis.service.settings import Settings
from vaegis.service.watchdog import Watchdog
from vaegis.service.workers.channel import Channel
from vaegis.service.workers.worker_table import WorkerTable

_PUBLISH_S: Final = 5.0  # the event loop may be busy, or have ended without it
_LAST_RUNS_S: Final = 2.0  # for what still runs at the end, more than one node takes
_LOG: Final = logging.getLogger("vaegis")


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker among several shares with the others.

    Attributes:
        number: Its number, from 0.
        table: State that workers share.
        channel: To the supervisor.
        metrics_folder: Folder with the metrics of all workers.
        token_buckets: File with the token buckets of all workers.
        checked_file: Descriptor of the file with the version that was checked last, for all workers.
    """

    number: int
    table: WorkerTable
    channel: Channel
    metrics_folder: Path
    token_buckets: Path
    checked_file: int


def serve(
    model: bytes | None,
    name: str,
    settings: Settings,
    listening: Sequence[socket.socket],
    *,
    on_listening: Callable[[str], None],
    worker: WorkerContext | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. SIGHUP loads what changed.

    Args:
        model: Content of a model file; None to serve a folder of models.
        name: Name of that file or folder.
        settings: The settings in force.
        listening: The listening sockets; closed at the end.
        on_listening: Called with the model's own name once requests are answered.
        worker: What this worker shares with others; None if it is the only one.

    Raises:
        SettingsError: the certificate cannot be used.
        AlphaError: the model's calibration cannot promise the alpha that is set.
        ArtifactError: the model cannot be used.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to load anew
    tls = tls_context(settings.tls_certificate, settings.tls_key)
    with (
        closing(configure_logs(settings.log_level, settings.log_format)) as writer,
        _watched(settings, writer, worker) as beat,
    ):
        if settings.tls_key is not None:
            warn_if_exposed(settings.tls_key)
        app, loader = _ready_app(model, name, settings, writer, worker)
        beat(settings.worker_timeout_s)

        def listen() -> None:
            _watch_models(loader)
            on_listening(app.models.default.name)

        server = _server(app, settings, tls, worker, listen, beat)
        # uvicorn restores this handler at the end. A further signal must not end the process with another exit code.
        signal.signal(signal.SIGTERM, server.handle_exit)
        try:
            server.run(list(listening))
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if worker is None and not end_runs(_LAST_RUNS_S):  # Python would wait for its thread
                _LOG.error("a run of the model did not end")
                writer.close()
                os._exit(1)
            loader.close()
            app.models.close()


def _server(
    app: ServiceApp,
    settings: Settings,
    tls: ReloadedFiles[ssl.SSLContext] | None,
    worker: WorkerContext | None,
    on_listening: Callable[[], None],
    beat: Callable[[float], None],
) -> Server:
    metrics = app.metrics

    def tick() -> None:
        if has_late_run():
            return  # it may never end, and only a new process gets rid of it
        beat(settings.worker_timeout_s)
        metrics.connections.set(len(server.server_state.connections))
        if worker is not None:
            worker.channel.beat()

    def is_crowded(connections: int) -> bool:
        return worker is not None and worker.table.is_crowded(worker.number, connections)

    callbacks = Callbacks(
        refusal=refusal_of,
        count_cut=metrics.count_cut,
        is_probe=lambda path: route_of(path).quiet,
        tls=(lambda: None) if tls is None else tls.content,
        is_crowded=is_crowded,
        on_listening=on_listening,
        on_drain=app.readiness.drain,
        on_tick=tick,
    )
    server = Server(app.asgi, limits_of(settings), callbacks)
    return server


def limits_of(settings: Settings) -> Limits:
    """Return the limits on connections in ``settings``."""
    return Limits(**{field.name: getattr(settings, field.name) for field in fields(Limits)})


@contextmanager
def _watched(settings: Settings, writer: LineWriter, worker: WorkerContext | None) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the longest time until its next call. If no call comes in time, the process ends.

    Whatever started the process can then start it again. A worker among several is watched by its parent instead.
    """
    if worker is not None:
        yield lambda _: None
        return

    def end(silent_s: float) -> None:
        _LOG.error("process hangs", extra={"fields": {"silent_s": round(silent_s, 1)}})
        writer.close()
        os._exit(1)

    with closing(Watchdog(settings.model_timeout_s, end)) as watchdog:
        yield watchdog.beat


def _watch_models(loader: ModelLoader) -> None:
    """Begin to load models that change, now that the event loop runs."""
    loop = asyncio.get_running_loop()

    def publish(change: Callable[[], None]) -> None:
        done = threading.Event()

        def apply() -> None:
            change()
            done.set()

        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(apply)
            done.wait(_PUBLISH_S)

    loader.start(publish)
    if hasattr(signal, "SIGHUP"):
        loop.add_signal_handler(signal.SIGHUP, loader.wake)


def _ready_app(
    model: bytes | None, name: str, settings: Settings, writer: LineWriter, worker: WorkerContext | None
) -> tuple[ServiceApp, ModelLoader]:
    """Return the app over models that have reproduced their golden records, and what loads them anew."""
    source, artifact, served_as = _first_model(model, name, settings)
    if worker is None:
        buckets = collector = None
        count_in_memory()
    else:
        buckets = TokenBuckets(worker.token_buckets)
        collector = ServiceCollector(worker.metrics_folder, worker.table.pids)
        count_in_files(worker.metrics_folder, str(worker.number))
    tracing = configured_tracing(os.environ)
    app = create_app(
        artifact,
        settings,
        served_as=served_as,
        writer=writer,
        buckets=buckets,
        begin_span=None if tracing is None else tracing.begin,
        collector=collector,
    )
    loader = _model_loader(source, app.models, settings, worker)
    if artifact is None:
        loader.load_first()
    live = app.models.default.live()
    verification = live.warm_up()
    app.readiness.admit(verification)
    shown = {
        "model": live.name,
        "digest": live.artifact.digest,
        "golden_records": verification.records,
        "largest_difference": verification.largest_difference,
    }
    _LOG.info("model ready", extra={"fields": shown})
    gc.collect()
    gc.freeze()  # these objects stay, and searching them for cycles would block all requests for 40 ms
    return app, loader


def _first_model(model: bytes | None, name: str, settings: Settings) -> tuple[ModelSource, Artifact | None, ServedAs]:
    """Return where versions come from, and the model of a single file; ``model`` and ``name`` are those of `serve`."""
    path = Path(name)
    if model is not None:
        artifact = opened_content(model, name, settings)
        served_as = ServedAs(artifact.contract.provenance.model_name)
        return FileSource(path, served_as.name, settings.allow_schema_change), artifact, served_as
    served_as = ServedAs(default_model(path, settings.default_model), folder=path)
    return FolderSource(path, settings.allow_schema_change), None, served_as


def _model_loader(
    source: ModelSource, models: ModelRegistry, settings: Settings, worker: WorkerContext | None
) -> ModelLoader:
    checks = None
    if sys.platform != "win32":
        checks = VersionChecks(settings, None if worker is None else worker.checked_file)

    def on_swap(digest: str) -> None:
        if worker is not None:
            worker.channel.send({"swapped": digest})

    return ModelLoader(source, models, settings, on_swap, checks)

"""`vaegis serve`: the HTTP service over one model."""

from __future__ import annotations

import logging
import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from service.callers.exposure import require_keys_or_open
from service.errors import AddressError
from service.http.logs import configure_logs
from service.http.tls import Certificate, certificate_of
from service.settings import ENVIRONMENT_ONLY, TRUTH_VALUES, Settings, described_settings, flag_of, load_settings

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from fastapi import FastAPI

    from service.http.log_writer import LineWriter


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command and its flags, one for each setting."""
    parser = subparsers.add_parser(
        "serve",
        help="serve a model over HTTP",
        description="Serve a model over HTTP. Each flag can also be set by an environment variable or in a TOML file; "
        "docs/settings.md.",
    )
    parser.add_argument("model", type=Path, help="the file that vaegis-train wrote")
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file of settings (default $VAEGIS_CONFIG)")
    for name, default, unit, allowed, meaning in described_settings():
        if name in ENVIRONMENT_ONLY:
            continue
        values = allowed if not unit else f"{allowed} {unit}"
        told = f"{meaning} ({values}; default {default})"
        if allowed == TRUTH_VALUES:
            parser.add_argument(flag_of(name), action=BooleanOptionalAction, help=told)
        else:
            parser.add_argument(flag_of(name), metavar=name.upper(), help=told)
    parser.set_defaults(func=run)


def run(args: Namespace) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns:
        0, after a signal.

    Raises:
        SettingsError: a setting has an unknown name or a bad value, or strangers could call.
        AlphaError: the model's calibration cannot promise the alpha that is set.
        ArtifactError: the model file cannot be used.
        AddressError: the address cannot be listened on.
    """
    flags = {name: getattr(args, name, None) for name, *_ in described_settings()}
    settings = load_settings(os.environ, flags, args.config)
    has_keys = settings.keys is not None or settings.keys_file is not None
    require_keys_or_open(settings.host, has_keys=has_keys, is_open=settings.open)
    certificate = certificate_of(settings.tls_certificate, settings.tls_key)
    with closing(configure_logs(settings.log_level, settings.log_format)) as writer:
        return _serve(_ready_app(args.model, settings, writer), settings, certificate)


def _ready_app(model: Path, settings: Settings, writer: LineWriter) -> FastAPI:
    """Return the app over a model that has reproduced its golden records."""
    # The web framework and onnxruntime load only here and below, so that every other command starts without them.
    from service.artifact import load_artifact
    from service.generation import Generator
    from service.http.app import create_app
    from service.http.tracing_setup import configured_tracing

    artifact = load_artifact(model, threads=settings.inference_threads)
    verification = artifact.verify()
    Generator(artifact.contract)  # checked and let go: POST /generate loads it at its first request
    app = create_app(artifact, settings, writer=writer, tracing=configured_tracing(os.environ))
    app.state.readiness.admit(verification)
    fields = {
        "model": artifact.contract.provenance.model_name,
        "digest": artifact.digest,
        "golden_records": verification.records,
        "largest_difference": verification.largest_difference,
    }
    logging.getLogger("vaegis").info("model ready", extra={"fields": fields})
    return app


def _serve(app: FastAPI, settings: Settings, certificate: Certificate | None) -> int:
    from service.http.server import Server, listening_socket

    try:
        listening = listening_socket(settings.host, settings.port)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise AddressError(f"{address}: expected an address to listen on, got: {error}") from error
    host, port = listening.getsockname()[:2]
    scheme = "http" if certificate is None else "https"
    started = f"vaegis is serving {app.state.model_name} on {scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    metrics = app.state.metrics
    server = Server(
        app,
        app.state.readiness,
        settings,
        on_listening=lambda: print(started, flush=True),
        count_cut=metrics.count_cut,
        tls=(lambda: None) if certificate is None else certificate.context,
    )
    metrics.connections.set_function(lambda: server.connections)
    server.run(listening)
    return 0

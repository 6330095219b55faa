"""The model argument of a command, and opening the model within a time limit."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from vaegis.service.errors import EXIT_ARTIFACT, ArtifactError
from vaegis.service.model_file import Expected
from vaegis.service.terminal import printable
from vaegis.service.watchdog import Watchdog

if TYPE_CHECKING:
    from vaegis.service.generation import Generator
    from vaegis.service.model import Model

DIGEST_VARIABLE = "VAEGIS_MODEL_DIGEST"
PUBLIC_KEY_VARIABLE = "VAEGIS_MODEL_PUBLIC_KEY"
TIMEOUT_VARIABLE = "VAEGIS_MODEL_TIMEOUT_S"
_TIMEOUT_S = "60"


def add_model_arguments(parser: ArgumentParser) -> None:
    """Add what every command that opens a model takes."""
    parser.add_argument("model", type=Path, help="the file that vaegis-train wrote")
    add_expectation_arguments(parser)


def add_expectation_arguments(parser: ArgumentParser) -> None:
    """Add what is expected of the model: its digest, its signature, and the time that it may take to open."""
    parser.add_argument(
        "--digest",
        metavar="sha256:HEX",
        default=os.environ.get(DIGEST_VARIABLE) or None,
        help=f"refuse the model unless it has this digest (default ${DIGEST_VARIABLE})",
    )
    parser.add_argument(
        "--public-key",
        type=Path,
        metavar="FILE",
        default=os.environ.get(PUBLIC_KEY_VARIABLE) or None,
        help=f"refuse the model unless this Ed25519 key verifies MODEL.sig (default ${PUBLIC_KEY_VARIABLE})",
    )
    parser.add_argument(
        "--model-timeout-s",
        type=_seconds,
        metavar="SECONDS",
        default=os.environ.get(TIMEOUT_VARIABLE) or _TIMEOUT_S,
        help="end with an error if opening the model and scoring its golden records takes longer "
        f"(default ${TIMEOUT_VARIABLE}, or {_TIMEOUT_S})",
    )


def opened_model(args: Namespace) -> Model:
    """Open the model that ``args`` name, without scoring its golden records.

    Raises:
        ArtifactError: the file cannot be used.
        SettingsError: the digest or the public key that is expected of it cannot be used.
    """
    with _watched(args):
        return _opened(args)


def verified_model(args: Namespace) -> tuple[Model, float]:
    """Open the model that ``args`` name; return it and the largest difference of a golden record's score.

    Raises:
        ArtifactError: the file cannot be used, or its golden records are not reproduced.
        SettingsError: the digest or the public key that is expected of it cannot be used.
    """
    with _watched(args):
        model = _opened(args)
        return model, model.artifact.verify().largest_difference


def opened_generator(args: Namespace, model: Model) -> Generator:
    """Open the decoder of a model.

    Raises:
        ArtifactError: it does not load, or does not fit the schema.
    """
    from vaegis.service.generation import Generator

    with _watched(args):
        return Generator(model.artifact.contract)


def _opened(args: Namespace) -> Model:
    # onnxruntime loads only here, so that the other commands start without it.
    from vaegis.service.model import open_model

    public_key = None if args.public_key is None else Path(args.public_key)
    return open_model(args.model, Expected(args.digest, public_key))


def _watched(args: Namespace) -> AbstractContextManager[Watchdog]:
    """Return what ends the process if the work within takes too long, whatever that work is at."""

    def end(_: float) -> None:
        error = ArtifactError(
            f"{args.model}: expected it to open and to reproduce its golden records within "
            f"{args.model_timeout_s:g} s, it did not; --model-timeout-s gives it longer"
        )
        print("vaegis: error:", printable(str(error)), file=sys.stderr, flush=True)
        os._exit(EXIT_ARTIFACT)

    return closing(Watchdog(args.model_timeout_s, end))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < float("inf"):
        raise ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return seconds

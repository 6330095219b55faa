"""`vaegis verify`: whether this machine reproduces the scores that a model was exported with."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaegis.service.terminal import printable

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check that this machine reproduces a model's scores",
        description="Score the golden records inside a model and compare with the scores stored beside them.",
    )
    parser.add_argument("model", type=Path, help="the file that vaegis-train wrote")
    parser.set_defaults(func=run)


def run(args: Namespace) -> int:
    """Check the file and score its golden records.

    Returns:
        0.

    Raises:
        ArtifactError: the file cannot be used, or its scores are not reproduced.
    """
    # onnxruntime loads only here, so that the other commands start without it.
    from vaegis.service.artifact import load_artifact
    from vaegis.service.generation import Generator
    from vaegis.service.runtime import VERSION

    artifact = load_artifact(args.model)
    verification = artifact.verify()
    Generator(artifact.contract)  # its own checks: the decoder loads and fits the schema
    print(
        f"{printable(str(args.model))}: {verification.records} golden records reproduced by onnxruntime {VERSION}; "
        f"largest difference {verification.largest_difference:.1e}"
    )
    return 0

"""`vaegis promote`, `rollback` and `shadow`: choose the versions that a service with a folder of models uses."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from vaegis.service.commands import Subparsers
from vaegis.service.commands.gate import add_gate_arguments, require_gate
from vaegis.service.commands.model import add_expectation_arguments, opened_generator, verified_model
from vaegis.service.model_folder import promote, roll_back, set_shadow, version_path
from vaegis.service.terminal import printable

if TYPE_CHECKING:
    from vaegis.service.model import Model

_MODELS = Path("models")


def add_parser(subparsers: Subparsers) -> None:
    """Add the commands."""
    promoting = subparsers.add_parser(
        "promote",
        help="make a version of a model live",
        description="Check MODELS/NAME/VERSION.onnx and make it the live version of NAME. Services that serve the "
        "folder load it within a second or two, without a restart.",
    )
    add_folder_arguments(promoting)
    promoting.add_argument("version", help="the version: its file's name without .onnx")
    promoting.add_argument(
        "--allow-schema-change",
        action="store_true",
        help="let its columns differ from those of the version before; clients must send what both accept",
    )
    add_gate_arguments(promoting)
    add_expectation_arguments(promoting)
    promoting.set_defaults(func=run_promote)
    rolling = subparsers.add_parser(
        "rollback",
        help="make the version live that was live before",
        description="Make the version of NAME live that was live before the last promotion.",
    )
    add_folder_arguments(rolling)
    rolling.set_defaults(func=run_rollback)
    shadowing = subparsers.add_parser(
        "shadow",
        help="have a version score a sample of the traffic beside the live one",
        description="Have MODELS/NAME/VERSION.onnx score a sample of the live traffic. GET /models/NAME/shadow tells "
        "how it compares.",
    )
    add_folder_arguments(shadowing)
    chosen = shadowing.add_mutually_exclusive_group(required=True)
    chosen.add_argument("version", nargs="?", help="the version: its file's name without .onnx")
    chosen.add_argument("--stop", action="store_true", help="have no version in shadow")
    add_expectation_arguments(shadowing)
    shadowing.set_defaults(func=run_shadow)


def add_folder_arguments(parser: ArgumentParser) -> None:
    """Add the folder of models and the name of one."""
    parser.add_argument("name", help="the model: its folder's name")
    parser.add_argument(
        "--models", type=Path, default=_MODELS, metavar="FOLDER", help="the folder of models (default %(default)s)"
    )


def run_promote(args: Namespace) -> None:
    """Check a version and make it live."""
    model = verified_version(args)
    require_gate(args, model.digest)
    pointer = promote(args.models, args.name, args.version, model.digest, allow_schema_change=args.allow_schema_change)
    before = f"; before: {pointer.history[-1].version}" if pointer.history else ""
    print(printable(f"{args.name}: {args.version} ({model.digest}) is live{before}"))


def run_rollback(args: Namespace) -> None:
    """Make the version live that was live before."""
    pointer = roll_back(args.models, args.name)
    print(printable(f"{args.name}: {pointer.live.version} ({pointer.live.digest}) is live again"))


def run_shadow(args: Namespace) -> None:
    """Check a version and put it into shadow, or end the shadow."""
    if args.stop:
        set_shadow(args.models, args.name, None)
        print(printable(f"{args.name}: no version is in shadow"))
        return
    model = verified_version(args)
    pointer = set_shadow(args.models, args.name, args.version, model.digest)
    print(printable(f"{args.name}: {args.version} ({model.digest}) is in shadow of {pointer.live.version}"))


def verified_version(args: Namespace) -> Model:
    """Return the version that ``args`` name, once it has passed every check that a service makes.

    Raises:
        ArtifactError: it does not pass one.
    """
    args.model = version_path(args.models, args.name, args.version)
    model, _ = verified_model(args)
    opened_generator(args, model)
    return model

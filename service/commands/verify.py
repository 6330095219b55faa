"""`vaegis verify`: check that this machine reproduces the scores that are stored in a model file."""

from __future__ import annotations

from argparse import Namespace

from vaegis.service.commands import Subparsers
from vaegis.service.commands.model import add_model_arguments, opened_generator, verified_model
from vaegis.service.terminal import printable


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "verify",
        help="check that this machine reproduces a model's scores",
        description="Score the golden records in a model file and compare with the stored scores.",
    )
    add_model_arguments(parser)
    parser.set_defaults(func=run)


def run(args: Namespace) -> None:
    """Check the file and score its golden records."""
    # onnxruntime loads only here, so that the other commands start without it.
    from vaegis.service.runtime import VERSION

    model, difference = verified_model(args)
    opened_generator(args, model)  # its own checks: the decoder loads and fits the schema
    records = len(model.artifact.contract.golden.records)
    print(
        f"{printable(str(args.model))}: {records} golden records reproduced by onnxruntime {VERSION}; "
        f"largest difference {difference:.1e}"
    )

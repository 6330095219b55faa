"""`vaegis report`: write what a model learned as one HTML page."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from vaegis.service.commands import Subparsers
from vaegis.service.commands.model import add_model_arguments, opened_generator, verified_model
from vaegis.service.errors import FileError, needs_extra
from vaegis.service.files.output import STANDARD_OUTPUT
from vaegis.service.terminal import printable


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its flag."""
    parser = subparsers.add_parser(
        "report",
        help="write what a model learned as one HTML page",
        description="Write what a model learned as one HTML page that loads nothing else: the promise in alarms a day, "
        "calibration scores, columns, the latent map, faults that are found, correlations of residuals, provenance.",
    )
    add_model_arguments(parser)
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="the page to write, or - for standard output", metavar="FILE"
    )
    parser.set_defaults(func=run)


def run(args: Namespace) -> None:
    """Write the page."""
    # onnxruntime and Jinja load only here, so that the other commands start without them.
    with needs_extra("report"):
        from vaegis.service.report.page import write_report

    model, _ = verified_model(args)
    path = None if str(args.output) == STANDARD_OUTPUT else args.output
    if path is not None and path.exists() and path.samefile(args.model):
        raise FileError(path, "the output is the model itself; choose another")
    size = write_report(model, path, opened_generator(args, model))
    shown = "standard output" if path is None else printable(str(path))
    print(f"report of {printable(model.name)}, {size:,} bytes, written to {shown}", file=sys.stderr)

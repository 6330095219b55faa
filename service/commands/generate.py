"""`vaegis generate`: generate new records from the model."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from vaegis.service.commands import Subparsers
from vaegis.service.commands.model import add_model_arguments, opened_generator, verified_model
from vaegis.service.errors import needs_extra
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.output import opened, output_argument
from vaegis.service.terminal import printable

if TYPE_CHECKING:
    from vaegis.service.contract import Schema
    from vaegis.service.generation import Drawn

_CHUNK_RECORDS = 16 * 1024


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its flags."""
    parser = subparsers.add_parser(
        "generate",
        help="generate records like those of the training data",
        description="Generate records like those of the training data, in its columns, units and categories. "
        "Columns that the model ignores are left out.",
    )
    add_model_arguments(parser)
    parser.add_argument("--count", type=_natural, required=True, help="number of records")
    parser.add_argument(
        "--seed", type=_natural, help="the same seed gives the same records (default: random, printed at the end)"
    )
    parser.add_argument(
        "--temperature",
        type=_temperature,
        help="how far records may be from known ones, 0 to 2; 1 draws from the prior (default: 0.5)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=output_argument,
        required=True,
        help="where the records go; the extension is the format: .csv .parquet .arrow .ndjson, or - for NDJSON to "
        "standard output",
    )
    parser.set_defaults(func=run)


def run(args: Namespace) -> None:
    """Generate the records."""
    # onnxruntime loads only here, so that the other commands start without it.
    from vaegis.service.commands.progress import progress_line
    from vaegis.service.generation import drawn_seed

    model, _ = verified_model(args)
    generator = opened_generator(args, model)
    seed = drawn_seed() if args.seed is None else args.seed
    done = 0
    with (
        progress_line() as line,
        opened(args.output.path) as stream,
        _writer(stream, args.output.format, generator.schema) as write,
    ):
        for part in generator.chunks(args.count, seed, _CHUNK_RECORDS, temperature=args.temperature):
            write(part)
            done += len(part)
            line.show(done)
    print(f"{done:,} records of seed {seed}, written to {printable(str(args.output))}", file=sys.stderr)


@contextmanager
def _writer(stream: BinaryIO, output_format: FileFormat, schema: Schema) -> Iterator[Callable[[Drawn], None]]:
    if output_format is FileFormat.NDJSON:
        from vaegis.service.files.output import write_lines
        from vaegis.service.generation import records_of

        yield lambda drawn: write_lines(stream, records_of(schema, drawn))
        return
    with needs_extra("files"):
        from vaegis.service.files.tables import drawn_writer
    with drawn_writer(stream, output_format, schema) as write:
        yield write


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _temperature(text: str) -> float:
    from vaegis.service.generation import HIGHEST_TEMPERATURE

    try:
        temperature = float(text)
    except ValueError:
        temperature = -1.0
    if not 0.0 <= temperature <= HIGHEST_TEMPERATURE:
        raise ArgumentTypeError(f"expected a number from 0 to {HIGHEST_TEMPERATURE:g}, got {text!r}")
    return temperature

"""The command `vaegis-train`: train a model, or evaluate one on labelled records."""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_OBJECTS_BETWEEN_COLLECTIONS = 100_000

_EPILOG = """\
`vaegis-train evaluate MODEL DATA --label-column Y` measures a model on labelled records.
exit codes: 0 done, 1 an error in the data, the settings or the model, 2 wrong usage, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    evaluating = arguments[:1] == ["evaluate"]
    parsed = _evaluate_parser().parse_args(arguments[1:]) if evaluating else _train_parser().parse_args(arguments)
    # After the arguments, because torch takes seconds to load and `--help` should not.
    from rich.console import Console

    from vaegis.service.errors import ServiceError
    from vaegis.service.terminal import printable
    from vaegis.training.config import HOW_TO_SET, SETTINGS_FILE
    from vaegis.training.errors import TrainingError

    console = Console(stderr=False)
    try:
        return _evaluate(parsed, console) if evaluating else _train(parsed, console)
    except (ServiceError, TrainingError) as error:
        names_settings = not evaluating and parsed.config is None and SETTINGS_FILE in str(error)
        how = f". {HOW_TO_SET}" if names_settings else ""
        print(f"vaegis-train: error: {printable(str(error))}{how}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("vaegis-train: interrupted", file=sys.stderr)
        return 130


def _train_parser() -> argparse.ArgumentParser:
    from vaegis.service.files.formats import add_dialect_arguments

    parser = argparse.ArgumentParser(
        prog="vaegis-train",
        description="Learn what normal records look like and export one ONNX file that scores new ones.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, help="CSV, Parquet, Arrow or NDJSON: one file or a folder of them")
    parser.add_argument("-o", "--output", type=Path, default=Path("model.onnx"), help="the file to write (%(default)s)")
    parser.add_argument("-c", "--config", type=Path, help="train.toml, with any setting; flags override it")
    parser.add_argument("--alpha", type=float, help="share of normal records that may be flagged (0.01)")
    parser.add_argument("--seed", type=int, help="seed of the sample, splits, weights and draws (0)")
    parser.add_argument(
        "--time-column", help="calibrate on the newest records by this column, instead of a random share"
    )
    add_dialect_arguments(parser)
    parser.add_argument("--left-out", type=Path, help="CSV file for the locations of records that fitting left out")
    parser.add_argument(
        "--review",
        type=_positive,
        metavar="N",
        help="write the N calibration records of the highest scores to OUTPUT.review.csv, for a person to label",
    )
    parser.add_argument(
        "--report", type=Path, help="HTML page for what the model learned, as `vaegis report` writes it"
    )
    parser.add_argument("--name", help="name of the model in answers and metrics (the output's file name)")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _evaluate_parser() -> argparse.ArgumentParser:
    from vaegis.training.evaluation.command import add_arguments

    parser = argparse.ArgumentParser(
        prog="vaegis-train evaluate", description="Measure a model on labelled records, beside other detectors."
    )
    add_arguments(parser)
    return parser


def _train(parsed: argparse.Namespace, console: Console) -> int:
    with _few_collections():
        from vaegis.training.config import load_config, with_overrides
        from vaegis.training.progress import Progress
        from vaegis.training.train import train

        overrides = {
            "calibration.alpha": parsed.alpha,
            "fit.seed": parsed.seed,
            "data.time_column": parsed.time_column,
            "export.model_name": parsed.name,
            "data.delimiter": parsed.delimiter,
            "data.quote": parsed.quote,
            "data.escape": parsed.escape,
            "data.encoding": parsed.encoding,
            "data.unwrap": parsed.unwrap,
        }
        config = with_overrides(load_config(parsed.config), overrides)
        train(
            parsed.data,
            parsed.output,
            config,
            Progress(console),
            left_out=parsed.left_out,
            report=parsed.report,
            review=parsed.review,
        )
    return 0


@contextmanager
def _few_collections() -> Iterator[None]:
    """Look for garbage in cycles seldom, and not at all as the process ends.

    Modules and the traced graph are a million objects that stay. Going through them again and again, as Python does by
    default after every 700 new ones, takes an eighth of the time in which a small set trains.
    """
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _evaluate(parsed: argparse.Namespace, console: Console) -> int:
    from vaegis.training.evaluation.command import run

    return run(parsed, console)


if __name__ == "__main__":
    sys.exit(main())

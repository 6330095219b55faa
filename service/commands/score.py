"""`vaegis score`: score files of records without a server."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from vaegis.service.commands import Subparsers
from vaegis.service.commands.model import add_model_arguments, verified_model
from vaegis.service.errors import STANDARD_INPUT_COPY, FileError, SettingsError, needs_extra
from vaegis.service.files.formats import add_dialect_arguments, dialect_of_arguments
from vaegis.service.files.output import Output, output_argument, termination_unwinds
from vaegis.service.terminal import printable

if TYPE_CHECKING:
    from vaegis.service.files.scoring import ScoreCounts
    from vaegis.service.model import Model
    from vaegis.service.records.blocks import Block
    from vaegis.service.report.scored import ScoredReport
    from vaegis.service.score_result import ScoreResult

_STANDARD_INPUT: Final = Path("-")
_INPUT_FORMATS: Final = ("csv", "tsv", "ndjson", "parquet", "arrow")
_COPIED_BYTES: Final = 2**20


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "score",
        help="score a file or a folder of records",
        description="Score a file or a folder of records, and write them with their verdicts.",
    )
    _add_arguments(parser)
    parser.set_defaults(func=run)


def _add_arguments(parser: ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument(
        "data", type=Path, help="CSV, Parquet, Arrow or NDJSON: a file, a folder of them, or - for standard input"
    )
    parser.add_argument(
        "--format",
        choices=_INPUT_FORMATS,
        help="format of standard input, which is read to its end into a temporary file before it is scored",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=output_argument,
        required=True,
        help="where the scored records go: .csv .parquet .arrow .ndjson, or - for NDJSON to standard output",
    )
    parser.add_argument("--prefix", default="", help="prefix for the names of added columns (default: none)")
    parser.add_argument(
        "--report",
        type=Path,
        metavar="PAGE",
        help="write an HTML page too: anomalies by signature, columns, over time, and the worst records",
    )
    parser.add_argument(
        "--report-values", action="store_true", help="show values of the worst records there, as well as their rows"
    )
    _add_rules(parser)
    add_dialect_arguments(parser)


def _add_rules(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--alpha", type=float, help="share of normal records that may be flagged, in (0, 1) (default: the model's own)"
    )
    parser.add_argument(
        "--explain",
        choices=("none", "anomalies", "all"),
        default="anomalies",
        help="which records come with contributions by column (default: %(default)s)",
    )
    parser.add_argument(
        "--unknown-columns",
        choices=("reject", "ignore"),
        default="reject",
        help="refuse columns that the model does not know, or copy them unscored (default: %(default)s)",
    )
    parser.add_argument(
        "--on-invalid",
        choices=("reject", "report"),
        default="reject",
        help="end at the first record that does not fit the model, or write each with its errors and score the others "
        "(default: %(default)s)",
    )


def run(args: Namespace) -> None:
    """Score the records."""
    # onnxruntime and pyarrow load only here, so that the other commands start without them.
    with needs_extra("files"):
        from vaegis.service.files.record_files import open_records
        from vaegis.service.files.scoring import ScoreFilesOptions, score_files
        from vaegis.service.records.faults import OnInvalid
    from vaegis.service.commands.progress import progress_line
    from vaegis.service.verdicts import Explain

    _require_contributions(args)
    model, _ = verified_model(args)
    alpha = model.alpha if args.alpha is None else args.alpha
    promise = model.guarantee_at(alpha)
    columns = model.artifact.contract.columns
    ignored = [column.name for column in columns.ignored]
    rules = ScoreFilesOptions(
        alpha, Explain(args.explain), args.unknown_columns, args.prefix, OnInvalid(args.on_invalid)
    )
    report = _report(args, model, alpha)
    with _input(args.data, args.format) as data, progress_line() as line:
        dialect = dialect_of_arguments(args)
        files = open_records(data, dialect=dialect, ignored=ignored, columns_above=columns.of_records.names)
        _refuse_input_as_output(args.output, files.paths)
        tally = score_files(
            model,
            files,
            args.output,
            rules,
            lambda t: line.show(t.records, f", {t.anomalies:,} anomalies"),
            None if report is None else partial(_observed, report, args.data),
        )
    print(_summary(tally, promise, args.output), file=sys.stderr)
    if report is not None:
        from vaegis.service.report.page import write_page

        size = write_page(report.page(), args.report)
        print(f"report, {size:,} bytes, written to {printable(str(args.report))}", file=sys.stderr)


@contextmanager
def _input(data: Path, input_format: str | None) -> Iterator[Path]:
    """Yield the path of the records, for standard input that of a file for as long as the context lasts."""
    if data != _STANDARD_INPUT:
        if input_format is not None:
            raise FileError(data, "--format is for standard input; a file's format follows from its extension")
        yield data
        return
    if input_format is None:
        raise FileError(data, f"expected --format {'|'.join(_INPUT_FORMATS)} with standard input, got none")
    with termination_unwinds(), TemporaryDirectory(prefix="vaegis-") as folder:
        path = Path(folder) / f"{STANDARD_INPUT_COPY}.{input_format}"
        try:
            with path.open("wb") as file:
                # A read returns what has arrived. Signals are handled between reads, but not while a buffer fills.
                while read := os.read(sys.stdin.fileno(), _COPIED_BYTES):
                    file.write(read)
        except OSError as error:
            raise FileError(
                data, f"cannot be copied to {folder}: {error.strerror}; TMPDIR names another folder"
            ) from None
        yield path


def _require_contributions(args: Namespace) -> None:
    if args.report is None and args.report_values:
        raise SettingsError("--report-values needs --report PAGE")
    if args.report is not None and args.explain == "none":
        raise SettingsError("--report needs --explain anomalies or all, because it counts the columns of contributions")


def _report(args: Namespace, model: Model, alpha: float) -> ScoredReport | None:
    """Return what gathers the report, if one is asked for."""
    if args.report is None:
        return None
    with needs_extra("report"):
        from vaegis.service.report.scored import ScoredReport
    for taken in (args.model, args.data, args.output.path):
        if taken is not None and taken.exists() and args.report.exists() and args.report.samefile(taken):
            raise FileError(args.report, "the report is one of the other files; choose another")
    return ScoredReport(model, alpha, with_values=args.report_values)


def _observed(report: ScoredReport, data: Path, path: Path, first_row: int, block: Block, result: ScoreResult) -> None:
    """Count records for the report; those of standard input are in a file that has no name for the user."""
    report.add(Path("standard input") if data == _STANDARD_INPUT else path, first_row, block, result)


def _refuse_input_as_output(output: Output, paths: tuple[Path, ...]) -> None:
    if output.path is not None and output.path.exists() and any(output.path.samefile(path) for path in paths):
        raise FileError(output.path, "the output is one of the files to read; choose another")


def _summary(counts: ScoreCounts, promise: str, output: Output) -> str:
    share = f" ({counts.anomalies / counts.records:.3%})" if counts.records else ""
    refused = f"; {counts.refused:,} more not scored, because they do not fit (see errors)" if counts.refused else ""
    found = f"{counts.anomalies:,} anomalies{share}, {counts.violated:,} with violations"
    notes = "".join(f"\nNote: {printable(note)}." for note in counts.notes)
    return f"{counts.records:,} records scored: {found}{refused}; written to {printable(str(output))}\n{promise}{notes}"

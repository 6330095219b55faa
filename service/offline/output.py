"""Where a command's result goes: a file that appears only when it is whole, or standard output."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from vaegis.service.errors import FileError
from vaegis.service.offline.replacing import replacing

STANDARD_OUTPUT = "-"


class OutputFormat(StrEnum):
    """Formats that can be written."""

    CSV = "CSV"
    PARQUET = "Parquet"
    ARROW = "Arrow"
    NDJSON = "NDJSON"


_FORMATS = {
    ".csv": OutputFormat.CSV,
    ".parquet": OutputFormat.PARQUET,
    ".arrow": OutputFormat.ARROW,
    ".ndjson": OutputFormat.NDJSON,
}


@dataclass(frozen=True, slots=True)
class Output:
    """A place for records.

    Attributes:
        path: The file, or None for standard output.
        format: What is written there.
    """

    path: Path | None
    format: OutputFormat

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)


def output_argument(text: str) -> Output:
    """Return the output that a command line names, its format told by the extension; `-` is NDJSON to standard output.

    Raises:
        ArgumentTypeError: the extension is none of those that can be written.
    """
    if text == STANDARD_OUTPUT:
        return Output(None, OutputFormat.NDJSON)
    path = Path(text)
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        got = repr(path.suffix) if path.suffix else "none"
        raise ArgumentTypeError(f"expected one of the extensions {' '.join(_FORMATS)}, or -; got {got}")
    return Output(path, found)


@contextmanager
def opened(output: Output) -> Iterator[BinaryIO]:
    """Open an output for writing.

    A file is written under a temporary name beside its place and renamed when the block ends; when the block fails
    or is interrupted, the temporary file is removed and what stood there before stays.

    Raises:
        FileError: the file cannot be written.
    """
    if output.path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if output.path.is_dir():
        raise FileError(output.path, "expected a file, got a directory")
    try:
        with replacing(output.path) as temporary, temporary.open("wb") as stream:
            yield stream
    except OSError as error:
        raise FileError(output.path, f"cannot be written: {error.strerror or error}") from error

"""Where a command's result goes: a file that appears only when it is whole, or standard output."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

from service.errors import FileError

STANDARD_OUTPUT = "-"

_TERMINATED = 128 + signal.SIGTERM


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
    path = Path(os.path.realpath(output.path))  # a link stays a link
    if path.is_dir():
        raise FileError(output.path, "expected a file to write, got a directory")
    temporary = path.parent / f".vaegis-{secrets.token_hex(8)}.part"
    try:
        # Not tempfile: its files are closed to everyone else, whatever the user's umask says.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except OSError as error:
        raise FileError(output.path, f"expected a folder to write in, got: {error.strerror}") from error
    try:
        with _termination_unwinds():
            with open(descriptor, "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
    except OSError as error:
        raise FileError(output.path, f"expected to write the whole file, got: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, through every `finally`."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_TERMINATED)

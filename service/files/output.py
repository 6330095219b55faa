"""Write the result of a command: to a file that appears only when it is complete, or to standard output."""

from __future__ import annotations

import base64
import json
import math
import os
import secrets
import signal
import stat
import sys
import threading
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, NoReturn

from vaegis.service.errors import FileError
from vaegis.service.files.formats import FileFormat

STANDARD_OUTPUT = "-"
TERMINATED = 143
"""Exit code of a program that SIGTERM ended: 128 + 15, as shells have it."""


_FORMATS = {
    ".csv": FileFormat.CSV,
    ".parquet": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".ndjson": FileFormat.NDJSON,
}


@dataclass(frozen=True, slots=True)
class Output:
    """A place for records.

    Attributes:
        path: The file, or None for standard output.
        format: What is written there.
    """

    path: Path | None
    format: FileFormat

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)


def output_argument(text: str) -> Output:
    """Return the output that a command line names. The extension decides its format; `-` is NDJSON to standard output.

    Raises:
        ArgumentTypeError: the extension is none of those that can be written.
    """
    if text == STANDARD_OUTPUT:
        return Output(None, FileFormat.NDJSON)
    path = Path(text)
    found = _FORMATS.get(path.suffix.lower())
    if found is None:
        got = repr(path.suffix) if path.suffix else "none"
        raise ArgumentTypeError(f"expected one of the extensions {' '.join(_FORMATS)}, or -; got {got}")
    return Output(path, found)


@contextmanager
def opened(path: Path | None) -> Iterator[BinaryIO]:
    """Open a file for writing, or standard output if None.

    A file is written under a temporary name beside its place and renamed when the block ends; when the block fails
    or is interrupted, the temporary file is removed and what stood there before stays.

    Raises:
        FileError: the file cannot be written.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.is_dir():
        raise FileError(path, "expected a file, got a directory")
    try:
        with replacing(path) as temporary, temporary.open("wb") as stream:
            yield stream
    except OSError as error:
        raise FileError(path, f"cannot be written: {error.strerror or error}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside ``path``, to be written and closed; at the end it takes that place.

    The file has the mode of what stood there before, so that nobody can read it who could not, and its owner and group
    where the system permits that. When the block fails or
    is interrupted, the temporary file is removed and what stood at ``path`` before stays.

    Raises:
        OSError: the file cannot be made or renamed.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = target.parent / f".vaegis-{secrets.token_hex(8)}.part"
    before = target.stat() if target.exists() else None
    # Not tempfile: its files are closed to everyone else, whatever the user's umask says.
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if before is None else 0o600))
    try:
        with termination_unwinds():
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            if before is not None:
                _give_to_owner(temporary, before)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_lines(stream: BinaryIO, records: Iterable[Mapping[str, object]]) -> None:
    """Write each record as one line of JSON.

    NaN and infinities become null, binary values base64, and other types that JSON lacks their text.
    """
    stream.write(b"".join(_line(record) for record in records))


@contextmanager
def termination_unwinds() -> Iterator[None]:
    """Let SIGTERM end the program as Ctrl-C does, through every `finally`."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _give_to_owner(file: Path, before: os.stat_result) -> None:
    """Give a file the owner, the group and the mode that another had."""
    given = file.stat()
    if (given.st_uid, given.st_gid) != (before.st_uid, before.st_gid):
        with suppress(PermissionError):  # only root gives files away; then the mode alone is kept
            os.chown(file, before.st_uid, before.st_gid)
    file.chmod(stat.S_IMODE(before.st_mode))  # last, because a change of owner clears bits of it


def _exit(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(TERMINATED)


def _line(record: Mapping[str, object]) -> bytes:
    try:
        text = _dumps(record)
    except ValueError:
        text = _dumps(_finite(record))
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _dumps(value: object) -> str:
    return json.dumps(value, default=_text, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _text(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return value

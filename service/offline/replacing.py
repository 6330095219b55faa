"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

TERMINATED = 143
"""Exit code of a program that SIGTERM ended: 128 + 15, as shells have it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside ``path``, to be written and closed; at the end it takes that place.

    The file has the mode of what stood there before, so that nobody can read it who could not. When the block fails or
    is interrupted, the temporary file is removed and what stood at ``path`` before stays.

    Raises:
        OSError: the file cannot be made or renamed.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    temporary = target.parent / f".vaegis-{secrets.token_hex(8)}.part"
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    # Not tempfile: its files are closed to everyone else, whatever the user's umask says.
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600))
    try:
        with _termination_unwinds():
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            if mode is not None:
                temporary.chmod(mode)
            temporary.replace(target)
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
    raise SystemExit(TERMINATED)

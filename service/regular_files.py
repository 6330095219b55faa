"""Files that have to be regular: opening or reading a named pipe without a writer would block for ever."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)  # Windows has none


def require_regular(path: Path, file: int | None = None) -> None:
    """Pass if there is a regular file at ``path``, perhaps behind a link; or if the descriptor ``file`` is one of it.

    Raises:
        OSError: there is none; its `strerror` says why.
    """
    mode = (path.stat() if file is None else os.fstat(file)).st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, got {kind}", str(path))


@contextmanager
def opened_regular(path: Path, flags: int, mode: int = 0o666) -> Iterator[int]:
    """Open a regular file by the flags of `os.open`, without blocking whatever is there, and yield its descriptor.

    Raises:
        OSError: there is no such file, or it cannot be opened; its `strerror` says why.
    """
    file = os.open(path, flags | _NO_WAIT, mode)
    try:
        require_regular(path, file)
        yield file
    finally:
        os.close(file)


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file, or its first ``most`` bytes.

    Raises:
        OSError: there is no such file, or it cannot be read; its `strerror` says why.
    """
    require_regular(path)  # before it is opened, because opening a device may set it going
    with opened_regular(path, os.O_RDONLY) as file, os.fdopen(file, "rb", closefd=False) as stream:
        return stream.read(most)

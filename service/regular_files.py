"""Files that are read whole, and have to be regular: a named pipe without a writer would block the reader for ever."""

from __future__ import annotations

import errno
import os
import stat
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


def require_regular(path: Path) -> None:
    """Pass if there is a regular file at ``path``, perhaps behind a link.

    Raises:
        OSError: there is none; its `strerror` says why.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"expected a regular file, got {kind}", str(path))


def read_regular(path: Path, most: int) -> bytes:
    """Return the content of a regular file, or its first ``most`` bytes.

    Raises:
        OSError: there is no such file, or it cannot be read; its `strerror` says why.
    """
    require_regular(path)
    # If a pipe takes its place now, opening it must not block either.
    with os.fdopen(os.open(path, os.O_RDONLY | _NO_WAIT), "rb") as file:
        return file.read(most)

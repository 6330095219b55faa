"""Files in memory, which processes share by their descriptors."""

from __future__ import annotations

import os
import tempfile


def memory_file(name: str, content: bytes = b"") -> int:
    """Return the descriptor of a new file without a path, which goes with the last process that holds it.

    It needs no folder that can be written, and nobody else can open it.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(prefix=f"vaegis-{name}-") as temporary:
            file = os.dup(temporary.fileno())
    write_at(file, content, 0)
    return file


def write_at(file: int, content: bytes, start: int) -> None:
    """Write all of ``content`` from the byte ``start`` on."""
    at = 0
    while at < len(content):
        at += os.pwrite(file, memoryview(content)[at:], start + at)


def content_of(file: int) -> bytes:
    """Return all of a file, wherever other processes have read to."""
    size = os.fstat(file).st_size
    parts: list[bytes] = []
    while sum(map(len, parts)) < size:
        parts.append(os.pread(file, size, sum(map(len, parts))))
    return b"".join(parts)

"""What the processes of a service share: files in memory, and the table of the workers in one of them."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

from vaegis.service.http.observability.multiprocess_metrics import PARENT

_CELL_BYTES: Final = 8


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


class WorkerTable:
    """Which processes a service consists of, and how many connections each worker has.

    Attributes:
        file: Descriptor of the file behind it, to be passed to the workers.
        workers: Number of workers.
    """

    def __init__(self, workers: int, file: int | None = None) -> None:
        """Open the table for so many workers in ``file``; if None, make a new one, with this process as the parent."""
        size = (2 * workers + 1) * _CELL_BYTES
        is_parent = file is None
        if file is None:
            file = memory_file("workers")
            os.ftruncate(file, size)
        self.file = file
        self.workers = workers
        cells = memoryview(mmap.mmap(file, size)).cast("Q")
        self._loads = cells[:workers]  # one more than the connections, and 0 where no worker accepts any
        self._pids = cells[workers:]  # the last is the parent's; 0 where no process runs
        if is_parent:
            self._pids[workers] = os.getpid()

    def note_start(self, worker: int, pid: int) -> None:
        """Note the process of a worker."""
        self._pids[worker] = pid

    def note_end(self, worker: int) -> None:
        """Note that a worker has ended."""
        self._pids[worker] = 0
        self._loads[worker] = 0

    def pids(self) -> dict[str, int]:
        """Return the processes that run, by the workers' numbers and `PARENT`."""
        names = [*map(str, range(self.workers)), PARENT]
        return {name: pid for name, pid in zip(names, self._pids, strict=True) if pid}

    def is_crowded(self, worker: int, connections: int) -> bool:
        """Note the connections of a worker, and tell whether another that accepts some has fewer."""
        load = connections + 1
        self._loads[worker] = load
        return any(0 < other < load for other in self._loads)

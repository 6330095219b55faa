"""The table of the worker processes of a service, in memory that they share."""

from __future__ import annotations

import mmap
import os
from typing import Final

from vaegis.service.http.observability.multiprocess_metrics import PARENT
from vaegis.service.memory_files import memory_file

_CELL_BYTES: Final = 8


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

"""Memory that all processes of a service share: a tally for each worker, and one for the process that starts them."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

from vaegis.service.http.counting.tally import TALLY_BYTES, Tally

PARENT: Final = "parent"

RESTARTS: Final = "vaegis_worker_restarts"
"""The one metric that the parent counts."""

_LOAD_BYTES: Final = 8


def memory_file(name: str, content: bytes = b"") -> int:
    """Return the descriptor of a new file without a path, which goes with the last process that holds it.

    It needs no folder that can be written, and nobody else can open it.
    """
    if hasattr(os, "memfd_create"):
        file = os.memfd_create(name, os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(prefix=f"vaegis-{name}-") as temporary:
            file = os.dup(temporary.fileno())
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
    return file


def content_of(file: int) -> bytes:
    """Return all of a file, wherever other processes have read to."""
    size = os.fstat(file).st_size
    parts: list[bytes] = []
    while sum(map(len, parts)) < size:
        parts.append(os.pread(file, size, sum(map(len, parts))))
    return b"".join(parts)


class Board:
    """The tallies of a service, and how its connections are spread.

    Attributes:
        file: Descriptor of the file behind them, to be passed to the workers.
        workers: Tallies of the workers, by number.
        parent: That of the process that starts them.
        balance: Connections of the workers, by number.
    """

    def __init__(self, workers: int, file: int | None = None) -> None:
        """Open the board for so many workers in ``file``; make a new one if None."""
        tallies_end = (workers + 1) * TALLY_BYTES
        size = tallies_end + workers * _LOAD_BYTES
        if file is None:
            file = memory_file("board")
            os.ftruncate(file, size)  # the system gives memory only for what is used
        self.file = file
        memory = memoryview(mmap.mmap(file, size))
        tallies = [Tally(memory[start : start + TALLY_BYTES]) for start in range(0, tallies_end, TALLY_BYTES)]
        self.workers = tallies[:-1]
        self.parent = tallies[-1]
        self.balance = Balance(memory[tallies_end:].cast("Q"))

    def by_name(self) -> dict[str, Tally]:
        """Return the tallies by what `process_*` metrics call their processes."""
        return {str(number): tally for number, tally in enumerate(self.workers)} | {PARENT: self.parent}

    def forget(self, worker: int) -> None:
        """Forget what was true of a worker that has ended; what it counted stays."""
        self.workers[worker].pid = 0
        self.workers[worker].forget_gauges()
        self.balance.forget(worker)


class Balance:
    """How many connections each worker has, so that none takes more than its share of the new ones."""

    def __init__(self, loads: memoryview[int]) -> None:
        """Keep them in ``loads``: one more than the connections, and 0 where no worker accepts any."""
        self._loads = loads

    def is_crowded(self, worker: int, connections: int) -> bool:
        """Note the connections of a worker, and tell whether another that accepts some has fewer."""
        load = connections + 1
        self._loads[worker] = load
        return any(0 < other < load for other in self._loads)

    def forget(self, worker: int) -> None:
        """Note that a worker accepts no more."""
        self._loads[worker] = 0

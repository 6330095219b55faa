"""The numbers of one process, in memory that others may read while it counts."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Final, Literal

TALLY_BYTES: Final = 16 * 2**20
"""Address space of one tally; the system gives memory only for what is used of it."""

Kind = Literal["counter", "gauge"]
Labels = tuple[str, ...]

_USED, _PID = 0, 1  # words of the header: bytes of the index in use; the process that counts here, or 0
_INDEX_AT: Final = 64
_CELLS_AT: Final = TALLY_BYTES // 2


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a series has its cells.

    Attributes:
        name: Of the metric.
        labels: Values of its labels.
        kind: Whether the numbers outlive the process that wrote them.
        first: Position of the first cell.
        count: Number of cells.
    """

    name: str
    labels: Labels
    kind: Kind
    first: int
    count: int


class Tally:
    """Cells, each a float64, and an index that says which series has which.

    One process writes, threads of it under `lock`; any number of them read. A cell is written in one piece, and the
    index grows only after an entry is whole: whoever reads, even after the writer was killed, reads numbers that it
    wrote. A process that takes the place of another finds its series in the index and counts on.
    """

    def __init__(self, memory: memoryview | None = None) -> None:
        """Open the tally in ``memory``, `TALLY_BYTES` of zeros or of an earlier tally; in memory of its own if None."""
        self._memory = memoryview(mmap.mmap(-1, TALLY_BYTES)) if memory is None else memory
        self._header = self._memory[:_INDEX_AT].cast("Q")
        self._cells = self._memory[_CELLS_AT:].cast("d")
        self._entries: dict[tuple[str, Labels], Entry] = {}
        self._read_to = 0
        self._next_cell = 0
        self.lock = Lock()

    @property
    def pid(self) -> int:
        """The process that counts here; 0 where none does."""
        return self._header[_PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._header[_PID] = pid

    def series(self, name: str, labels: Labels, count: int, kind: Kind = "counter") -> memoryview[float]:
        """Return the cells of a series, which are made if they are not there.

        Raises:
            MemoryError: there is no place for more.
        """
        with self.lock:
            self._read_index()
            entry = self._entries.get((name, labels)) or self._add(name, labels, count, kind)
        return self._cells[entry.first : entry.first + entry.count]

    def entries(self) -> Iterator[Entry]:
        """Yield all series that there are by now."""
        with self.lock:
            self._read_index()
            entries = list(self._entries.values())
        yield from entries

    def cells(self, entry: Entry) -> memoryview[float]:
        """Return the cells of a series, to be read."""
        return self._cells[entry.first : entry.first + entry.count]

    def forget_gauges(self) -> None:
        """Set to 0 what was true only of the process that counted here."""
        for entry in self.entries():
            if entry.kind == "gauge":
                for cell in range(entry.first, entry.first + entry.count):
                    self._cells[cell] = 0.0

    def _add(self, name: str, labels: Labels, count: int, kind: Kind) -> Entry:
        line = json.dumps([name, labels, kind, count]).encode() + b"\n"
        start = _INDEX_AT + self._read_to
        if start + len(line) > _CELLS_AT or self._next_cell + count > len(self._cells):
            raise MemoryError(f"metrics: expected series that fit into {TALLY_BYTES} bytes, got more with {name}")
        self._memory[start : start + len(line)] = line
        self._header[_USED] = self._read_to + len(line)
        self._read_index()
        return self._entries[name, labels]

    def _read_index(self) -> None:
        used = self._header[_USED]
        if used == self._read_to:
            return
        new = bytes(self._memory[_INDEX_AT + self._read_to : _INDEX_AT + used])
        self._read_to = used
        for line in new.splitlines():
            name, labels, kind, count = json.loads(line)
            entry = Entry(name, tuple(labels), kind, self._next_cell, count)
            self._entries[name, entry.labels] = entry
            self._next_cell += count

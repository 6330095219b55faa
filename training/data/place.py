"""Where a record stands."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands: its file, and its row there, from 1."""

    path: Path
    row: int

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}"

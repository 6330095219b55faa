"""The file and the row of a record."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RowLocation:
    """The file of a record and its row there, from 1."""

    path: Path
    row: int

    def __str__(self) -> str:
        return f"{self.path}, row {self.row}"

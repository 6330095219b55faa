"""Rows kept as soon as they are measured, so that an interrupted benchmark goes on where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.quality.measure import Case, Measured


class Row(BaseModel):
    """The figures of one case, and what they were measured with.

    Attributes:
        key: Digest of code, libraries, settings and data, from `sources.row_key`.
        commit: On which the code stood.
        case: What was measured.
        measured: The figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    commit: str
    case: Case
    measured: Measured


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file of rows, one JSON document a line. Rows of other code or settings stay in it and are not read.

    Attributes:
        path: The file; made with the first row.
        key: Of the rows that are read and written.
    """

    path: Path
    key: str

    def read(self) -> dict[Case, Row]:
        """Return the rows of this key."""
        return {row.case: row for row in self._rows() if row.key == self.key}

    def append(self, row: Row) -> None:
        """Add a row at the end of the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            # The line break in front ends a line that a killed run left half written.
            file.write("\n" + row.model_dump_json() + "\n")

    def _rows(self) -> Iterator[Row]:
        """Yield all rows but those of another version of this file, or half written."""
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else ():
            try:
                yield Row.model_validate_json(line)
            except ValidationError:
                continue

"""The faults of a request's records, gathered by column and told by row, up to a limit."""

from __future__ import annotations

from collections.abc import Callable

from service.errors import Fault, RecordError
from service.records.names import shown

_BEFORE_COLUMNS = -1
"""Where a fault of the record as a whole stands among the faults of its row."""


class FaultList:
    """Faults, of which only the first ones by row are kept and the others counted.

    Each source (the records themselves, then every column) reports in order of row, so that keeping the first
    ``limit`` of each is enough to know the first ``limit`` of all, whatever the number of faulty records.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected at least 1, got {limit}")
        self._limit = limit
        self._kept: list[tuple[int, int, int, Fault]] = []
        self._count = 0
        self._of_records = 0

    def has_room(self) -> bool:
        """Tell whether a fault of a record as a whole would be kept: only then is its message worth building."""
        return self._of_records < self._limit

    def add(self, row: int, column: str | None, code: str, detail: str) -> None:
        """Add a fault of a record as a whole, or of a column that the schema does not have."""
        self._of_records += 1
        self._add(row, _BEFORE_COLUMNS, column, code, detail, keep=self._of_records <= self._limit)

    def count(self, faults: int) -> None:
        """Count faults that were not built."""
        self._of_records += faults
        self._count += faults

    def of_column(self, name: str, position: int) -> Callable[[int, str, str], None]:
        """Return a function that adds a fault of one column, given row, code and detail."""
        reported = 0

        def report(row: int, code: str, detail: str) -> None:
            nonlocal reported
            reported += 1
            self._add(row, position, name, code, detail, keep=reported <= self._limit)

        return report

    def raise_any(self) -> None:
        """Raise `RecordError` if there is any fault."""
        if not self._count:
            return
        first = sorted(self._kept, key=lambda entry: entry[:3])[: self._limit]
        raise RecordError(tuple(fault for *_, fault in first), self._count - len(first))

    def _add(self, row: int, position: int, column: str | None, code: str, detail: str, *, keep: bool) -> None:
        self._count += 1
        if keep:
            name = None if column is None else shown(column)
            place = f"records[{row}]" if name is None else f"records[{row}].{name}"
            fault = Fault(row=row, column=name, code=code, message=f"{place}: {detail}")
            self._kept.append((row, position, self._count, fault))

"""The faults of a request's records, collected by column and listed by row, up to a limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

import msgspec

from vaegis.service.errors import Fault, RecordError
from vaegis.service.records.column_names import shown

Report: TypeAlias = Callable[[int, str, str], None]
"""Reports a fault of one column, given its row, code and detail."""

LocationName: TypeAlias = Callable[[int, str | None], str]
"""Returns how messages name a location, given the row of a record and the name of a column."""

MOST_FAULTS: Final = 10_000
"""Most faults listed by row for records that are scored or answered together."""

_BEFORE_COLUMNS = -1
"""Sorts a fault of the record as a whole before the faults of its columns."""


class OnInvalid(StrEnum):
    """What to do if some records do not fit the model's schema."""

    REJECT = "reject"
    REPORT = "report"


class ErrorFields(msgspec.Struct, gc=False):
    """A fault of a record in the answer."""

    column: str | None
    code: str
    message: str


def error_fields(faults: Sequence[Fault]) -> list[ErrorFields]:
    """Return a record's faults for the answer."""
    return [ErrorFields(fault.column, fault.code, fault.message) for fault in faults]


def location_in_request(row: int, column: str | None) -> str:
    """Return how messages name a record of a request, or one of its columns."""
    return f"records[{row}]" if column is None else f"records[{row}].{column}"


class Faults(Protocol):
    """Collects faults. Rows count from the first record of a block."""

    def would_keep(self, row: int) -> bool:
        """Return whether a further fault of a record as a whole would be kept, and is worth a message."""

    def add_fault(self, row: int, column: str | None, code: str, detail: str) -> None:
        """Add a fault of a record as a whole, or of a column that the schema does not have."""

    def count(self, row: int, faults: int) -> None:
        """Count faults that were not built."""

    def of_column(self, name: str, position: int) -> Report:
        """Return a function that adds a fault of one column, given row, code and detail."""


class FaultList:
    """Keeps the first faults by row and counts the others.

    Each source (the records themselves, then every column) reports in order of row, so the first ``limit`` faults of
    each source are enough to know the first ``limit`` of all.
    """

    def __init__(self, limit: int, location: LocationName = location_in_request) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected at least 1, got {limit}")
        self._limit = limit
        self._location = location
        self._kept: list[tuple[int, int, int, Fault]] = []
        self._count = 0
        self._of_records = 0

    def would_keep(self, row: int) -> bool:  # noqa: ARG002 - the limit is one for all rows
        """Return whether a further fault of a record as a whole would be kept, and is worth a message."""
        return self._of_records < self._limit

    def add_fault(self, row: int, column: str | None, code: str, detail: str) -> None:
        """Add a fault of a record as a whole, or of a column that the schema does not have."""
        self._of_records += 1
        self._add(row, _BEFORE_COLUMNS, column, code, detail, keep=self._of_records <= self._limit)

    def count(self, row: int, faults: int) -> None:  # noqa: ARG002 - the count is one for all rows
        """Count faults that were not built."""
        self._of_records += faults
        self._count += faults

    def of_column(self, name: str, position: int) -> Report:
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
            self._kept.append((row, position, self._count, _fault(row, column, code, detail, self._location)))


class FaultsByRow:
    """Keeps the faults of each record, up to a limit for each, for answers that score the other records.

    After `MOST_FAULTS` faults of all records, it keeps only the first fault of each further record.
    """

    def __init__(self, limit: int, first_row: int, location: LocationName = location_in_request) -> None:
        """Keep ``limit`` faults of a record; the block's first record is ``first_row`` of its body or file."""
        self._limit = limit
        self._location = location
        self._left = MOST_FAULTS
        self._first_row = first_row
        self._counts: Counter[int] = Counter()
        self._kept: dict[int, list[tuple[int, Fault]]] = {}

    def would_keep(self, row: int) -> bool:
        """Return whether a further fault of this record would be kept."""
        count = self._counts[row]
        return not count or (count < self._limit and self._left > 0)

    def add_fault(self, row: int, column: str | None, code: str, detail: str) -> None:
        """Add a fault of a record as a whole, or of a column that the schema does not have."""
        self._add(row, _BEFORE_COLUMNS, column, code, detail)

    def count(self, row: int, faults: int) -> None:
        """Count faults that were not built."""
        self._counts[row] += faults

    def of_column(self, name: str, position: int) -> Report:
        """Return a function that adds a fault of one column, given row, code and detail."""
        return lambda row, code, detail: self._add(row, position, name, code, detail)

    def by_row(self) -> Mapping[int, tuple[Fault, ...]]:
        """Return the faults of each faulty record, by its row in the part, ascending."""
        kept = sorted(self._kept.items())
        return {row: tuple(fault for _, fault in sorted(of_row, key=lambda entry: entry[0])) for row, of_row in kept}

    def _add(self, row: int, position: int, column: str | None, code: str, detail: str) -> None:
        if self.would_keep(row):
            fault = _fault(self._first_row + row, column, code, detail, self._location)
            self._kept.setdefault(row, []).append((position, fault))
            self._left -= 1
        self._counts[row] += 1


def _fault(row: int, column: str | None, code: str, detail: str, location: LocationName) -> Fault:
    name = None if column is None else shown(column)
    return Fault(row=row, column=name, code=code, message=f"{location(row, name)}: {detail}")

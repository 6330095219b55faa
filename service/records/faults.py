"""The faults of a request's records, collected by column and listed by row, up to a limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from itertools import chain
from typing import Final, TypeAlias

import msgspec

from vaegis.service.errors import Fault, RecordError
from vaegis.service.records.column_names import shown

Report: TypeAlias = Callable[[int, str, str], None]
"""Reports a fault of one column, given its row, code and detail."""

LocationName: TypeAlias = Callable[[int, str | None], str]
"""Returns how messages name a location, given the row of a record and the name of a column."""

MAX_FAULTS: Final = 100
"""Most faults that are listed, unless the caller sets another limit."""

MOST_FAULTS: Final = 10_000
"""Most faults listed by row for records that are scored or answered together."""

_BEFORE_COLUMNS = -1
"""Sorts a fault of the record as a whole before the faults of its columns."""


class OnInvalid(StrEnum):
    """What to do if some records do not fit the model's schema."""

    REJECT = "reject"
    REPORT = "report"


def in_request(row: int, column: str | None) -> str:
    """Return how messages name a record of a request, or a column of it."""
    return f"records[{row}]" if column is None else f"records[{row}].{column}"


class ErrorFields(msgspec.Struct, gc=False):
    """A fault of a record in the answer."""

    column: str | None
    code: str
    message: str


def error_fields(faults: Sequence[Fault]) -> list[ErrorFields]:
    """Return a record's faults for the answer."""
    return [ErrorFields(fault.column, fault.code, fault.message) for fault in faults]


class Faults:
    """The faults of some records, up to a limit for each record.

    After `MOST_FAULTS` faults of all records, it keeps only the first fault of each further record. Rows count from the
    first of the records.
    """

    def __init__(self, limit: int, first_row: int = 0, location: LocationName = in_request) -> None:
        """Keep ``limit`` faults of a record; the first record is ``first_row`` of its body or file."""
        self._limit = limit
        self._location = location
        self._left = MOST_FAULTS
        self._first_row = first_row
        self._counts: Counter[int] = Counter()
        self._kept: dict[int, list[tuple[int, Fault]]] = {}

    def would_keep(self, row: int) -> bool:
        """Return whether a further fault of this record would be kept, and is worth a message."""
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
        """Return the faults of each faulty record, by its row, ascending."""
        kept = sorted(self._kept.items())
        return {row: tuple(fault for _, fault in sorted(of_row, key=lambda entry: entry[0])) for row, of_row in kept}

    def raise_any(self) -> None:
        """Raise `RecordError` with the first faults, up to the limit of one record, if there are any."""
        if self._counts:
            first = tuple(chain.from_iterable(self.by_row().values()))[: self._limit]
            raise RecordError(first, self._counts.total() - len(first))

    def _add(self, row: int, position: int, column: str | None, code: str, detail: str) -> None:
        if self.would_keep(row):
            name = None if column is None else shown(column)
            at = self._first_row + row
            fault = Fault(row=at, column=name, code=code, message=f"{self._location(at, name)}: {detail}")
            self._kept.setdefault(row, []).append((position, fault))
            self._left -= 1
        self._counts[row] += 1

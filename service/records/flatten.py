"""Flatten one JSON record: nested objects become columns whose names are joined by dots."""

from __future__ import annotations

from collections.abc import Mapping

from vaegis.service.contract import Schema
from vaegis.service.records.faults import Faults
from vaegis.service.records.names import unknown_column
from vaegis.service.records.values import described


class RecordShape:
    """The columns that a record may have, by name, as one schema gives them."""

    def __init__(self, schema: Schema, *, ignore_unknown: bool) -> None:
        self._names = schema.names
        self._scored = frozenset(self._names)
        self._dropped = frozenset(column.name for column in schema.ignored)
        self._known = self._scored | self._dropped
        self._parents = frozenset(
            name[:dot] for name in self._known if "." in name for dot, letter in enumerate(name) if letter == "."
        )
        self._ignore_unknown = ignore_unknown
        self._told = 0

    def flat(self, row: int, record: object, faults: Faults) -> Mapping[str, object]:
        """Return the record's known columns by full name, and report the others to ``faults``."""
        if not isinstance(record, dict):
            faults.add_fault(row, None, "not_an_object", f"expected an object, got {described(record)}")
            return {}
        if record.keys() <= self._known and not self._scored.isdisjoint(record):
            return record
        found: dict[str, object] = {}
        recognised, refused = self._walk(row, "", record, found, faults)
        if not recognised and not refused:
            faults.add_fault(row, None, "no_known_column", "expected at least one column of the model, got none")
        return found

    def _walk(
        self, row: int, prefix: str, part: Mapping[str, object], found: dict[str, object], faults: Faults
    ) -> tuple[bool, bool]:
        """Gather the columns under ``prefix``; return whether a scored one was among them, and whether any was refused.

        Only names under which the schema has a column are entered, so the schema bounds both depth and names.
        """
        recognised, refused = False, False
        for key, value in part.items():
            name = prefix + key
            if name in self._known:
                if name in found:
                    faults.add_fault(
                        row, name, "duplicate_key", "expected the column once, got it both nested and with dots"
                    )
                    refused = True
                found[name] = value
                recognised |= name in self._scored
            elif name not in self._parents:
                refused |= self._unknown(row, name, faults)
            elif isinstance(value, dict):
                below = self._walk(row, f"{name}.", value, found, faults)
                recognised, refused = recognised or below[0], refused or below[1]
            elif value is None:
                recognised = True
            else:
                faults.add_fault(row, name, "wrong_type", f"expected an object, got {described(value)}")
                refused = True
        return recognised, refused

    def _unknown(self, row: int, name: str, faults: Faults) -> bool:
        if self._ignore_unknown:
            return False
        if not faults.would_keep(row):
            faults.count(row, 1)
            return True
        faults.add_fault(row, name, "unknown_column", unknown_column(name, self._names, self._told))
        self._told += 1
        return True

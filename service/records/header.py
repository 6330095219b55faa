"""Check the column names of a body that has them once for all records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vaegis.service.contract import Schema
from vaegis.service.errors import Fault, RecordError
from vaegis.service.records.names import UnknownColumns, shown, unknown_column


def positions_of(
    names: Sequence[str], schema: Schema, unknown_columns: UnknownColumns, limit: int
) -> Mapping[str, int]:
    """Return the position of each column of the model among ``names``; missing columns are left out.

    Args:
        names: The names, in their order.
        schema: The model's columns.
        unknown_columns: Whether a name that the model does not know is refused.
        limit: Faults told in full.

    Raises:
        RecordError: A name comes twice, or is unknown, or none is a column of the model.
    """
    found: dict[str, int] = {}
    scored, known = set(schema.names), {column.name for column in schema.ignored}
    faults = []
    for position, name in enumerate(names):
        if name in found:
            faults.append(_fault(name, "duplicate_key", "expected each name once, got one twice"))
        elif name not in scored | known and unknown_columns == "reject":
            faults.append(_fault(name, "unknown_column", unknown_column(name, schema.names, len(faults))))
        found[name] = position
    positions = {name: position for name, position in found.items() if name in scored}
    if not positions and not faults:
        faults.append(_fault(None, "no_known_column", "expected at least one column of the model, got none"))
    if faults:
        raise RecordError(tuple(faults[:limit]), max(0, len(faults) - limit))
    return positions


def _fault(column: str | None, code: str, detail: str) -> Fault:
    name = None if column is None else shown(column)
    place = "header" if name is None else f"header.{name}"
    return Fault(row=None, column=name, code=code, message=f"{place}: {detail}")

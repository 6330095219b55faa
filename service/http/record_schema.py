"""The JSON Schema of a model's records."""

from __future__ import annotations

from typing import Any, Final

from vaegis.service.contract import (
    QUANTILE_FRACTIONS,
    BooleanColumn,
    CategoricalColumn,
    Column,
    Contract,
    NumericColumn,
)
from vaegis.service.records.names import UnknownColumns

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_MEDIAN: Final = QUANTILE_FRACTIONS.index(0.5)
_SHOWN_CATEGORIES: Final = 20
_NUMBER_TEXT: Final = r"^([+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,2})?)?$"
"""Text that is surely taken as a number; blank text is a null."""


def record_schema(contract: Contract, unknown_columns: UnknownColumns) -> dict[str, Any]:
    """Return the schema of one record of POST /score.

    It accepts what the service accepts: a value that training never saw is an anomaly, not an error. Absent columns
    are nulls.

    Args:
        contract: The model's metadata.
        unknown_columns: Whether further columns are refused.
    """
    schema = contract.columns
    properties = {column.name: _column_schema(column) for column in schema.columns}
    properties |= {column.name: {"description": f"Not scored: {column.reason}."} for column in schema.ignored}
    parents = {name.partition(".")[0] for name in properties if "." in name} - properties.keys()
    for parent in sorted(parents):
        properties[parent] = {
            "type": ["object", "null"],
            "description": f"Holds the columns that start with {parent}., nested instead of joined by dots.",
        }
    return {
        "$schema": DIALECT,
        "title": f"Record of the model {contract.provenance.model_name}",
        "type": "object",
        "properties": properties,
        "minProperties": 1,
        "additionalProperties": unknown_columns == "ignore",
        "examples": [contract.golden.records[0]],
    }


def _column_schema(column: Column) -> dict[str, Any]:
    if isinstance(column, NumericColumn):
        description = (
            f"A quantity; training saw {column.minimum:.6g} to {column.maximum:.6g}, "
            f"half of it below {column.quantiles[_MEDIAN]:.6g}."
        )
        return {"type": ["number", "string", "null"], "pattern": _NUMBER_TEXT, "description": description}
    if isinstance(column, BooleanColumn) and column.as_number:
        return {
            "type": ["boolean", "number", "string", "null"],
            "pattern": _NUMBER_TEXT,
            "description": "0 or 1. Another number is legal, and anomalous.",
        }
    if isinstance(column, BooleanColumn):
        return {"enum": [True, False, 1, 0, "true", "false", "1", "0", "", None], "description": "A truth value."}
    if isinstance(column, CategoricalColumn):
        return {
            "type": ["string", "integer", "boolean", "null"],
            "description": f"A category; training knew {len(column.categories)}. Another one is legal, and anomalous.",
            "examples": list(column.categories[:_SHOWN_CATEGORIES]),
        }
    return {
        "type": ["string", "number", "null"],
        "description": "An instant: ISO 8601 (UTC if without an offset), or a number, also as text, of seconds, "
        "milliseconds, microseconds or nanoseconds since 1970, told apart by its size.",
    }

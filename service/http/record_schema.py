"""The JSON Schema of a model's records."""

from __future__ import annotations

from typing import Any, Final

from vaegis.service.contract import Contract
from vaegis.service.records.column_names import UnknownColumns
from vaegis.service.records.kinds import kind_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def record_schema(contract: Contract, unknown_columns: UnknownColumns) -> dict[str, Any]:
    """Return the schema of one record of POST /score.

    It accepts what the service accepts: a value that training never saw is an anomaly, not an error. Absent columns
    are nulls.

    Args:
        contract: The model's metadata.
        unknown_columns: Whether further columns are refused.
    """
    schema = contract.columns.of_records
    properties = {column.name: kind_of(column).json_schema(column) for column in schema.columns}
    properties |= {column.name: {"description": f"Not read: {column.reason}."} for column in schema.ignored}
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

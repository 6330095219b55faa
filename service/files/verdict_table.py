"""Verdicts as Arrow columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaegis.service.explanations import Contribution
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import ARRAYS, OTHERS
from vaegis.service.violations import Violation

_CONTRIBUTION: Final = pa.struct(
    [
        ("column", pa.string()),
        ("contribution", pa.float64()),
        ("observed", pa.string()),
        ("expected", pa.string()),
        ("reason", pa.string()),
    ]
)
_VIOLATION: Final = pa.struct([(name, pa.string()) for name in ("column", "code", "observed", "limit")])
_ERRORS: Final = pa.list_(pa.struct([("column", pa.string()), ("code", pa.string()), ("message", pa.string())]))

VERDICT_TYPES: Final[Mapping[str, pa.DataType]] = {
    **dict.fromkeys(ARRAYS, pa.float64()),
    "is_anomaly": pa.bool_(),
    "violations": pa.list_(_VIOLATION),
    "reasons": pa.list_(pa.string()),
    "signature": pa.string(),
    "contributions": pa.list_(_CONTRIBUTION),
}
"""The fields of a verdict with their types. Within lists, values of a column are JSON text."""


def verdict_types(*, with_errors: bool) -> Mapping[str, pa.DataType]:
    """Return the types of a verdict's fields by name, and of its errors where faults are reported."""
    return {**VERDICT_TYPES, "errors": _ERRORS} if with_errors else VERDICT_TYPES


def verdict_table(fields: Mapping[str, Any], refused: NDArray[np.bool_]) -> pa.Table:
    """Return verdicts as a table.

    Args:
        fields: Those of a `ScoreResult` by name.
        refused: Which records have no verdict, shape (n,); their fields are null.
    """
    schema = pa.schema(list(verdict_types(with_errors="errors" in fields).items()))
    return pa.table(verdict_arrays(fields, refused), schema=schema)


def verdict_arrays(fields: Mapping[str, Any], refused: NDArray[np.bool_]) -> list[pa.Array]:
    """Return the columns of `verdict_table`."""
    arrays = [pa.array(fields[name], VERDICT_TYPES[name], mask=refused) for name in ARRAYS]
    violations = [
        None if is_refused else [*map(_violation, broken)]
        for broken, is_refused in zip(fields["violations"], refused.tolist(), strict=True)
    ]
    reasons = [None if is_refused else why for why, is_refused in zip(fields["reasons"], refused.tolist(), strict=True)]
    contributions = [items and [*map(_contribution, items)] for items in fields["contributions"]]
    others = (violations, reasons, fields["signature"], contributions)
    arrays += [pa.array(values, VERDICT_TYPES[name]) for name, values in zip(OTHERS, others, strict=True)]
    if "errors" in fields:
        listed = [faults and msgspec.to_builtins(error_fields(faults)) for faults in fields["errors"]]
        arrays.append(pa.array(listed, _ERRORS))
    return arrays


def _violation(violation: Violation) -> dict[str, object]:
    return {
        "column": violation.column,
        "code": violation.code.value,
        "observed": json.dumps(violation.observed, ensure_ascii=False),
        "limit": json.dumps(violation.limit, ensure_ascii=False),
    }


def _contribution(contribution: Contribution) -> dict[str, object]:
    return {
        "column": contribution.column,
        "contribution": contribution.contribution,
        "observed": json.dumps(contribution.observed, ensure_ascii=False),
        "expected": json.dumps(contribution.expected, ensure_ascii=False),
        "reason": contribution.reason,
    }

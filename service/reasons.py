"""Reason codes: in which way a column's value is wrong, so that alerts can be routed."""

from __future__ import annotations

from enum import StrEnum

from vaegis.service.contract import BooleanColumn, CategoricalColumn, Column, NumericColumn

RARE_SHARE = 0.01
"""A value is rare where fewer than this share of the training records held one like it."""


class Reason(StrEnum):
    """Why a record is an anomaly."""

    OUT_OF_RANGE = "out_of_range"
    """A number below the least or above the greatest that training saw."""
    UNSEEN_CATEGORY = "unseen_category"
    """A category that training did not see, or saw too seldom to keep."""
    UNEXPECTED_MISSING = "unexpected_missing"
    """A null where a value was expected."""
    RARE_VALUE = "rare_value"
    """A value that is seldom seen, whatever the other columns hold."""
    RARE_COMBINATION = "rare_combination"
    """A usual value that does not go with the record's other columns."""
    FAR_FROM_KNOWN = "far_from_known"
    """The record as a whole is unlike the known ones; no column accounts for it alone."""


def column_reason(column: Column, observed: float | str | None) -> Reason:
    """Return why the value of a column that contributes to an anomaly is unusual.

    Args:
        column: The column, with its training statistics.
        observed: The value: a number (seconds for a timestamp), a category, or None for null.
    """
    if observed is None:
        return Reason.UNEXPECTED_MISSING
    if isinstance(column, CategoricalColumn):
        if observed not in column.categories:
            return Reason.UNSEEN_CATEGORY
        rare = column.shares[column.categories.index(str(observed))] < RARE_SHARE
    elif isinstance(column, NumericColumn):
        if not column.minimum <= float(observed) <= column.maximum:
            return Reason.OUT_OF_RANGE
        rare = not column.quantiles[0] <= float(observed) <= column.quantiles[-1]
    elif isinstance(column, BooleanColumn):
        if observed not in (0, 1):
            return Reason.OUT_OF_RANGE
        rare = (column.true_share if observed else 1.0 - column.true_share) < RARE_SHARE
    else:
        rare = False
    return Reason.RARE_VALUE if rare else Reason.RARE_COMBINATION

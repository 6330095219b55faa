"""Reason codes: in which way a column's value is wrong, so that alerts can be routed."""

from __future__ import annotations

from enum import StrEnum

RARE_SHARE = 0.01
"""A value is rare where fewer than this share of the training records held one like it."""


class Reason(StrEnum):
    """Why a record is an anomaly."""

    OUT_OF_RANGE = "out_of_range"
    """A number below the least or above the greatest that training saw."""
    UNSEEN_CATEGORY = "unseen_category"
    """A category that training did not see, or saw too seldom to keep."""
    UNUSUAL_FORM = "unusual_form"
    """A text of a pattern, or of a spelling, that training did not see or saw too seldom."""
    UNUSUAL_LENGTH = "unusual_length"
    """A text much shorter or longer than those that training saw."""
    UNEXPECTED_MISSING = "unexpected_missing"
    """A null where a value was expected."""
    RARE_VALUE = "rare_value"
    """A value that is seldom seen, whatever the other columns hold."""
    RARE_COMBINATION = "rare_combination"
    """A usual value that does not go with the record's other columns."""
    FAR_FROM_KNOWN = "far_from_known"
    """The record as a whole is unlike the known ones; no column accounts for it alone."""

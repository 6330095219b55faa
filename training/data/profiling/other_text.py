"""The commonest text of a column that is not of its kind."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from vaegis.service.records.values import is_null_marker


@dataclass(frozen=True, slots=True)
class OtherText:
    """The commonest of the texts that are not of a column's kind.

    Attributes:
        text: The text.
        records: Records that hold it.
        distinct: Number of distinct texts that are not of the kind.
    """

    text: str
    records: int
    distinct: int


def commonest_other(counts: Mapping[str, int], read: Container[str]) -> OtherText | None:
    """Return the commonest text that was not read and stands for no null."""
    others = [text for text in counts if text not in read and not is_null_marker(text.strip())]
    if not others:
        return None
    text = max(others, key=lambda other: counts[other])
    return OtherText(text, counts[text], len(others))

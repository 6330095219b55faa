"""JSON pointers (RFC 6901) to the record in an envelope: their form, the names in them, and which one would do."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice
from typing import Final

POINTER: Final = r"^(/([^~/]|~[01])+){1,8}$"
"""Up to eight names."""
_NAME: Final = re.compile("/([^/]+)")
_MOST_LEVELS: Final = 3
_MOST_TRIED: Final = 10
"""Levels and names of each object that are looked at for a record."""
_ROW_BEFORE: Final = "before"
"""Where Debezium has the row before a change."""


def names_of(pointer: str) -> list[str]:
    """Return the names that a pointer follows.

    >>> names_of("/a~1b/c~0d")
    ['a/b', 'c~d']
    """
    return [name.replace("~1", "/").replace("~0", "~") for name in _NAME.findall(pointer)]


def pointer_to(value: object, columns: Collection[str], levels: int = _MOST_LEVELS) -> str | None:
    """Return a pointer to the first object within a value that has one of the columns; None if none is found.

    >>> pointer_to({"payload": {"before": {"amount": 1}, "after": {"amount": 2}}}, {"amount"})
    '/payload/after'
    """
    if isinstance(value, list):
        return pointer_to(value[0], columns, levels) if value and levels else None
    if not isinstance(value, dict):
        return None
    if not value.keys().isdisjoint(columns):
        return ""
    for name, inner in islice(value.items(), _MOST_TRIED) if levels else ():
        if name and name != _ROW_BEFORE and (found := pointer_to(inner, columns, levels - 1)) is not None:
            return f"/{name.replace('~', '~0').replace('/', '~1')}{found}"
    return None

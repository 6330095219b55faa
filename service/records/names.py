"""Show column names in messages, find the nearest known name, and decide about unknown columns."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Literal, TypeAlias

MAX_SHOWN_CHARACTERS = 80
"""A longer name is cut in messages, and no nearest name is looked for: it is a payload rather than a typing error."""

_MAX_SUGGESTIONS = 5
"""Nearest names looked for per request: each costs a comparison with every column."""


def shown(name: str) -> str:
    """Return ``name`` as a message may hold it: of bounded length, and encodable even with lone surrogates.

    >>> shown("amount")
    'amount'
    """
    cut = name if len(name) <= MAX_SHOWN_CHARACTERS else name[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


UnknownColumns: TypeAlias = Literal["reject", "ignore"]
"""What to do with columns that the model does not know."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``name``, or None where nothing is like it.

    >>> nearest("amuont", ["amount", "country"])
    'amount'
    """
    if len(name) > MAX_SHOWN_CHARACTERS:
        return None
    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else None


def unknown_column(name: str, columns: Iterable[str], told: int = 0) -> str:
    """Return the message about a name that is not one of the model's ``columns``.

    Args:
        name: The name.
        columns: Names of the model's columns.
        told: How many unknown names of the request had a message before.

    >>> unknown_column("amuont", ["amount", "country"])
    'unknown column; the nearest is amount'
    """
    meant = nearest(name, columns) if told < _MAX_SUGGESTIONS else None
    hint = f"; the nearest is {meant}" if meant else ""
    return f"unknown column{hint}"

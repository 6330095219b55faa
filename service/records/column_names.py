"""Show column names in messages, find the nearest known name, and check the names of a header."""

from __future__ import annotations

import difflib
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Literal, TypeAlias

from vaegis.service.contract import Schema
from vaegis.service.errors import Fault, RecordError

MAX_SHOWN_CHARACTERS = 80
"""A longer name is cut in messages, and no nearest name is looked for: it is a payload rather than a typing error."""

_INDEX_NAME = re.compile(r"(?:Unnamed: 0(?:\.\d+)*|__index_level_\d+__)?", re.ASCII)
_MOST_COMPARED = 1000
_MAX_SUGGESTIONS = 5
"""Nearest names looked for per request: each costs a comparison with every column."""

UnknownColumns: TypeAlias = Literal["reject", "ignore"]
"""What to do with columns that the model does not know."""


def accepted_names(schema: Schema) -> frozenset[str]:
    """Return the names that a record may have: of the model's columns, and of those that it ignores."""
    return frozenset((*schema.names, *(column.name for column in schema.ignored)))


class Parents:
    """The names of the objects that hold columns whose names have dots.

    They are looked up rather than listed: a name of many dots has as many parents, nearly all as long as itself.

    >>> [name in Parents(["shop.place.city", "amount"]) for name in ("shop", "shop.place", "amount", "sho")]
    [True, True, False, False]
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = sorted(names)

    def __contains__(self, name: str) -> bool:
        """Return whether a column is within the object ``name``."""
        prefix = f"{name}."
        at = bisect_left(self._names, prefix)  # where those that begin so would stand
        return at < len(self._names) and self._names[at].startswith(prefix)


def shown(name: str) -> str:
    """Return ``name`` as a message may hold it: of bounded length, and encodable even with lone surrogates.

    >>> shown("amount"), shown("")
    ('amount', '""')
    """
    if not name:
        return '""'
    cut = name if len(name) <= MAX_SHOWN_CHARACTERS else name[: MAX_SHOWN_CHARACTERS - 3] + "..."
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


def setting_of(name: str, setting: str) -> str:
    """Return the key of a column's setting, as a line of train.toml begins with it.

    >>> setting_of("amount", "kind"), setting_of("shop.id", "kind")
    ('columns.amount.kind', 'columns."shop.id".kind')
    """
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else quoted(name)
    return f"columns.{key}.{setting}"


def quoted(text: str) -> str:
    r"""Return a text in quotes, as TOML has it.

    >>> quoted('ein "Mal"')
    '"ein \\"Mal\\""'
    """
    return json.dumps(text.encode("utf-8", "backslashreplace").decode("utf-8"), ensure_ascii=False)


def is_index_name(name: str) -> bool:
    """Tell whether a name is one that writers of data frames give to an index that has none.

    >>> [is_index_name(name) for name in ("", "Unnamed: 0", "__index_level_0__", "Unnamed: 3")]
    [True, True, True, False]
    """
    return _INDEX_NAME.fullmatch(name) is not None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like ``name``, or None where nothing is like it.

    >>> nearest("amuont", ["amount", "country"])
    'amount'
    """
    if len(name) > MAX_SHOWN_CHARACTERS:
        return None
    names = list(known)
    alike = [other for other in names if other.casefold() == name.casefold()]
    found = alike or difflib.get_close_matches(name, names, n=1)
    return found[0] if found else None


def unknown_column(name: str, columns: Iterable[str], named_before: int = 0) -> str:
    """Return the message about a name that is not one of the model's ``columns``.

    Args:
        name: The name.
        columns: Names of the model's columns.
        named_before: How many unknown names of the request had a message before.

    >>> unknown_column("amuont", ["amount", "country"])
    'unknown column; the nearest is amount'
    """
    meant = nearest(name, columns) if named_before < _MAX_SUGGESTIONS else None
    hint = f"; the nearest is {meant}" if meant else ""
    return f"unknown column{hint}"


def no_known_column(names: Iterable[str], columns: Iterable[str]) -> str:
    """Return the message about ``names`` of which none is one of the model's ``columns``.

    >>> no_known_column(["AMOUNT"], ["amount", "country"])
    'expected at least one column of the model, got none; AMOUNT differs from amount in case alone'
    """
    known = {name.casefold(): name for name in columns}
    alike = ((name, known[name.casefold()]) for name in islice(names, _MOST_COMPARED) if name.casefold() in known)
    name, meant = next(alike, (None, ""))
    hint = "" if name is None else f"; {shown(name)} differs from {shown(meant)} in case alone"
    return f"expected at least one column of the model, got none{hint}"


def positions_of(
    names: Sequence[str], schema: Schema, unknown_columns: UnknownColumns, limit: int, place: str = "header"
) -> Mapping[str, int]:
    """Return the position of each column of the model among ``names``; missing columns are left out.

    Args:
        names: The names, in their order.
        schema: The model's columns.
        unknown_columns: Whether a name that the model does not know is refused.
        limit: Most faults that are listed; the others are counted.
        place: How messages name what holds the names.

    Raises:
        RecordError: A name comes twice, or is unknown, or none is a column of the model.
    """
    found: dict[str, int] = {}
    scored, accepted = set(schema.names), accepted_names(schema)
    faults = []
    for position, name in enumerate(names):
        if name in found:
            faults.append(_fault(place, name, "duplicate_key", "expected each name once, got one twice"))
        elif name not in accepted and unknown_columns == "reject" and not is_index_name(name):
            faults.append(_fault(place, name, "unknown_column", unknown_column(name, schema.names, len(faults))))
        found[name] = position
    positions = {name: position for name, position in found.items() if name in scored}
    if not positions and not faults:
        faults.append(_fault(place, None, "no_known_column", no_known_column(names, schema.names)))
    if faults:
        raise RecordError(tuple(faults[:limit]), max(0, len(faults) - limit))
    return positions


def _fault(place: str, column: str | None, code: str, detail: str) -> Fault:
    name = None if column is None else shown(column)
    return Fault(row=None, column=name, code=code, message=f"{f'{place}.{name}' if name else place}: {detail}")

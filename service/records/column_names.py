"""Show column names in messages, find the nearest known name, and check the names of a header."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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

    >>> nearest("amuont", ["amount", "country"]), nearest("PLACED_AT", ["Placed at"])
    ('amount', 'Placed at')
    """
    if len(name) > MAX_SHOWN_CHARACTERS:
        return None
    by_letters = {_letters(other) or other: other for other in known}
    letters = [_letters(name) or name, *filter(None, [_letters(_decoded_anew(name))])]
    found = [each for each in letters if each in by_letters] or difflib.get_close_matches(letters[0], by_letters, n=1)
    return by_letters[found[0]] if found else None


def unknown_column(name: str, columns: Iterable[str], named_before: int = 0) -> str:
    """Return the message about a name that is not one of the model's ``columns``.

    Args:
        name: The name.
        columns: Names of the model's columns.
        named_before: How many unknown names of the request had a message before.

    >>> unknown_column("amuont", ["amount", "country"]), unknown_column("amount ", ["amount", "country"])
    ('unknown column; the nearest is amount', 'unknown column; the nearest is amount, which differs in blanks alone')
    """
    return f"unknown column{nearest_hint(name, columns) if named_before < _MAX_SUGGESTIONS else ''}"


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """Return the known name most like ``name`` as the end of a message; nothing where nothing is like it."""
    meant = nearest(name, known)
    if meant is None:
        return ""
    what = _difference(name, meant)
    return f"; the nearest is {shown(meant)}{f', which differs in {what} alone' if what else ''}"


def no_known_column(names: Iterable[str], columns: Iterable[str]) -> str:
    """Return the message about ``names`` of which none is one of the model's ``columns``.

    >>> no_known_column(["AMOUNT"], ["amount", "country"])
    'expected at least one column of the model, got none; AMOUNT differs from amount in case alone'
    """
    none = "expected at least one column of the model, got none"
    known = list(columns)
    if found := next(_almost_known(names, known), None):
        return f"{none}; {shown(found[0])} differs from {shown(found[1])} in {found[2]} alone"
    like = ((name, meant) for name in islice(names, _MAX_SUGGESTIONS) if (meant := nearest(name, known)))
    name, meant = next(like, (None, ""))
    return none if name is None else f"{none}; the nearest to {shown(name)} is {shown(meant)}"


def almost_known_columns(names: Collection[str], schema: Schema) -> list[str]:
    """Return what to say of names that are ignored, but hardly differ from a column of the model that is missing."""
    missing = [name for name in schema.names if name not in names]
    found = _almost_known((name for name in names if name not in accepted_names(schema)), missing)
    return [
        f"column {shown(name)} is ignored. It differs from {shown(meant)}, which is missing, in {what} alone"
        for name, meant, what in islice(found, _MAX_SUGGESTIONS)
    ]


def _almost_known(names: Iterable[str], columns: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield names that have the letters of a column, with that column and what else differs."""
    by_letters = {_letters(column): column for column in columns}
    for name in islice(names, _MOST_COMPARED):
        for letters in (_letters(name), _letters(_decoded_anew(name))):
            if letters and letters in by_letters and (what := _difference(name, by_letters[letters])):
                yield name, by_letters[letters], what
                break


def _difference(name: str, meant: str) -> str | None:
    """Return in what alone two names differ; None if they are different names.

    >>> _difference("AMOUNT", "amount"), _difference("Placed at", "placed_at"), _difference("amount", "amuont")
    ('case', 'case, blanks, signs or accents', None)
    """
    if name.casefold() == meant.casefold():
        return "case"
    if _without_blanks(name) == _without_blanks(meant):
        return "blanks"
    if unicodedata.normalize("NFKC", name) == unicodedata.normalize("NFKC", meant):
        return "how Unicode writes its letters"
    if _letters(name) == _letters(meant):
        return "case, blanks, signs or accents"
    return "its encoding" if _letters(_decoded_anew(name)) == _letters(meant) else None


def _letters(name: str) -> str:
    """Return the letters and digits of a name, in lower case and without accents."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", name).casefold()))


def _without_blanks(name: str) -> str:
    """Return a name without blanks and characters that are not seen, such as byte order marks."""
    return "".join(letter for letter in name if not letter.isspace() and unicodedata.category(letter) != "Cf")


def _decoded_anew(name: str) -> str:
    """Return a name that was UTF-8, but read as cp1252; nothing if it was not."""
    try:
        return "" if name.isascii() else name.encode("cp1252").decode()
    except UnicodeError:
        return ""


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

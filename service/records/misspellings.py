"""Find the listed value that another one misspells: the same in other case, or with one character wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

COMMON_SHARE: Final = 0.05
"""A value of three characters that at least this share of the records hold may be misspelled too."""

_SHORTEST: Final = 4
"""Of shorter values, one character tells one code from the next."""
_SHORTEST_COMMON: Final = 3
_LONGEST: Final = 41
_MOST: Final = 1_000  # listed values; each takes as many entries as it has characters


class Misspellings:
    """The values of one list. It may be used from several threads.

    A value misspells a listed one if both are the same in lower case, or if taking one character out of one of them, or
    out of each, makes them so: one character is replaced, missing, added or moved.

    >>> known = Misspellings(["France", "FR"])
    >>> known.meant("Frnace"), known.meant("france"), known.meant("Francs"), known.meant("Greece"), known.meant("FX")
    ('France', 'France', 'France', None, None)
    """

    def __init__(self, listed: Iterable[str], common: Iterable[str] = ()) -> None:
        """Take the values, the commonest first. Those beyond the first 1,000, and very long ones, are left out.

        Args:
            listed: All of them.
            common: Those that at least `COMMON_SHARE` of the records hold.
        """
        self._listed: dict[str, str] = {}
        for value, _ in zip(listed, range(_MOST), strict=False):
            for variant in _variants(value):
                self._listed.setdefault(variant, value)
        self._short: dict[tuple[int, str], str] = {}
        for value in common:
            for replaced in _replaced(value) if len(value) == _SHORTEST_COMMON else ():
                self._short.setdefault(replaced, value)

    def meant(self, value: str) -> str | None:
        """Return the listed value that ``value``, which is not in the list, misspells; None if there is none."""
        found = next((self._listed[variant] for variant in _variants(value) if variant in self._listed), None)
        if found is None and len(value) == _SHORTEST_COMMON:
            return next((self._short[variant] for variant in _replaced(value) if variant in self._short), None)
        return found


def _variants(value: str) -> Iterator[str]:
    """Yield a value in lower case, whole and without each of its characters."""
    if len(value) <= _LONGEST:
        yield value.casefold()
    if _SHORTEST <= len(value) <= _LONGEST:
        yield from (f"{value[:at]}{value[at + 1 :]}".casefold() for at in range(len(value)))


def _replaced(value: str) -> Iterator[tuple[int, str]]:
    """Yield each way to leave out one character of a value, in lower case, with the position of that character."""
    return ((at, f"{value[:at]}{value[at + 1 :]}".casefold()) for at in range(len(value)))

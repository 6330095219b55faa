"""How text from files, counts and shares are shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text with control characters escaped: names come from files, and a terminal would obey them.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with what it counts, in the singular or the plural.

    >>> counted(1, "value"), counted(2, "value"), counted(1200, "category", "categories")
    ('1 value', '2 values', '1200 categories')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"


def percent(share: float) -> str:
    """Return a share in per cent, with three significant digits.

    >>> percent(0.01), percent(0.02979)
    ('1%', '2.98%')
    """
    return f"{100.0 * share:.3g}%"

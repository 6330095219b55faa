"""Show text from files on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return text with control characters escaped: names come from files, and a terminal would obey them.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

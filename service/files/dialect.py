"""How a CSV file is written where it is not plain: its delimiter, quotes, escapes and encoding."""

from __future__ import annotations

import codecs
import csv
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_TAB: Final = ".tsv"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is set about CSV files; None is what their extension says, or UTF-8.

    Attributes:
        delimiter: The character between values.
        quote: The character around values, or nothing where quotes are letters like others.
        escape: The character before a quote within a quoted value; None: quotes are doubled.
        encoding: The encoding, as Python names it.
    """

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    encoding: str | None = None

    def fault(self) -> str | None:
        """Return what is wrong with it, if anything is."""
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote), ("escape", self.escape)):
            if value and (len(value) != 1 or not value.isascii() or value in "\r\n"):
                return f"{name}: expected one ASCII character, got another text"
        if self.delimiter == "":
            return "delimiter: expected one ASCII character, got nothing"
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            return "encoding: expected one that Python knows, such as latin-1, cp1252 or utf-16, got another"
        return None

    def delimiter_of(self, path: Path) -> str:
        """Return the delimiter of a file: a comma, or a tab by its extension, unless one is set."""
        return self.delimiter or ("\t" if _TAB in (suffix.lower() for suffix in path.suffixes) else ",")

    @property
    def quote_character(self) -> str:
        """The character around values, or nothing."""
        return '"' if self.quote is None else self.quote

    @property
    def needs_copy(self) -> bool:
        """Whether a file has to be turned into UTF-8 first."""
        return self.encoding is not None and codecs.lookup(self.encoding).name not in ("utf-8", "utf-8-sig", "ascii")

    def of_reader(self) -> dict[str, Any]:
        """Return the options of `csv.reader` but for the delimiter."""
        if not self.quote_character:
            return {"quoting": csv.QUOTE_NONE, "quotechar": None, "escapechar": self.escape}
        return {"quotechar": self.quote_character, "escapechar": self.escape, "doublequote": self.escape is None}


def add_dialect_arguments(parser: ArgumentParser) -> None:
    """Add the flags that say how CSV files are written."""
    group = parser.add_argument_group("CSV files")
    group.add_argument("--delimiter", help="character between values (default: a comma, in .tsv a tab)")
    group.add_argument("--quote", help='character around values, "" if there is none (default: ")')
    group.add_argument("--escape", help="character before a quote within a value (default: quotes are doubled)")
    group.add_argument("--encoding", help="encoding, such as latin-1 or cp1252 (default: UTF-8)")

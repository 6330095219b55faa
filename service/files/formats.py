"""The formats of files of records, and the dialects of text files: delimiter, quotes, escapes, encoding, envelopes."""

from __future__ import annotations

import codecs
import csv
import json
import re
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from vaegis.service.records.json_pointer import POINTER

_TAB: Final = ".tsv"
_PREAMBLE: Final = re.compile(rb"(?:\xef\xbb\xbf|[\r\n])*(?:\"?sep=(?P<delimiter>[\x01-\x7f])\"?\r?\n)?", re.IGNORECASE)


_ESCAPED_CHARACTER: Final = re.compile(r"\\(?:[t\\]|u[0-9a-fA-F]{4})")


class FileFormat(StrEnum):
    """A format that is read and written."""

    CSV = "CSV"
    PARQUET = "Parquet"
    ARROW = "Arrow"
    NDJSON = "NDJSON"


@dataclass(frozen=True, slots=True)
class Dialect:
    """Settings of how CSV and NDJSON files are written. None means the default: by the file's extension, or UTF-8.

    Attributes:
        delimiter: The character between values.
        quote: The character around values; empty where quotes are ordinary characters; None: `"`.
        escape: The character before a quote within a quoted value; None: quotes are doubled.
        encoding: The encoding, as Python names it.
        unwrap: NDJSON: a JSON pointer to the record in each object; None where each object is a record.
        preamble_bytes: Length in UTF-8 of what comes before the header: byte order marks, blank lines, and a line such
            as ``sep=;``, which Excel writes.
    """

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    encoding: str | None = None
    unwrap: str | None = None
    preamble_bytes: int = 0

    def fault(self) -> str | None:
        """Return what is wrong with the dialect; None if nothing is."""
        for name, value in (("delimiter", self.delimiter), ("quote", self.quote), ("escape", self.escape)):
            if value and (len(value) != 1 or not value.isascii() or value in "\r\n"):
                return f"{name}: expected one ASCII character, got {value!r}"
        if self.delimiter == "":
            return "delimiter: expected one ASCII character, got nothing"
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError:
            return f"encoding: expected one of Python's, such as latin-1, cp1252 or utf-16, got {self.encoding!r}"
        if self.unwrap is not None and re.search(POINTER, self.unwrap) is None:
            return f"unwrap: expected a JSON pointer, such as /payload/after, got {self.unwrap!r}"
        return None

    def of_file(self, beginning: bytes) -> Dialect:
        """Return the dialect with what a file's first line adds, given the beginning of the file in UTF-8."""
        found = _PREAMBLE.match(beginning)
        if found is None or not found[0]:
            return self
        delimiter = None if found["delimiter"] is None else found["delimiter"].decode()
        return replace(self, delimiter=self.delimiter or delimiter, preamble_bytes=found.end())

    def delimiter_of(self, path: Path) -> str:
        """Return the delimiter of a file: a comma, or a tab by its extension, unless one is set."""
        return self.delimiter or ("\t" if _TAB in (suffix.lower() for suffix in path.suffixes) else ",")

    @property
    def quote_character(self) -> str:
        """The character around values, or nothing."""
        return '"' if self.quote is None else self.quote

    @property
    def other_encoding(self) -> str | None:
        """The encoding, or None if it is UTF-8. Files in other encodings are converted to UTF-8 first."""
        is_utf8 = self.encoding is None or codecs.lookup(self.encoding).name in ("utf-8", "utf-8-sig", "ascii")
        return None if is_utf8 else self.encoding

    def of_reader(self) -> dict[str, Any]:
        """Return the options of `csv.reader` but for the delimiter."""
        if not self.quote_character:
            return {"quoting": csv.QUOTE_NONE, "quotechar": None, "escapechar": self.escape}
        return {"quotechar": self.quote_character, "escapechar": self.escape, "doublequote": self.escape is None}


def add_dialect_arguments(parser: ArgumentParser) -> None:
    """Add the flags that say how CSV and NDJSON files are written."""
    group = parser.add_argument_group("CSV files")
    group.add_argument(
        "--delimiter", type=_character, help="character between values (default: a comma, in .tsv a tab)"
    )
    group.add_argument("--quote", help='character around values, "" if there is none (default: ")')
    group.add_argument(
        "--escape", type=_character, help="character before a quote within a value (default: quotes are doubled)"
    )
    group.add_argument("--encoding", help="encoding, such as latin-1 or cp1252 (default: UTF-8)")
    parser.add_argument(
        "--unwrap",
        metavar="POINTER",
        help="NDJSON: JSON pointer to the record in each object, such as /payload/after of Debezium",
    )


def _character(text: str) -> str:
    r"""Return the character that a user means by ``\t``, ``\u0001`` or a doubled backslash, as TOML has them."""
    return json.loads(f'"{text}"') if _ESCAPED_CHARACTER.fullmatch(text) else text


def dialect_of_arguments(args: Namespace) -> Dialect:
    """Return what the flags say."""
    return Dialect(args.delimiter, args.quote, args.escape, args.encoding, args.unwrap)

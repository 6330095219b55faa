"""Tell by its first bytes what a file holds if that is not what its name says."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

SNIFFED_BYTES: Final = 64

_TO_PARQUET: Final = "convert it to Parquet first"
_CONTENTS: Final = (
    (rb"PAR1(?=.*[\x00-\x08])", "Parquet", "name it .parquet"),
    (rb"ARROW1\x00|\xff\xff\xff\xff.{3}\x00", "Arrow", "name it .arrow"),
    (rb"PK\x03\x04", "a ZIP archive or an Excel workbook", "unpack it, or save the sheet as CSV"),
    (rb"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (rb"\x1f\x8b", "gzip", "add .gz to its name if it is CSV or NDJSON, else unpack it first"),
    (rb"\x28\xb5\x2f\xfd", "zstd", "add .zst to its name if it is CSV or NDJSON, else unpack it first"),
    (rb"BZh[1-9]1AY&SY", "bz2", "add .bz2 to its name if it is CSV or NDJSON, else unpack it first"),
    (rb"\xfd7zXZ\x00|7z\xbc\xaf|\x04\x22\x4d\x18", "an archive of another kind", "unpack it first"),
    (rb"Obj\x01", "Avro", _TO_PARQUET),
    (rb"ORC(?=.*[\x00-\x08])", "ORC", _TO_PARQUET),
    (rb"SQLite format 3\x00|\x89HDF|\x80[\x02-\x05][\x8c\x95}\]]", "a database or a pickle", _TO_PARQUET),
    (rb"%PDF-", "PDF", "export the table as CSV"),
    (rb"<(?:!doctype|html|\?xml)\b", "HTML or XML", "was the page of a login or an error saved instead?"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "git lfs pull fetches the file itself"),
)
_KNOWN: Final = [
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:" + mark + rb")", re.IGNORECASE | re.DOTALL), name, advice)
    for mark, name, advice in _CONTENTS
]
_JSON: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[\s*\{|\{\s*[\"}])")


def other_content(beginning: bytes, expected: Collection[str] = ()) -> str | None:
    r"""Return what the beginning of a file shows it to be, with what to do; None if it may be what is expected.

    >>> other_content(b"PAR1\x15\x04"), other_content(b"PAR1,PAR2\n1,2\n")
    ('Parquet: name it .parquet', None)
    """
    found = ((name, advice) for mark, name, advice in _KNOWN if mark.match(beginning))
    return next((f"{name}: {advice}" for name, advice in found if name not in expected), None)


def looks_like_json(beginning: bytes) -> bool:
    """Tell whether a text begins like an object of JSON or a list of them, as no header of CSV does."""
    return _JSON.match(beginning) is not None


def looks_like_text(beginning: bytes) -> bool:
    """Tell whether the beginning of a file may be that of a text in UTF-8."""
    try:
        beginning.decode()
    except UnicodeDecodeError as error:
        if error.start < len(beginning) - 3:  # else the last character is cut
            return False
    return bool(beginning) and b"\0" not in beginning

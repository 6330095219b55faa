"""Tell by its first bytes what a file or a body holds if that is not what it should hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Final

SNIFFED_BYTES: Final = 64
"""Enough of a beginning to tell."""

_TO_PARQUET: Final = "convert it to Parquet first"
_ZIP: Final = "a ZIP archive or an Excel workbook"
_UNPACK_ZIP: Final = "unpack it, or save the sheet as CSV"
_CONTENTS: Final = (
    (rb"PAR1(?=.*[\x00-\x08])", "Parquet", "name it .parquet"),
    (rb"ARROW1\x00|\xff\xff\xff\xff.{3}\x00", "Arrow", "name it .arrow"),
    (rb"PK\x03\x04", _ZIP, _UNPACK_ZIP),
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
    (rb"\xff\xfe|\xfe\xff", "UTF-16", "name it .csv or .ndjson if it is text"),
)
"""The first bytes of each content, its name, and what to do with a file of it."""
_IN_A_BODY: Final = {
    "gzip": "send `Content-Encoding: gzip`",
    "zstd": "send `Content-Encoding: zstd`",
    "UTF-16": "write it as UTF-8",
    "Parquet": "`vaegis score` reads it",
    "Arrow": "send a stream as application/vnd.apache.arrow.stream",
    _ZIP: _UNPACK_ZIP,
}
"""What to do where a body holds it."""
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
    return next((f"{name}: {advice}" for name, advice in _found(beginning) if name not in expected), None)


def encoding_hint(data: bytes) -> str:
    r"""Return what data that are not UTF-8 seem to be, as the end of a message; nothing if their start does not say.

    >>> encoding_hint(b"PAR1\x15\x04")
    '; it seems to be Parquet; `vaegis score` reads it'
    """
    name = next((name for name, _ in _found(data[:SNIFFED_BYTES]) if name in _IN_A_BODY), None)
    return "" if name is None else f"; it seems to be {name}; {_IN_A_BODY[name]}"


def stream_hint(beginning: bytes) -> str:
    r"""Return what a body that is no Arrow stream seems to be, as the end of a message; nothing if it does not show.

    >>> stream_hint(b'{"amount": 1}'), stream_hint(b"PAR1\x15\x04")
    ('; it seems to be text; Content-Type names the format', '; it seems to be Parquet; `vaegis score` reads it')
    """
    is_text = looks_like_text(beginning)
    return encoding_hint(beginning) or ("; it seems to be text; Content-Type names the format" if is_text else "")


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


def _found(beginning: bytes) -> Iterator[tuple[str, str]]:
    return ((name, advice) for mark, name, advice in _KNOWN if mark.match(beginning))

"""Pass over byte order marks of UTF-8: at the start of a text, and of its lines, where files were joined."""

from __future__ import annotations

import codecs
import re
from typing import Final

_AT_START: Final = re.compile(rb"(?:[ \t\r\n]*\xef\xbb\xbf)+")
_AT_LINES: Final = re.compile(rb"^(?:\xef\xbb\xbf)+", re.MULTILINE)


def without_mark(text: bytes) -> bytes:
    r"""Return a text without the marks that it begins with.

    >>> without_mark(b"\xef\xbb\xbf[1]")
    b'[1]'
    """
    found = _AT_START.match(text)
    return text[found.end() :] if found else text


def lines_without_marks(lines: bytes) -> bytes:
    r"""Return lines without the marks that they begin with.

    >>> lines_without_marks(b"\xef\xbb\xbfa,b\n1,2\n\xef\xbb\xbf3,4\n")
    b'a,b\n1,2\n3,4\n'
    """
    return _AT_LINES.sub(b"", lines) if codecs.BOM_UTF8 in lines else lines

"""Whether a CSV file ends within a quoted value: pyarrow takes all that follows an open quote for that value."""

from __future__ import annotations

import csv
import io

import pyarrow as pa

_BLOCK_BYTES = 4 << 20
_QUOTE = b'"'
_AFTER_A_QUOTE = "expected after"  # of csv's complaint over text after a closing quote, which pyarrow takes


def has_odd_quotes(stream: pa.NativeFile) -> bool:
    """Tell whether the quotes of a stream are odd in number; a file in which all are closed has an even number."""
    quotes = 0
    while block := stream.read(_BLOCK_BYTES):
        quotes += block.count(_QUOTE)
    return quotes % 2 == 1


def ends_within_quotes(stream: pa.NativeFile, delimiter: str) -> bool:
    """Tell whether a stream ends in a value whose quote is not closed.

    Quotes may also be odd in number for one within a value that has none around it. This reads record by record, and
    is only worth it where they are.
    """
    text = io.TextIOWrapper(stream, "latin-1", newline="")  # for quotes and line ends any superset of ASCII will do
    try:
        for _ in csv.reader(text, delimiter=delimiter, strict=True):
            pass
    except csv.Error as error:
        return _AFTER_A_QUOTE not in str(error)
    return False

"""Verdicts as CSV with a header: lists are JSON text, and what is null is blank."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from vaegis.service.http.writers.json import LINE_FIELDS
from vaegis.service.http.writers.writer import Writer, columns_of
from vaegis.service.records.blocks import Block
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import Verdicts

_ENCODER = msgspec.json.Encoder()
_NO_LISTS: Final = b",[],[],,,\n"
"""What ends a record that breaks no check and is neither flagged nor explained."""


def csv_writer() -> Writer:
    """Write a header, and one line a record (RFC 4180, lines ended by a line feed)."""
    return Writer(lambda block, verdicts: b"".join(_lines(block, verdicts)), ",".join(LINE_FIELDS).encode() + b"\n")


def _lines(block: Block, verdicts: Verdicts) -> Iterator[bytes]:
    """Yield the lines, those between two that differ from the others all at once."""
    sound = [row for row in range(block.records) if row not in block.faults] if block.faults else range(block.records)
    *columns, all_violations, all_reasons, signatures, all_contributions = columns_of(verdicts)
    rows = (row + block.first_row for row in sound)
    values = list(zip(rows, *columns, strict=True))
    listed = [
        at
        for at, (broken, why, by_column) in enumerate(zip(all_violations, all_reasons, all_contributions, strict=True))
        if broken or why or by_column is not None
    ]
    # Where a faulty record stands, as a place between sound ones: so many of these are before it.
    faulty = [(row - count, row) for count, row in enumerate(block.faults)]
    start = 0
    for at, row in sorted([*faulty, *((at, None) for at in listed)], key=lambda place: (place[0], place[1] is None)):
        yield _plain(values[start:at])
        start = at
        if row is not None:
            blank = b"," * (len(LINE_FIELDS) - 1)
            yield b"%d%b%b\n" % (block.first_row + row, blank, _cell(error_fields(block.faults[row])))
        else:
            key, contributions = signatures[at], all_contributions[at]
            cells = [_cell(all_violations[at]), _cell(all_reasons[at])]
            cells.append(b"" if key is None else _quoted(key.encode()))
            cells.append(b"" if contributions is None else _cell(contributions))
            yield b"%b,%b,\n" % (_ENCODER.encode(values[at])[1:-1], b",".join(cells))
            start = at + 1
    yield _plain(values[start:])


def _plain(values: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the lines of records that break no check and are neither flagged nor explained."""
    if not values:
        return b""
    # The JSON encoder writes a number in a tenth of the time that Python takes.
    return _ENCODER.encode(values)[2:-2].replace(b"],[", _NO_LISTS) + _NO_LISTS


def _cell(items: object) -> bytes:
    return _quoted(_ENCODER.encode(items))


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b'"', b'""') + b'"'

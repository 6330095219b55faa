"""Verdicts as NDJSON: one object a line for each record."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from vaegis.service.http.writers.writer import columns_of
from vaegis.service.records.blocks import Block, in_order
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import FIELDS, Verdicts

_ENCODER = msgspec.json.Encoder()


LINE_FIELDS: Final = ("row", *FIELDS, "errors")
"""The fields of a line, in the order in which they are written."""

_LINE: Final = msgspec.defstruct("Line", [(name, Any, None) for name in LINE_FIELDS], gc=False)


class NdjsonWriter:
    """Writes one line a record."""

    def start(self) -> bytes:
        """Return nothing."""
        return b""

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the lines of a block."""
        return _ENCODER.encode_lines(lines_of(block, verdicts))

    def end(self) -> bytes:
        """Return nothing."""
        return b""


def lines_of(block: Block, verdicts: Verdicts) -> list[Any]:
    """Return the lines of a block. Raises what `columns_of` does."""
    rows = range(block.first_row, block.first_row + block.records)
    sound = [row for row in rows if row - block.first_row not in block.faults] if block.faults else rows
    lines = [*map(_LINE, sound, *columns_of(verdicts))]
    faulty = (_LINE(block.first_row + row, errors=error_fields(faults)) for row, faults in block.faults.items())
    return in_order(block, lines, faulty)

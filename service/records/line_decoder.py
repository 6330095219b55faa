"""Decode the lines of a body as it arrives: bytes are held until they are complete lines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.blocks import BLOCK_BYTES, Block, Decoder, RecordLimits, TooMuchHeldError, block_of
from vaegis.service.records.faults import Faults

_NEWLINE: Final = 10
_TEXT_RECORDS: Final = 16_384
_TEXT_CELLS: Final = 2**20
_LEAST_TEXT_RECORDS: Final = 256


def parts_of_lines(text: bytes, most: int) -> Iterator[bytes]:
    """Yield text in parts of a limited number of lines; nothing if it is empty."""
    if text.count(b"\n") < most:
        if text:
            yield text
        return
    ends = np.flatnonzero(np.frombuffer(text, dtype=np.uint8) == _NEWLINE)[most - 1 :: most] + 1
    for start, stop in pairwise([0, *ends.tolist(), len(text)]):
        if start < stop:
            yield text[start:stop]


class LineDecoder(Decoder):
    """Decodes a format whose records are whole lines. It holds little more than one line of the longest allowed length.

    It decodes at most as many bytes at a time as the longest line may have. So a record that is too long is never
    decoded, however the body was cut on its way here, and no record has to be measured.
    """

    def __init__(self, schema: Schema, limits: RecordLimits) -> None:
        """Decode records of ``schema``."""
        self._schema = schema
        self._limits = limits
        self._most_records = _most_records(schema)
        self._rows = 0
        self._most_bytes = limits.max_held_bytes + 1  # with the line feed
        self._block_bytes = min(BLOCK_BYTES, self._most_bytes)
        self._held = bytearray()
        self._searched = 0
        self._looked_at = 0  # bytes that were put back, at the start of those held
        self._at_least = 0  # fewest bytes to take after that

    @property
    def held_bytes(self) -> int:
        """Bytes of the body that are held."""
        return len(self._held)

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next part of the body, and yield the blocks that it fills.

        Raises:
            BodyError: it is not in the format.
            RecordError: a header does not fit the schema.
            TooMuchHeldError: a line or a record is longer than allowed.
        """
        self._held += data
        while len(self._held) >= self._block_bytes and (lines := self._take_lines()):
            yield from self._decoded(lines)

    @abstractmethod
    def _decoded(self, lines: bytes) -> Iterator[Block]:
        """Yield the records in lines."""

    def _block(self, columns: Columns, faults: Faults) -> Block:
        block = block_of(columns, faults, self._rows)
        self._rows += block.records
        return block

    def _take_lines(self) -> bytes:
        """Return the whole lines held, at most about a block's worth; nothing if there is none.

        After `_put_back` it may be nothing until there is more.

        Raises:
            TooMuchHeldError: a line, or a record that was put back, is longer than allowed.
        """
        held, most = self._held, self._most_bytes
        end = 0 if self._at_least else held.rfind(b"\n", 0, self._block_bytes) + 1
        if not end:
            # The search goes on where it last ended, so that a long line is looked through only once.
            end = held.find(b"\n", max(self._searched, self._at_least - 1), most) + 1
        if not end and len(held) >= most:
            # A record may end in lines that came after it was put back, however few they are.
            end = held.rfind(b"\n", self._looked_at, most) + 1
            if not end:
                what = f"{'records' if self._looked_at else 'lines'} of at most {self._limits.max_held_bytes} bytes"
                raise TooMuchHeldError(f"body: expected {what}, got a longer one")
        if end:
            return self._take(end)
        self._searched = len(held)
        return b""

    def _take_rest(self) -> bytes:
        return self._take(len(self._held))

    def _put_back(self, lines: bytes, *, is_first: bool) -> None:
        """Put lines that were taken, in which a record has not ended, back to the front.

        Args:
            lines: Whole lines, from the record's beginning.
            is_first: Whether no record before it ended in what was taken. Then it is taken again only once it has
                doubled, or is as long as may be, so that a long record is not looked at for each of its lines.
        """
        if lines:
            self._held[:0] = lines
            self._looked_at = len(lines)
            self._at_least = 2 * len(lines) if is_first else 0

    def _take(self, end: int) -> bytes:
        self._searched = self._looked_at = self._at_least = 0
        taken = bytes(self._held[:end])
        del self._held[:end]
        return taken


def _most_records(schema: Schema) -> int:
    """Return how many records of text are decoded at a time: few bytes may hold many, at fault or with few columns."""
    return max(_LEAST_TEXT_RECORDS, min(_TEXT_RECORDS, _TEXT_CELLS // len(schema.columns)))

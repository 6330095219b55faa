"""Decode the lines of a body as it arrives: bytes are held until they are complete lines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import numpy as np

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.records.blocks import (
    BLOCK_BYTES,
    Block,
    Decoder,
    RecordLimits,
    TooMuchHeldError,
    block_of,
    most_text_records,
)
from vaegis.service.records.faults import Faults

_NEWLINE: Final = 10


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
    """Decodes records of which each takes a line or more."""

    def __init__(self, schema: Schema, limits: RecordLimits) -> None:
        """Decode records of ``schema``."""
        self._schema = schema
        self._limits = limits
        self._lines = LineBuffer(limits.max_held_bytes)
        self._most_records = most_text_records(schema)
        self._rows = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the body that are held."""
        return len(self._lines)

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next part of the body, and yield the blocks that it fills.

        Raises:
            BodyError: it is not in the format.
            RecordError: a header does not fit the schema.
            TooMuchHeldError: a line or a record is longer than allowed.
        """
        self._lines.feed(data)
        while lines := self._lines.take_full():
            yield from self._decoded(lines)

    @abstractmethod
    def _decoded(self, lines: bytes) -> Iterator[Block]:
        """Yield the records in lines."""

    def _block(self, columns: Columns, faults: Faults) -> Block:
        block = block_of(columns, faults, self._rows)
        self._rows += block.records
        return block


class LineBuffer:
    """The part of a body that has not been decoded yet. It holds one line of any allowed length, and little more.

    No more bytes are given out at a time than the longest line has. So a record that is too long is never given out
    whole, however the body was cut on its way here, and none has to be measured.
    """

    def __init__(self, max_held_bytes: int) -> None:
        """Allow a line of ``max_held_bytes``, and the line feed after it."""
        self._max_held_bytes = max_held_bytes
        self._most = max_held_bytes + 1
        self._block = min(BLOCK_BYTES, self._most)
        self._held = bytearray()
        self._searched = 0
        self._looked_at = 0  # of what is held, bytes that were put back
        self._at_least = 0  # bytes that are given out together with them

    def __len__(self) -> int:
        return len(self._held)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._held += data

    def take_full(self) -> bytes:
        """Return what `take_whole` does once a block's worth of bytes is held, and nothing before.

        Raises:
            TooMuchHeldError: a line, or a record that was put back, is longer than allowed.
        """
        return self.take_whole() if len(self._held) >= self._block else b""

    def take_whole(self) -> bytes:
        """Return the whole lines held, at most about a block's worth; nothing if there is none.

        After `put_back` it may be nothing until there is more.

        Raises:
            TooMuchHeldError: a line, or a record that was put back, is longer than allowed.
        """
        held, most = self._held, self._most
        end = 0 if self._at_least else held.rfind(b"\n", 0, self._block) + 1
        if not end:
            # The search goes on where it last ended, so that a long line is looked through only once.
            end = held.find(b"\n", max(self._searched, self._at_least - 1), most) + 1
        if not end and len(held) >= most:
            # A record may end in lines that came after it was put back, however few they are.
            end = held.rfind(b"\n", self._looked_at, most) + 1
            if not end:
                what = f"{'records' if self._looked_at else 'lines'} of at most {self._max_held_bytes} bytes"
                raise TooMuchHeldError(f"body: expected {what}, got a longer one")
        if end:
            return self._cut(end)
        self._searched = len(held)
        return b""

    def take_rest(self) -> bytes:
        """Return all that is held."""
        return self._cut(len(self._held))

    def put_back(self, data: bytes, *, is_first: bool) -> None:
        """Put lines that were taken, in which a record has not ended, back to the front.

        Args:
            data: Whole lines, from the record's beginning.
            is_first: Whether no record before it ended in what was taken. Then it is given out again only once it has
                doubled, or is as long as may be, so that a long record is not looked at for each of its lines.
        """
        self._held[:0] = data
        self._looked_at = len(data)
        self._at_least = 2 * len(data) if is_first else 0

    def _cut(self, end: int) -> bytes:
        self._searched = self._looked_at = self._at_least = 0
        taken = bytes(self._held[:end])
        del self._held[:end]
        return taken

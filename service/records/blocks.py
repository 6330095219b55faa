"""Blocks of records, as every decoder yields them: valid records by column, and the faults of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns, stacked
from vaegis.service.errors import Fault, ServiceError
from vaegis.service.records.column_names import UnknownColumns
from vaegis.service.records.faults import Faults

BLOCK_BYTES: Final = 256 * 1024
"""Text decoded at a time: a few milliseconds' work, in which no other thread runs."""
BLOCK_VALUES: Final = 128 * 1024
"""Values decoded at a time where records are no text."""
BLOCK_RECORDS: Final = 4096
"""Records decoded at a time, where they are narrow."""


_Item = TypeVar("_Item")


class BodyError(ServiceError):
    """A body that is not in its format; ``code`` names the fault, and the text holds no part of the body but a key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooManyValuesError(ServiceError):
    """A body with more values than the service parses."""


class BodyTooLargeError(ServiceError):
    """A body of more bytes than the service accepts."""


class TooMuchHeldError(ServiceError):
    """One piece of a stream that has to be held whole, and is larger than allowed."""


class TooManyRecordsError(ServiceError):
    """More records than one request may hold."""


class NoRecordsError(ServiceError):
    """A body without a record."""


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """Limits of a decoder.

    Attributes:
        max_records: Most records of a body that is no stream.
        max_body_records: Most records of any body.
        max_held_bytes: Largest piece that must be held whole: a document, a line, a record of CSV, a message of Arrow.
        max_columns: Most columns of a header.
        max_values: Most values in one document or line of JSON.
        max_depth: Deepest nesting of one.
        max_faults: Most faults that are listed of a refused document, or of one record.
        unknown_columns: Whether columns that the model does not know are refused.
        unwrap: JSON pointer to the record in each envelope of JSON and NDJSON; None for records without one.
    """

    max_records: int
    max_body_records: int
    max_held_bytes: int
    max_columns: int
    max_values: int
    max_depth: int
    max_faults: int
    unknown_columns: UnknownColumns
    unwrap: str | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive records of a body.

    Attributes:
        first_row: Position of the first one in the body, from 0.
        records: Number of records, valid or not.
        columns: The sound ones, in order.
        faults: What is wrong with the others, by position in the block, ascending.
        event_ids: Of all records of the body, if they came as CloudEvents.
    """

    first_row: int
    records: int
    columns: Columns
    faults: Mapping[int, tuple[Fault, ...]]
    event_ids: Sequence[str] = ()

    def sound(self) -> NDArray[np.bool_]:
        """Return which records are not at fault."""
        sound = np.ones(self.records, dtype=np.bool_)
        sound[list(self.faults)] = False
        return sound

    def spread(self, values: NDArray[Any], blank: object) -> NDArray[Any]:
        """Return a value for each record: the given values for valid records, ``blank`` for the others."""
        if not self.faults:
            return values
        spread = np.full(self.records, blank, dtype=values.dtype)
        spread[self.sound()] = values
        return spread

    def parts(self, records: int) -> Iterator[Block]:
        """Yield the block in blocks of at most ``records`` records."""
        if self.records <= records:
            yield self
            return
        sound = 0
        for start in range(0, self.records, records):
            stop = min(start + records, self.records)
            faults = {row - start: self.faults[row] for row in range(start, stop) if row in self.faults}
            before, sound = sound, sound + stop - start - len(faults)
            yield Block(
                self.first_row + start, stop - start, self.columns.rows(slice(before, sound)), faults, self.event_ids
            )


def body_too_large(max_bytes: int, when: str = "") -> BodyTooLargeError:
    """Return the error for a body that is too large."""
    return BodyTooLargeError(
        f"body: expected at most {max_bytes} bytes{when}, got more; score the file with `vaegis score`"
    )


class Decoder(Protocol):
    """Turns a body into blocks as it arrives. Consume the blocks of each call before the next call."""

    @property
    def held_bytes(self) -> int:
        """Bytes of the body in memory."""

    def feed(self, data: bytes) -> Iterator[Block]:
        """Decode the next part of the body, and yield the blocks that it fills."""

    def finish(self) -> Iterator[Block]:
        """End the body, and yield the last records."""


def merged(blocks: Sequence[Block]) -> Block:
    """Return the records of all blocks of a body as one block.

    Raises:
        NoRecordsError: there is none.
    """
    if not blocks:
        raise NoRecordsError("body: expected at least one record, got none")
    if len(blocks) == 1:
        return blocks[0]
    first = blocks[0].first_row
    faults = {block.first_row - first + row: found for block in blocks for row, found in block.faults.items()}
    columns = stacked([block.columns for block in blocks])
    return Block(first, sum(block.records for block in blocks), columns, faults)


def gathered(blocks: Iterable[Block], least: int) -> Iterator[Block]:
    """Yield blocks of at least ``least`` records or of much text, except the last: small ones in a row are merged.

    To score few records takes about as long as to score many, and a few compressed bytes may hold very many blocks.
    Each may refer to long text, of which the graph and the answer get copies, so blocks of much text are not merged.
    """
    waiting: list[Block] = []
    records = characters = 0
    try:
        for block in blocks:
            waiting.append(block)
            records += block.records
            if records < least:
                characters += sum(map(len, block.columns.strings.ravel().tolist()))
            if records >= least or characters > BLOCK_BYTES:
                yield merged(waiting)
                waiting, records, characters = [], 0, 0
    except ServiceError:
        if waiting:
            yield merged(waiting)
        raise
    if waiting:
        yield merged(waiting)


def in_order(block: Block, sound: Sequence[_Item], faulty: Iterator[_Item]) -> list[_Item]:
    """Return the items of all records of a block, given those of valid and of faulty records."""
    if not block.faults:
        return list(sound)
    left = iter(sound)
    return [next(faulty) if row in block.faults else next(left) for row in range(block.records)]


def block_of(columns: Columns, faults: Faults, first_row: int) -> Block:
    """Return a block of all records of ``columns``, whose faulty ones are dropped from them."""
    block = Block(first_row, len(columns), columns, faults.by_row())
    return replace(block, columns=columns.rows(block.sound())) if block.faults else block

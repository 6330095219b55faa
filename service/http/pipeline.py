"""One body on its way from bytes to the bytes of its answer: unpacked, decoded, scored and written part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np

from service.columns import Columns
from service.http.call import Call
from service.http.errors import BodyTooLargeError, NoRecordsError
from service.http.metrics import Metrics
from service.http.writers.writing import Writer
from service.records.stream.blocks import BLOCK_BYTES, Block, Decoder
from service.records.stream.unpacking import Unpacker
from service.verdicts import Verdicts

Judge: TypeAlias = Callable[[Columns], tuple[Verdicts, float]]
"""Returns the verdicts on records, and the seconds that the model took."""


class OnInvalid(StrEnum):
    """What becomes of a request with records that do not fit the model's schema."""

    REJECT = "reject"
    REPORT = "report"


@dataclass(slots=True)
class Pipeline:
    """The work on one body. Its methods block, and are to be called one after the other, on any thread.

    Attributes:
        unpacker: Undoes the compression.
        decoder: Makes records of bytes.
        judge: Makes verdicts of records.
        writer: Makes bytes of verdicts.
        on_invalid: Whether faults end the work, or are answered in the place of the records.
        max_faults: Most faults told of a block that ends the work.
        metrics: Count what is refused.
        call: The request, which is charged for records.
        max_bytes: Longest body, unpacked; None where there is no bound.
        waiting: How many records are scored next, where they are decoded and not scored yet.
        records: How many records there were so far.
        owed_s: How long the caller is to wait for having sent more records than its rate lets it.
    """

    unpacker: Unpacker
    decoder: Decoder
    judge: Judge
    writer: Writer
    on_invalid: OnInvalid
    max_faults: int
    metrics: Metrics
    call: Call
    max_bytes: int | None
    waiting: int = 0
    records: int = 0
    owed_s: float = 0.0
    _unpacked: int = 0

    def run(self, data: bytes, *, flush: bool, is_last: bool) -> Iterator[bytes | None]:
        """Take the next bytes of the body, and yield what can be answered to it by now.

        None is yielded ahead of each part of the work: whoever runs it may end it there, or go on elsewhere.

        Args:
            data: The bytes.
            flush: Whether records are answered that could wait for others.
            is_last: Whether the body ends with these bytes.

        Raises:
            BodyError: the body is not in the format declared.
            RecordError: a record, or the header of all, does not fit the schema.
            NoRecordsError: there was none in the whole body.
            TooMuchHeldError: a piece of the body that has to be held whole is larger than allowed.
            RateLimitedError: the caller may not send the first records yet.
            BodyTooLargeError: the body is longer than allowed.
        """
        size = 0
        for piece in self.unpacker.feed(data):
            size += len(piece)
            if size > BLOCK_BYTES:  # what was packed may be any number of bytes, and none of them a record
                yield None
                size = len(piece)
            self._count(piece)
            yield from self._answered(self.decoder.feed(piece))
        if is_last:
            self.unpacker.end()
            yield from self._answered(self.decoder.end())
            if not self.records:
                raise NoRecordsError("body: expected at least one record, got none")
            yield self.writer.end()
        elif flush:
            yield from self._answered(self.decoder.flush())

    def _count(self, piece: bytes) -> None:
        self._unpacked += len(piece)
        if self.max_bytes is not None and self._unpacked > self.max_bytes:
            raise BodyTooLargeError(f"body: expected at most {self.max_bytes} bytes in all, got more")

    def _answered(self, blocks: Iterator[Block]) -> Iterator[bytes | None]:
        while (block := self._next(blocks)) is not None:
            if block.faults:
                self.metrics.count_refused(fault for faults in block.faults.values() for fault in faults)
                if self.on_invalid is OnInvalid.REJECT:
                    block.require_sound(self.max_faults)
            self.waiting = block.records
            yield None
            self.waiting = 0
            if self.records:
                self.owed_s = self.call.owe(block.records)
            else:
                self.call.charge(block.records)
            with self.call.step("infer"):
                verdicts, seconds = self.judge(block.columns)
            self.metrics.count_batch(len(block.columns), seconds)
            self.call.records += len(block.columns)
            self.call.flagged += int(np.count_nonzero(verdicts.is_anomaly))
            written = self.writer.part(block, verdicts)
            yield written if self.records else self.writer.start() + written
            self.records += block.records

    def _next(self, blocks: Iterator[Block]) -> Block | None:
        with self.call.step("decode"):
            return next(blocks, None)

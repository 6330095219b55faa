"""One body on its way from bytes to the bytes of its answer: unpacked, decoded, scored and written part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeAlias

import numpy as np

from vaegis.service.columns import Columns
from vaegis.service.errors import Fault, RecordError, ServiceError
from vaegis.service.http.call import Call
from vaegis.service.http.errors import NoRecordsError
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.writers.writing import Writer
from vaegis.service.records.blocks import BLOCK_BYTES, Block, BodyTooLargeError, Decoder
from vaegis.service.records.decompression import Unpacker
from vaegis.service.records.faults import OnInvalid
from vaegis.service.verdicts import Verdicts

_PIECE_BYTES: Final = 1024  # what an empty piece is worth in work

Judge: TypeAlias = Callable[[Columns], tuple[Verdicts, float]]
"""Returns the verdicts on records, and the seconds that the model took."""


@dataclass(slots=True)
class Pipeline:
    """The work on one body. Its methods block, and are to be called one after the other, on any thread.

    Attributes:
        unpacker: Undoes the compression.
        decoder: Makes records of bytes.
        judge: Makes verdicts of records.
        writer: Makes bytes of verdicts.
        on_invalid: Whether faults end the work, or are answered in the place of the records.
        max_faults: Most faults told where they end the work.
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
        blocks = self._in_steps(self._decoded(data, flush=flush, is_last=is_last))
        for block in blocks:
            if block is None:
                yield None
                continue
            if block.faults:
                if self.on_invalid is OnInvalid.REJECT:
                    yield from self._refuse(block, blocks if is_last else iter(()))
                self.metrics.count_refused(_faults_of(block))
            yield from self._answered(block)
        if is_last:
            if not self.records:
                raise NoRecordsError("body: expected at least one record, got none")
            yield self.writer.end()

    def _decoded(self, data: bytes, *, flush: bool, is_last: bool) -> Iterator[Block | None]:
        """Yield the records that are there by now, and None wherever it was long for none."""
        size = 0
        for piece in self.unpacker.feed(data):
            size += len(piece) + _PIECE_BYTES
            if size > BLOCK_BYTES:  # what was packed may be any number of bytes, and none of them a record
                yield None
                size = len(piece)
            self._count(piece)
            yield from self.decoder.feed(piece)
        if is_last:
            self.unpacker.end()
            yield from self.decoder.end()
        elif flush:
            yield from self.decoder.flush()

    def _count(self, piece: bytes) -> None:
        self._unpacked += len(piece)
        if self.max_bytes is not None and self._unpacked > self.max_bytes:
            raise BodyTooLargeError(f"body: expected at most {self.max_bytes} bytes in all, got more")

    def _in_steps(self, blocks: Iterator[Block | None]) -> Iterator[Block | None]:
        while True:
            with self.call.step("decode"):
                try:
                    block = next(blocks)
                except StopIteration:
                    return
            yield block

    def _refuse(self, block: Block, others: Iterator[Block | None]) -> Iterator[None]:
        """End the work for the faults of a block, and of those after it that are here, up to as many as are told.

        Nobody pays for what is only looked through, so that is one more block's worth of bytes at most.
        """
        found: list[Fault] = []
        most_bytes = self._unpacked + BLOCK_BYTES
        with suppress(ServiceError):  # whatever else is wrong with the body, the records at fault are told
            for each in chain((block,), others):
                if each is not None:
                    of_block = _faults_of(each)
                    self.metrics.count_refused(of_block)
                    found += of_block
                if len(found) > self.max_faults or self._unpacked > most_bytes:
                    break
                yield None
        raise RecordError(tuple(found[: self.max_faults]), max(0, len(found) - self.max_faults))

    def _answered(self, block: Block) -> Iterator[bytes | None]:
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


def _faults_of(block: Block) -> list[Fault]:
    return [*chain.from_iterable(block.faults.values())]

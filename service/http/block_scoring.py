"""Scoring of a body block by block on threads, as it arrives. Only the encoded answer is kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from vaegis.service.errors import Fault, RecordError, ServiceError
from vaegis.service.http.admission import Slot
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.score_options import ScoreOptions
from vaegis.service.http.writers.writer import Writer
from vaegis.service.records.blocks import Block, Decoder, NoRecordsError, TooManyRecordsError, gathered
from vaegis.service.records.decompression import Unpacker, compress, decompress
from vaegis.service.records.faults import OnInvalid
from vaegis.service.verdicts import Verdicts

MOST_FAULTY_RECORDS = 100_000
"""Most records of one body that are answered with their faults. A few compressed bytes may hold millions of them."""

UNCOMPRESSED_BYTES: Final = 4 * 2**20
"""The beginning of an answer is kept as it is; what follows is compressed, to about a third."""
_COMPRESSION_LEVEL: Final = 1  # about a microsecond a record
_PART_RECORDS = 1024  # judged and written at a time
_LEAST_RECORDS = 256  # the same, where there are so many


class AnswerBuffer:
    """An encoded answer that waits until its request has been read to the end.

    Attributes:
        length: Bytes of the answer.
        held_bytes: Bytes that they take in memory.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._compressed: list[bytes] = []
        self.length = 0
        self.held_bytes = 0

    def append(self, part: bytes) -> None:
        """Add a part at the end."""
        if not part:
            return
        self.length += len(part)
        if self.length <= UNCOMPRESSED_BYTES:
            self._parts.append(part)
        else:
            part = compress(part, _COMPRESSION_LEVEL)
            self._compressed.append(part)
        self.held_bytes += len(part)

    def parts(self) -> Iterator[bytes]:
        """Yield the answer."""
        yield b"".join(self._parts)
        yield from map(decompress, self._compressed)


class BlockScoring:
    """The work on one body. Its methods block, and are to be called one after the other, on any thread.

    A fault that rejects the body ends the scoring; the rest is only searched for further faults. The slot is asked
    between blocks whether the answer is still needed.

    Attributes:
        answer: What is answered to the records so far.
    """

    def __init__(self, model: ServedModel, options: ScoreOptions, writer: Writer, slot: Slot) -> None:
        self._model = model
        self._options = options
        self._writer = writer
        self._before_part = writer.start
        self._slot = slot
        self._records = 0
        self._faulty_records = 0
        self._faults: list[Fault] = []
        self.answer = AnswerBuffer()

    def score_bytes(self, data: bytes, decompressor: Unpacker, decoder: Decoder, *, is_last: bool) -> None:
        """Score the records that the next bytes of the body complete; the last bytes end the answer.

        Raises:
            BodyError: the body is not in the format declared.
            RecordError: its header or some of its records do not fit the schema, and that rejects it.
            BodyTooLargeError: it is too long when decompressed.
            TooMuchHeldError: a piece of it that has to be held whole is larger than allowed.
            NoRecordsError: there was no record in the whole body.
            TooManyRecordsError: there are too many records, or too many faulty ones.
            RateLimitedError: the caller may not send its first records yet.
        """
        try:
            for piece in decompressor.feed(data):
                self._score_blocks(decoder.feed(piece))
                self._slot.check()
            if is_last:
                decompressor.finish()
                self._score_blocks(decoder.finish())
        except ServiceError:
            if self._faults:  # they are reported, whatever else is wrong with the body
                raise self._model.rejected(self._faults) from None
            raise
        if is_last:
            self._end()

    def score(self, block: Block) -> None:
        """Score a whole body that is decoded and checked, and end the answer."""
        self._score(block)
        self._end()

    def _end(self) -> None:
        if self._faults:
            raise self._model.rejected(self._faults)
        if not self._records:
            raise NoRecordsError("body: expected at least one record, got none")
        self.answer.append(self._writer.end)

    def _score_blocks(self, blocks: Iterable[Block]) -> None:
        for block in self._decoded(gathered(blocks, _LEAST_RECORDS)):
            self._model.require_few_records(block)
            self._faulty_records += len(block.faults)
            if self._faulty_records > MOST_FAULTY_RECORDS and self._options.on_invalid is OnInvalid.REPORT:
                raise TooManyRecordsError(f"body: expected at most {MOST_FAULTY_RECORDS} faulty records, got more")
            self._faults += self._model.rejecting_faults(block, self._options.on_invalid)
            if len(self._faults) > self._model.limits.max_faults:
                raise self._model.rejected(self._faults)
            if not self._faults:
                self._score(block)
            self._slot.check()

    def _decoded(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield blocks; decoding each is a step of the trace."""
        left = iter(blocks)
        while True:
            with self._slot.context.step("decode"):
                try:
                    block = next(left, None)
                except RecordError as error:
                    self._model.metrics.count_refused(error.faults)
                    raise
            if block is None:
                return
            yield block

    def _score(self, block: Block) -> None:
        self._slot.context.charge(block.records, into_debt=self._records > 0)
        self._records += block.records
        for part, verdicts in judged_in_parts(self._model, block, self._options, self._slot):
            self.answer.append(self._before_part + self._writer.part(part, verdicts))
            self._before_part = self._writer.separator


def judged_in_parts(
    model: ServedModel, block: Block, options: ScoreOptions, slot: Slot
) -> Iterator[tuple[Block, Verdicts]]:
    """Yield the records of a block in parts, each with its verdicts, as long as they are needed."""
    total_s = 0.0
    for part in block.parts(_PART_RECORDS):
        with slot.context.step("infer"):
            verdicts, seconds = model.judge(part.columns, options)
        total_s += seconds
        slot.context.records += len(part.columns)
        slot.context.flagged += int(np.count_nonzero(verdicts.is_anomaly))
        yield part, verdicts
        slot.check()
    model.metrics.count_batch(len(block.columns), total_s)

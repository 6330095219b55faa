"""Small requests that wait at the same time, scored as one batch.

One record alone takes the model about as long as eight together, because most of its time goes into starting each
step of the graph. No request waits for others to arrive: a batch holds those that came while the one before it was
scored and answered. It blocks the event loop, so its size is limited by the time that the model takes. How long the
model takes depends on the number of records and not on their values, because `vaegis.service.onnx_model` refuses
graphs whose shapes depend on values. So a batch is scored on a thread unless one of its size was fast before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

import msgspec

from vaegis.service.columns import Columns, stacked
from vaegis.service.errors import ServiceError
from vaegis.service.http.score_options import ScoreOptions
from vaegis.service.http.writers.writer import VerdictRow, rows_of
from vaegis.service.verdicts import Verdicts

BATCH_S: Final = 0.01
"""Longest time that the model is to take for a batch."""
FEW_RECORDS: Final = 64
"""Batches up to this size are always allowed. Smaller ones say little about the time of a record, because starting the
graph takes much of theirs."""

INLINE_S: Final = 0.05
"""A batch blocks the event loop only if the model took less time for the last one of its size. Values of records change
that time by some ten times at most: numbers too small to be stored in full take longer."""

_SLOWER: Final = 1.1  # the most that the estimate grows by after a slower batch
_FASTEST_S: Final = 1e-6  # for a record: the first and the lowest estimate


Judge: TypeAlias = Callable[[Columns, ScoreOptions], tuple[Verdicts, float]]
"""Returns the verdicts on records, and the seconds that the model took."""


class BatchSize:
    """Estimates from batches how long the model takes for a record.

    A faster batch lowers the estimate at once. A slower one raises it by a tenth at most, so a pause of the machine
    changes it little.
    """

    def __init__(self, max_records: int) -> None:
        self._max_records = max_records
        self._record_s = _FASTEST_S

    @property
    def most_records(self) -> int:
        """Most records of the next batch."""
        return min(self._max_records, max(FEW_RECORDS, int(BATCH_S / self._record_s)))

    def note(self, records: int, seconds: float) -> None:
        """Learn from a batch of so many records."""
        if records >= FEW_RECORDS:
            self._record_s = max(_FASTEST_S, min(self._record_s * _SLOWER, seconds / records))


class Judged(msgspec.Struct, frozen=True, eq=False):
    """The verdicts on the records of one request, as a part of those on its batch.

    Attributes:
        batch: The verdicts on the batch by field.
        rows: The same by record, made for all at once, which takes about as long as for one; None if one cannot be
            written.
        records: Which records of the batch are the request's.
        seconds: How long the model took for the batch.
    """

    batch: Verdicts
    rows: list[VerdictRow] | None
    records: slice
    seconds: float

    def verdicts(self) -> Verdicts:
        """Return the verdicts by field."""
        return self.batch.rows(self.records)

    def verdict_rows(self) -> list[VerdictRow]:
        """Return the verdicts by record.

        Raises:
            ValueError: one holds NaN or an infinity.
        """
        return rows_of(self.verdicts()) if self.rows is None else self.rows[self.records]


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    """A request whose records wait."""

    columns: Columns
    options: ScoreOptions
    begin: Callable[[], None]
    done: asyncio.Future[Judged]


class Batcher:
    """Gathers requests and scores them. Only for use on the event loop's thread.

    It has a thread of its own, which also scores one batch after the other.
    """

    def __init__(self, judge: Judge, max_records: int) -> None:
        """Score at most ``max_records`` at a time with ``judge``, but always at least one request."""
        self._judge = judge
        self._size = BatchSize(max_records)
        self._waiting: list[_Waiting] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._is_on_thread = False
        self._fast: set[int] = set()
        """Sizes of batches, in records, that the model is fast with."""

    @property
    def most_records(self) -> int:
        """Most records of a request that is scored here; more would block the event loop."""
        return self._size.most_records

    async def judge(self, columns: Columns, options: ScoreOptions, begin: Callable[[], None]) -> Judged:
        """Return the verdicts on the records of a request. What ``begin`` raises before scoring is raised here."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(columns, options, begin, loop.create_future())
        if not self._waiting:
            # Requests that came with this one are ahead of the first call, and those that the network had by then
            # ahead of the second: they get into the batch too.
            loop.call_soon(loop.call_soon, self._score, loop)
        self._waiting.append(waiting)
        return await waiting.done

    def _score(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._is_on_thread or not self._waiting:
            return  # the end of the batch on the thread calls this
        batch = [waiting for waiting in self._next_batch() if _can_begin(waiting)]
        if batch:
            if sum(len(waiting.columns) for waiting in batch) not in self._fast:
                self._score_on_thread(batch, loop)
                return
            try:
                _answer(batch, self._judged_together(batch))
            except Exception:  # noqa: BLE001 - the thread meets the same error, and answers the requests with it
                self._score_on_thread(batch, loop)
                return
        if self._waiting:
            loop.call_soon(self._score, loop)

    def _score_on_thread(self, batch: Sequence[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        def end(judging: asyncio.Future[list[Judged | Exception]]) -> None:
            self._is_on_thread = False
            _answer(batch, judging.result())
            self._score(loop)

        self._is_on_thread = True
        loop.run_in_executor(self._thread, self._judged, batch).add_done_callback(end)

    def _judged(self, batch: Sequence[_Waiting]) -> list[Judged | Exception]:
        """Return the verdicts for each request, or the error that it gets. It may block for long."""
        try:
            return self._judged_together(batch)
        except (ValueError, OverflowError) as error:  # one has statistics that cannot be written: others may not
            if len(batch) == 1:
                return [error]
            return [self._judged([waiting])[0] for waiting in batch]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the requests are answered
            return [error] * len(batch)

    def _judged_together(self, batch: Sequence[_Waiting]) -> list[Judged | Exception]:
        columns = stacked([waiting.columns for waiting in batch])
        verdicts, seconds = self._judge(columns, batch[0].options)
        self._size.note(len(columns.numbers), seconds)
        (self._fast.add if seconds < INLINE_S else self._fast.discard)(len(columns.numbers))
        try:
            rows = rows_of(verdicts)
        except (ValueError, OverflowError):
            rows = None
        judged: list[Judged | Exception] = []
        start = 0
        for waiting in batch:
            stop = start + len(waiting.columns)
            judged.append(Judged(verdicts, rows, slice(start, stop), seconds))
            start = stop
        return judged

    def _next_batch(self) -> list[_Waiting]:
        """Remove and return the next batch: the first request that waits, and others that ask for the same."""
        options, most = self._waiting[0].options, self._size.most_records
        batch: list[_Waiting] = []
        left: list[_Waiting] = []
        records = 0
        for waiting in self._waiting:
            fits = waiting.options == options and (not batch or records + len(waiting.columns) <= most)
            (batch if fits else left).append(waiting)
            records += len(waiting.columns) if fits else 0
        self._waiting = left
        return batch


def _answer(batch: Sequence[_Waiting], judged: Sequence[Judged | Exception]) -> None:
    for waiting, outcome in zip(batch, judged, strict=True):
        if waiting.done.done():
            continue  # nobody waits for it any more
        if isinstance(outcome, Exception):
            waiting.done.set_exception(outcome)
        else:
            waiting.done.set_result(outcome)


def _can_begin(waiting: _Waiting) -> bool:
    if waiting.done.done():
        return False  # nobody waits for it any more
    try:
        waiting.begin()
    except ServiceError as error:
        waiting.done.set_exception(error)
        return False
    return True

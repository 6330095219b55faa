"""Small requests that wait at the same time, scored as one batch.

One record alone takes the model about as long as eight together, for most of its time goes into starting each step of
the graph. Nothing is waited for: a batch is what has come while the one before it was scored and answered. It holds the
event loop up, so its size is limited (`BatchSize`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from vaegis.service.errors import ServiceError
from vaegis.service.http.batch_size import BatchSize
from vaegis.service.http.json_answer import Result
from vaegis.service.http.scoring import Asked, Scoring


class _Waiting(msgspec.Struct, frozen=True, eq=False):
    """A request whose records wait.

    Attributes:
        asked: Its records, and what is asked about them.
        begin: Called before they are scored; may raise why they are not.
        done: Gets its results, and the seconds that the model took for the batch.
    """

    asked: Asked
    begin: Callable[[], None]
    done: asyncio.Future[tuple[list[Result], float]]


class Batches:
    """Gathers requests and scores them. Only for use on the event loop's thread."""

    def __init__(self, scoring: Scoring, size: BatchSize) -> None:
        """Score at most as many records at a time as ``size`` says, but never less than a request."""
        self._scoring = scoring
        self.size = size
        self._waiting: list[_Waiting] = []

    async def judged(self, asked: Asked, begin: Callable[[], None]) -> tuple[list[Result], float]:
        """Return the results of a request's records, and the seconds that the model took for it and others.

        Args:
            asked: The records, and what is asked about them.
            begin: Called before they are scored; what it raises is raised here.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(asked, begin, loop.create_future())
        if not self._waiting:
            # Requests that came with this one are ahead of the first call, and those that the network had by then
            # ahead of the second: they get into the batch too.
            loop.call_soon(loop.call_soon, self._score, loop)
        self._waiting.append(waiting)
        return await waiting.done

    def _score(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = [waiting for waiting in self._next() if _begins(waiting)]
        if self._waiting:
            loop.call_soon(self._score, loop)
        if not batch:
            return
        try:
            found, seconds = self._scoring.judged_together([waiting.asked for waiting in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised where the requests are answered
            for waiting in batch:
                waiting.done.set_exception(error)
        else:
            self.size.note(sum(len(waiting.asked.columns) for waiting in batch), seconds)
            for waiting, results in zip(batch, found, strict=True):
                if isinstance(results, Exception):
                    waiting.done.set_exception(results)
                else:
                    waiting.done.set_result((results, seconds))

    def _next(self) -> list[_Waiting]:
        """Take the next batch out of those that wait."""
        records, end, most = 0, 0, self.size.most_records
        for waiting in self._waiting:
            records += len(waiting.asked.columns)
            if end and records > most:
                break
            end += 1
        batch, self._waiting = self._waiting[:end], self._waiting[end:]
        return batch


def _begins(waiting: _Waiting) -> bool:
    if waiting.done.done():
        return False  # nobody waits for it any more
    try:
        waiting.begin()
    except ServiceError as error:
        waiting.done.set_exception(error)
        return False
    return True

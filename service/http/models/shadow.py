"""A version that scores a sample of the traffic beside the live one, off the path of requests."""

from __future__ import annotations

import logging
import queue
import random
import threading
from typing import Final

import numpy as np

from vaegis.service.http.models.served_model import ServedModel, ShadowedBatch
from vaegis.service.http.observability.model_metrics import ShadowMetrics
from vaegis.service.verdicts import Explain

_LOG: Final = logging.getLogger("vaegis.models")
_MOST_BATCHES: Final = 32  # of up to 1024 records that wait
_CLOSE_S: Final = 10.0


class Shadow:
    """Scores a share of the batches on its own thread, and counts how its verdicts differ from the live ones.

    Batches are dropped while too many wait. The candidate has the columns of the live version.
    """

    def __init__(self, candidate: ServedModel, share: float, metrics: ShadowMetrics) -> None:
        self.candidate = candidate
        self._share = share
        self._metrics = metrics
        self._names = candidate.artifact.contract.columns.of_records.names
        self._waiting: queue.Queue[ShadowedBatch | None] = queue.Queue(_MOST_BATCHES)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="vaegis-shadow", daemon=True)
        self._thread.start()

    def offer(self, batch: ShadowedBatch) -> None:
        """Take a sample of the batches. It never waits, and may be called on any thread."""
        if random.random() >= self._share:  # noqa: S311 - a sample, not a secret
            return
        try:
            self._waiting.put_nowait(batch)
        except queue.Full:
            self._metrics.dropped.inc(len(batch.columns))

    def drain(self) -> None:
        """Wait until what was taken has been scored."""
        self._waiting.join()

    def close(self) -> None:
        """End, after the batch that is being scored."""
        self._is_closed = True
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # the thread looks after the batch that it scores

    def join(self) -> None:
        """Wait for the end of a shadow that was closed."""
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._is_closed:
            batch = self._waiting.get()
            try:
                if batch is not None and not self._is_closed:
                    self._compare(batch)
            except Exception as error:  # noqa: BLE001 - a candidate that fails must not end what tells of it
                self._metrics.failed.inc(0 if batch is None else len(batch.columns))
                _LOG.warning("shadow failed", extra={"fields": {"error": type(error).__name__}})
            finally:
                self._waiting.task_done()

    def _compare(self, batch: ShadowedBatch) -> None:
        artifact = self.candidate.artifact
        scores = artifact.scorer.score(batch.columns)
        verdicts = artifact.judge_scored(batch.columns, scores, alpha=batch.alpha, explain=Explain.NONE)
        live, candidate = batch.verdicts.is_anomaly, verdicts.is_anomaly
        apart = np.abs(np.log10(verdicts.p_value) - np.log10(batch.verdicts.p_value))
        self._metrics.count_compared(live, candidate, apart)
        either = np.flatnonzero(live | candidate)
        if either.size:
            was = batch.scores.contributions[either, :-1].argmax(axis=1)
            now = scores.contributions[either, :-1].argmax(axis=1)
            for before, after in zip(was[was != now].tolist(), now[was != now].tolist(), strict=True):
                self._metrics.count_leading(self._names[before], self._names[after])

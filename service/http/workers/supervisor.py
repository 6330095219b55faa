"""The process that starts the workers, replaces those that end or hang, and ends with them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from vaegis.service.errors import ArtifactError, ServiceError
from vaegis.service.http.workers.channel import Channel, heard_error

STABLE_S: Final = 10.0
"""A worker that served at least this long did not end because of its start."""

FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
MOST_FAILED_STARTS: Final = 5

_LOG: Final = logging.getLogger("vaegis.workers")
_CHECK_S: Final = 0.25
_LATE_S: Final = 5.0  # what a worker may take beyond its own times to stop


class WorkersError(ServiceError):
    """Workers that end again and again before they serve."""


@dataclass
class Worker:
    """A process that serves, or is about to.

    Attributes:
        process: The process.
        channel: What it tells.
        heard: When it gave the last sign of life, in seconds of a clock that never goes back.
        ready: Since when it serves; None if it does not yet.
        fault: Why it does not start; None if it did not say.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    heard: float
    ready: float | None = None
    fault: ServiceError | None = None


@dataclass(frozen=True, slots=True)
class WorkerTimeouts:
    """How long the supervisor waits for a worker.

    Attributes:
        start_s: A worker that does not serve after so long is killed.
        silence_s: A worker that serves, but gives no sign of life for so long, is killed.
        stop_s: Time in which a worker that is told to stop does so.
    """

    start_s: float
    silence_s: float
    stop_s: float


class Supervisor:
    """Keeps a number of workers running until it is told to stop."""

    def __init__(
        self,
        workers: int,
        start: Callable[[int], tuple[subprocess.Popen[bytes], socket.socket]],
        *,
        timeouts: WorkerTimeouts,
        on_ready: Callable[[str], None],
        on_end: Callable[[int], None],
        on_restart: Callable[[], None],
        on_stop: Callable[[], None],
        on_swap: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            workers: How many.
            start: Starts the worker of a number; returns its process and the other end of its channel.
            timeouts: How long a worker is waited for.
            on_ready: Called with the model's name once the workers serve.
            on_end: Called with the number of a worker that has ended.
            on_restart: Called when another takes its place.
            on_stop: Called when the service is told to stop.
            on_swap: Called with the digest of a model that a worker serves from now on.
        """
        self._numbers = range(workers)
        self._start_process = start
        self._timeouts = timeouts
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_restart = on_restart
        self._on_stop = on_stop
        self._on_swap = on_swap
        self._workers: dict[int, Worker] = {}
        self._restarts = Restarts()
        self._unsettled = set(self._numbers)
        self._is_told = False
        self._is_stopping = False
        self._is_clean = True
        self._fault: ServiceError | None = None

    def run(self) -> int:
        """Run until all workers have stopped, after SIGTERM or SIGINT.

        Returns:
            0 if they had answered all they held, 1 if not.

        Raises:
            ServiceError: no worker starts.
        """
        asyncio.run(self._run())
        if self._fault is not None:
            raise self._fault
        return 0 if self._is_clean else 1

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for told in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(told, self._stop, told)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        for number in self._numbers:
            self._start(number)
        while not self._ended.is_set():
            self._kill_hanging()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _CHECK_S)

    def _start(self, number: int) -> None:
        if self._is_stopping:
            return
        try:
            process, end = self._start_process(number)
        except OSError:
            _LOG.exception("worker does not start")
            self._loop.call_later(self._restarts.note_end(number, served_s=None), self._start, number)
            return
        worker = self._workers[number] = Worker(process, Channel(end), monotonic())
        self._loop.add_reader(end.fileno(), self._hear, number, worker)

    def _hear(self, number: int, worker: Worker) -> None:
        messages = worker.channel.hear()
        worker.heard = monotonic()
        if messages is None:
            self._bury(number, worker)
            return
        for message in messages:
            if "failed" in message:
                worker.fault = heard_error(message)
            elif "swapped" in message:
                self._on_swap(message["swapped"])
            elif not self._is_stopping:
                worker.ready = monotonic()
                self._restarts.note_ready()
                self._settle(number, message["model"])

    def _bury(self, number: int, worker: Worker) -> None:
        """Go on after the end of a worker."""
        self._loop.remove_reader(worker.channel.fileno())
        worker.channel.close()
        worker.process.kill()  # one that only closed its channel is of no use either
        code = worker.process.wait()
        del self._workers[number]
        self._on_end(number)
        if self._is_stopping:
            self._is_clean &= code == 0 or worker.ready is None
        else:
            self._replace(number, worker, code)
        if not self._workers and self._is_stopping:
            self._ended.set()

    def _replace(self, number: int, worker: Worker, code: int) -> None:
        if worker.fault is not None and not self._is_told:
            self._give_up(worker.fault)  # what one worker cannot start with, no other can
            return
        served_s = None if worker.ready is None else monotonic() - worker.ready
        delay_s = self._restarts.note_end(number, served_s=served_s)
        fields: dict[str, object] = {"worker": number, "exit_code": code, "restart_in_s": delay_s}
        if worker.fault is not None:
            fields["reason"] = str(worker.fault)
        _LOG.error("worker ended", extra={"fields": fields})
        if self._restarts.is_hopeless and not any(other.ready for other in self._workers.values()):
            ended = f"all attempts failed, the last with exit code {code}; see the log"
            self._give_up(WorkersError(f"no worker could start: {ended}"))
            return
        self._on_restart()
        self._settle(number)
        self._loop.call_later(delay_s, self._start, number)

    def _settle(self, number: int, model: str | None = None) -> None:
        """Tell that the service is ready, once each worker serves or has failed to."""
        if model is not None:
            self._model = model
        self._unsettled.discard(number)
        if not self._is_told and not self._unsettled and any(worker.ready for worker in self._workers.values()):
            self._is_told = True
            self._on_ready(self._model)

    def _kill_hanging(self) -> None:
        now = monotonic()
        for number, worker in self._workers.items():
            allowed_s = self._timeouts.start_s if worker.ready is None else self._timeouts.silence_s
            if now - worker.heard > allowed_s and not self._is_stopping:
                if worker.ready is None:
                    worker.fault = ArtifactError(
                        "model: expected it to be loaded and its golden records to be scored within "
                        f"{allowed_s:g} s, they were not; VAEGIS_MODEL_TIMEOUT_S gives them longer"
                    )
                _LOG.error(
                    "worker hangs", extra={"fields": {"worker": number, "silent_s": round(now - worker.heard, 1)}}
                )
                worker.process.kill()

    def _reload(self) -> None:
        """Have the workers load what changed. One that does not serve yet will load it anyway."""
        for worker in self._workers.values():
            if worker.ready is not None:
                worker.process.send_signal(signal.SIGHUP)

    def _give_up(self, fault: ServiceError) -> None:
        self._fault = fault
        self._stop(signal.SIGTERM)

    def _stop(self, number: int) -> None:
        """Have the workers stop, and see that they do."""
        for worker in self._workers.values():
            if worker.ready is None:
                worker.process.kill()  # it has nothing to answer, and may lose a signal while it imports
            else:
                worker.process.send_signal(number)
        if not self._is_stopping:
            self._is_stopping = True
            self._on_stop()
            self._loop.call_later(self._timeouts.stop_s + _LATE_S, self._kill_all)
        if not self._workers:
            self._ended.set()

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()


class Restarts:
    """When a worker that ended is started again, and when the service gives up."""

    def __init__(self) -> None:
        """Begin with none."""
        self._failed_starts = 0
        self._short_lives: dict[int, int] = {}

    def note_ready(self) -> None:
        """Note that a worker began to serve: starting is possible."""
        self._failed_starts = 0

    def note_end(self, worker: int, *, served_s: float | None) -> float:
        """Note that a worker ended which served for so long, or not at all if None; return when to start the next.

        The first is started at once. Each that lives for a short time doubles the wait for its successor.
        """
        if served_s is None:
            self._failed_starts += 1
        if served_s is not None and served_s >= STABLE_S:
            self._short_lives.pop(worker, None)
            return 0.0
        short_lives = self._short_lives.get(worker, 0)
        self._short_lives[worker] = short_lives + 1
        return min(FIRST_DELAY_S * 2 ** (short_lives - 1), LONGEST_DELAY_S) if short_lives else 0.0

    @property
    def is_hopeless(self) -> bool:
        """Whether so many starts in a row failed that the next will."""
        return self._failed_starts >= MOST_FAILED_STARTS

"""The process that starts the workers of a service, replaces those that end or hang, and ends with them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from vaegis.service.errors import ArtifactError, ServiceError
from vaegis.service.http.observability.logs import configure_logs
from vaegis.service.http.observability.multiprocess_metrics import (
    PARENT,
    count_in_files,
    forget_worker,
    metrics_folder,
    restarts_counter,
)
from vaegis.service.memory_files import memory_file
from vaegis.service.model_file import Expected, content_digest, read_model_file
from vaegis.service.settings import Settings
from vaegis.service.workers.channel import Channel, failure_of
from vaegis.service.workers.worker_table import WorkerTable

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


def serve_by_workers(
    model: bytes | None,
    name: str,
    settings: Settings,
    listening: Sequence[socket.socket],
    *,
    workers: int,
    on_listening: Callable[[str], None],
) -> int:
    """Serve until SIGTERM or SIGINT; see `serving.serve` for the arguments.

    Each worker is a fresh interpreter: one that is forked off would share what onnxruntime and other libraries hold of
    threads and locks. All of them serve the same bytes, also the one that is started after the file has changed.

    Returns:
        0 if all requests in flight were answered, 1 if not.

    Raises:
        ServiceError: no worker starts, or there is no folder for their metrics.
    """
    with metrics_folder() as folder, closing(configure_logs(settings.log_level, settings.log_format)):
        count_in_files(folder, PARENT)
        supervisor = Supervisor(
            _ModelContent(model, name, settings), settings, listening, workers, folder, on_listening
        )
        asyncio.run(supervisor.run())
    if supervisor.failure is not None:
        raise supervisor.failure
    return 0 if supervisor.is_clean else 1


class _ModelContent:
    """The content of the model file that workers serve, for those that are started later.

    Attributes:
        name: Of the file, or of the folder of models.
        file: Descriptor of a file in memory; None if a folder of models is served.
    """

    def __init__(self, model: bytes | None, name: str, settings: Settings) -> None:
        self.name = name
        self._expected = Expected(settings.model_digest, settings.model_public_key)
        self._digest = None if model is None else content_digest(model)
        self.file = None if model is None else memory_file("model", model)

    def renew(self, digest: str) -> None:
        """Take the content that a worker has verified and serves from now on, if the file still has it."""
        if self.file is None or digest == self._digest:
            return
        with suppress(ServiceError):  # it is another file by now, which the workers will look at too
            model = read_model_file(Path(self.name), self._expected)
            if content_digest(model) == digest:
                os.close(self.file)
                self.file, self._digest = memory_file("model", model), digest


@dataclass
class Worker:
    """A process that serves, or is about to.

    Attributes:
        process: The process.
        channel: What it tells.
        last_sign: When it gave the last sign of life, in seconds of a clock that never goes back.
        ready: Since when it serves; None if it does not yet.
        failure: Why it does not start; None if it did not say.
    """

    process: subprocess.Popen[bytes]
    channel: Channel
    last_sign: float
    ready: float | None = None
    failure: ServiceError | None = None


class Supervisor:
    """Keeps a number of workers running until SIGTERM or SIGINT.

    Attributes:
        failure: Why no worker starts; None if they do.
        is_clean: Whether all workers that stopped had answered what they held.
    """

    def __init__(
        self,
        model: _ModelContent,
        settings: Settings,
        listening: Sequence[socket.socket],
        workers: int,
        metrics: Path,
        on_listening: Callable[[str], None],
    ) -> None:
        self._model = model
        self._settings = settings
        self._listening = listening
        self._table = WorkerTable(workers)
        self._metrics = metrics
        self._on_listening = on_listening
        self._files = {
            "table": self._table.file,
            "token_buckets": memory_file("token_buckets"),
            "checked": memory_file("checked"),
        }
        self._workers: dict[int, Worker] = {}
        self._restarts = Restarts()
        self._count_restart = restarts_counter().inc
        self._starting = set(range(workers))
        self._model_name = ""
        self._was_ready = False
        self._is_stopping = False
        self.is_clean = True
        self.failure: ServiceError | None = None

    async def run(self) -> None:
        """Run until all workers have stopped."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(name, self._stop, name)
        self._loop.add_signal_handler(signal.SIGHUP, self._reload)
        for number in range(self._table.workers):
            self._start(number)
        while not self._ended.is_set():
            self._kill_hanging()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _CHECK_S)

    def _start(self, number: int) -> None:
        if self._is_stopping:
            return
        try:
            process, channel = self._started(number)
        except OSError:
            _LOG.exception("worker does not start")
            self._loop.call_later(self._restarts.note_end(number, served_s=None), self._start, number)
            return
        self._table.note_start(number, process.pid)
        worker = self._workers[number] = Worker(process, channel, monotonic())
        self._loop.add_reader(channel.fileno(), self._receive, number, worker)

    def _started(self, number: int) -> tuple[subprocess.Popen[bytes], Channel]:
        """Start a worker, and tell it what to serve; return its process and the other end of its channel."""
        here, there = socket.socketpair()
        listening = [each.fileno() for each in self._listening]
        passed = [there.fileno(), *listening, *self._files.values()]
        if self._model.file is not None:
            passed.append(self._model.file)
        with there:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-m", "vaegis.service.workers.worker", str(there.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
                # Where this process finds modules, the worker finds the same; an empty entry is the working folder.
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
                process_group=0,  # a terminal's Ctrl-C is for the parent alone, which passes it on
            )
        channel = Channel(here)
        message = {
            "worker": number,
            "workers": self._table.workers,
            "name": self._model.name,
            "model": self._model.file,
            "listening": listening,
        }
        settings = {"settings": self._settings.model_dump_json(), "metrics_folder": str(self._metrics)}
        channel.send(message | settings | self._files)
        return process, channel

    def _receive(self, number: int, worker: Worker) -> None:
        messages = worker.channel.receive()
        worker.last_sign = monotonic()
        if messages is None:
            self._on_worker_end(number, worker)
            return
        for message in messages:
            if "failed" in message:
                worker.failure = failure_of(message)
            elif "swapped" in message:
                self._model.renew(message["swapped"])
            elif not self._is_stopping:
                worker.ready = monotonic()
                self._restarts.note_ready()
                self._announce_when_ready(number, message["model"])

    def _on_worker_end(self, number: int, worker: Worker) -> None:
        """Go on after the end of a worker."""
        self._loop.remove_reader(worker.channel.fileno())
        worker.channel.close()
        worker.process.kill()  # one that only closed its channel is of no use either
        code = worker.process.wait()
        del self._workers[number]
        self._table.note_end(number)
        forget_worker(self._metrics, number)
        if self._is_stopping:
            self.is_clean &= code == 0 or worker.ready is None
        else:
            self._replace(number, worker, code)
        if not self._workers and self._is_stopping:
            self._ended.set()

    def _replace(self, number: int, worker: Worker, code: int) -> None:
        if worker.failure is not None and not self._was_ready:
            self._give_up(worker.failure)  # what one worker cannot start with, no other can
            return
        served_s = None if worker.ready is None else monotonic() - worker.ready
        delay_s = self._restarts.note_end(number, served_s=served_s)
        fields: dict[str, object] = {"worker": number, "exit_code": code, "restart_in_s": delay_s}
        if worker.failure is not None:
            fields["reason"] = str(worker.failure)
        _LOG.error("worker ended", extra={"fields": fields})
        if self._restarts.is_hopeless and not any(other.ready for other in self._workers.values()):
            ended = f"all attempts failed, the last with exit code {code}; see the log"
            self._give_up(WorkersError(f"no worker could start: {ended}"))
            return
        self._count_restart()
        self._announce_when_ready(number)
        self._loop.call_later(delay_s, self._start, number)

    def _announce_when_ready(self, number: int, model: str = "") -> None:
        """Say that the service is ready, once each worker serves or has failed to."""
        self._starting.discard(number)
        self._model_name = model or self._model_name
        if not self._was_ready and not self._starting and any(worker.ready for worker in self._workers.values()):
            self._was_ready = True
            self._on_listening(self._model_name)

    def _kill_hanging(self) -> None:
        now, start_s = monotonic(), self._settings.model_timeout_s
        for number, worker in self._workers.items():
            silent_s = now - worker.last_sign
            allowed_s = start_s if worker.ready is None else self._settings.worker_timeout_s
            if silent_s > allowed_s and not self._is_stopping:
                if worker.ready is None:
                    worker.failure = ArtifactError(
                        f"model: loading took too long (limit {start_s:g} s); VAEGIS_MODEL_TIMEOUT_S gives it longer"
                    )
                _LOG.error("worker hangs", extra={"fields": {"worker": number, "silent_s": round(silent_s, 1)}})
                worker.process.kill()
                worker.last_sign = now  # its end may take longer than until the next check

    def _reload(self) -> None:
        """Have the workers load what changed. One that does not serve yet will load it anyway."""
        for worker in self._workers.values():
            if worker.ready is not None:
                worker.process.send_signal(signal.SIGHUP)

    def _give_up(self, failure: ServiceError) -> None:
        self.failure = failure
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
            for each in self._listening:
                each.close()
            stop_s = self._settings.drain_delay_s + self._settings.shutdown_grace_s
            self._loop.call_later(stop_s + _LATE_S, self._kill_all)
        if not self._workers:
            self._ended.set()

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.process.kill()


class Restarts:
    """When a worker that ended is started again, and when the service gives up."""

    def __init__(self) -> None:
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

"""A model served by several processes, which this one starts and keeps running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from vaegis.service.errors import ServiceError
from vaegis.service.http.logs import configure_logs
from vaegis.service.http.multiprocess_metrics import (
    PARENT,
    count_in_files,
    forget_worker,
    metrics_folder,
    restarts_counter,
)
from vaegis.service.http.workers.channel import Channel, Message
from vaegis.service.http.workers.memory_file import memory_file
from vaegis.service.http.workers.shared_memory import WorkerTable
from vaegis.service.http.workers.supervisor import Supervisor, WorkerTimeouts
from vaegis.service.model_file import Expected, content_digest, read_model_file
from vaegis.service.settings import Settings


def serve_by_workers(
    model: bytes | None,
    name: str,
    settings: Settings,
    listening: socket.socket,
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
    table = WorkerTable(workers)
    files = {
        "table": table.file,
        "token_buckets": memory_file("token_buckets"),
        "checked": memory_file("checked"),
        "listening": listening.fileno(),
    }
    models = _ModelBytes(model, Path(name), Expected(settings.model_digest, settings.model_public_key))
    with metrics_folder() as folder, closing(configure_logs(settings.log_level, settings.log_format)):
        told = {
            "settings": settings.model_dump_json(),
            "name": name,
            "workers": workers,
            "metrics_folder": str(folder),
            **files,
        }

        def start(number: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
            passed = [*files.values(), *models.files]
            process, channel = _started(told | {"worker": number, "model": models.file}, passed)
            table.note_start(number, process.pid)
            return process, channel

        def forget(number: int) -> None:
            table.note_end(number)
            forget_worker(folder, number)

        count_in_files(folder, PARENT)
        return Supervisor(
            workers,
            start,
            timeouts=WorkerTimeouts(
                start_s=settings.model_timeout_s,
                silence_s=settings.worker_timeout_s,
                stop_s=settings.drain_delay_s + settings.shutdown_grace_s,
            ),
            on_ready=on_listening,
            on_end=forget,
            on_restart=restarts_counter().inc,
            on_stop=listening.close,
            on_swap=models.renew,
        ).run()


class _ModelBytes:
    """The content of the model file that workers serve, for those that are started later.

    Attributes:
        file: Descriptor of a file in memory; None if a folder of models is served.
    """

    def __init__(self, model: bytes | None, path: Path, expected: Expected) -> None:
        """Begin with the content ``model`` of the file at ``path``."""
        self._path = path
        self._expected = expected
        self._digest = None if model is None else content_digest(model)
        self.file = None if model is None else memory_file("model", model)

    @property
    def files(self) -> list[int]:
        """The descriptors to pass on."""
        return [] if self.file is None else [self.file]

    def renew(self, digest: str) -> None:
        """Take the content that a worker has verified and serves from now on, if the file still has it."""
        if self.file is None or digest == self._digest:
            return
        with suppress(ServiceError):  # it is another file by now, which the workers will look at too
            model = read_model_file(self._path, self._expected)
            if content_digest(model) == digest:
                os.close(self.file)
                self.file, self._digest = memory_file("model", model), digest


def _started(told: Message, files: Sequence[int]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a worker, and tell it what to serve; return its process and the other end of its channel."""
    here, there = socket.socketpair()
    with there:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "vaegis.service.http.workers.worker", str(there.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[there.fileno(), *files],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())},
            process_group=0,  # a terminal's Ctrl-C is for the parent alone, which passes it on
        )
    Channel(here).tell(told)
    return process, here


def _import_path() -> list[str]:
    """Return where this process finds modules, so that a worker finds the same."""
    return [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - an empty entry is the working folder

"""A model served by several processes, which this one starts and keeps running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from vaegis.service.http.logs import configure_logs
from vaegis.service.http.multiprocess_metrics import (
    PARENT,
    count_in_files,
    forget_worker,
    metrics_folder,
    restarts_counter,
)
from vaegis.service.http.workers.channel import Channel, Message
from vaegis.service.http.workers.shared_memory import WorkerTable, memory_file
from vaegis.service.http.workers.supervisor import Supervisor, WorkerTimeouts
from vaegis.service.settings import Settings


def serve_by_workers(
    model: bytes,
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
        "model": memory_file("model", model),
        "listening": listening.fileno(),
    }
    with metrics_folder() as folder, closing(configure_logs(settings.log_level, settings.log_format)):
        told = {
            "settings": settings.model_dump_json(),
            "name": name,
            "workers": workers,
            "metrics_folder": str(folder),
            **files,
        }

        def start(number: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
            process, channel = _started(told | {"worker": number}, tuple(files.values()))
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
        ).run()


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

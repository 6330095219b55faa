"""A model served by several processes, which this one starts and keeps running."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

from vaegis.service.http.logs import configure_logs
from vaegis.service.http.workers.board import Board, memory_file
from vaegis.service.http.workers.channel import Channel
from vaegis.service.http.workers.supervisor import Supervisor
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
        ServiceError: no worker starts.
    """
    board = Board(workers)
    board.parent.pid = os.getpid()
    files = {
        "board": board.file,
        "ledger": memory_file("ledger"),
        "model": memory_file("model", model),
        "listening": listening.fileno(),
    }
    setup = {"settings": settings.model_dump_json(), "name": name, "workers": workers, **files}

    def start(number: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
        here, there = socket.socketpair()
        with there:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-m", "vaegis.service.http.workers.worker", str(there.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[there.fileno(), *files.values()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())},
                process_group=0,  # a terminal's Ctrl-C is for the parent alone, which passes it on
            )
        Channel(here).tell(setup | {"worker": number})
        return process, here

    supervisor = Supervisor(
        board,
        start,
        start_timeout_s=settings.model_timeout_s,
        worker_timeout_s=settings.worker_timeout_s,
        stop_s=settings.drain_delay_s + settings.shutdown_grace_s,
        on_ready=on_listening,
        on_stop=listening.close,
    )
    with closing(configure_logs(settings.log_level, settings.log_format)):
        return supervisor.run()


def _import_path() -> list[str]:
    """Return where this process finds modules, so that a worker finds the same."""
    return [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - an empty entry is the working folder

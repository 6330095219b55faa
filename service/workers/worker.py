"""A worker process. Its parent tells it what to serve, and it ends with its parent."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Final

from vaegis.service.errors import ServiceError
from vaegis.service.http.observability.multiprocess_metrics import remove_metrics_folder
from vaegis.service.memory_files import content_of
from vaegis.service.settings import Settings
from vaegis.service.workers.channel import Channel, failure_message
from vaegis.service.workers.serving import WorkerContext, serve
from vaegis.service.workers.worker_table import WorkerTable

_LATE_S: Final = 5.0


def main(channel_file: int) -> int:
    """Serve what the first message over the channel says.

    Returns:
        The exit code: 0 after a signal to stop, 1 if there is nothing to serve.
    """
    channel = Channel(socket.socket(fileno=channel_file))
    messages = channel.receive()
    if not messages:
        return 1
    (message,) = messages
    settings = Settings.model_validate_json(message["settings"])
    metrics_folder = Path(message["metrics_folder"])
    is_orphan = threading.Event()
    end = partial(_end_with_parent, channel, settings.shutdown_grace_s, metrics_folder, is_orphan)
    threading.Thread(target=end, daemon=True).start()
    try:
        serve(
            None if message["model"] is None else content_of(message["model"]),
            message["name"],
            settings,
            [socket.socket(fileno=number) for number in message["listening"]],
            on_listening=lambda model: channel.send({"model": model}),
            worker=WorkerContext(
                number=message["worker"],
                table=WorkerTable(message["workers"], message["table"]),
                channel=channel,
                metrics_folder=metrics_folder,
                token_buckets=Path(f"/dev/fd/{message['token_buckets']}"),
                checked_file=message["checked"],
            ),
        )
    except ServiceError as error:
        channel.send(failure_message(error))
        return 1
    except KeyboardInterrupt:
        return 1  # stopped before it served
    finally:
        if is_orphan.is_set():
            remove_metrics_folder(metrics_folder)
    return 0


def _end_with_parent(channel: Channel, grace_s: float, metrics_folder: Path, is_orphan: threading.Event) -> None:
    """Stop when the parent has: nobody would replace this worker, and the next parent needs the address."""
    while channel.receive() is not None:
        pass
    is_orphan.set()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(grace_s + _LATE_S)
    remove_metrics_folder(metrics_folder)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

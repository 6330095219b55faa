"""Peers, each in an environment of its own under build/peers, which pip fills at the first run."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.conditions import ROOT
from benchmarks.serving.bodies import Rows, json_bytes, objects
from benchmarks.serving.models import COLUMNS
from benchmarks.serving.servers import Server, listening

FOLDER: Final = ROOT / "build" / "peers"
_APPS: Final = "benchmarks.serving.peers"


@dataclass(frozen=True, slots=True)
class Peer:
    """A model server from PyPI.

    Attributes:
        name: As PyPI has it.
        path: Where it takes records.
        body: Writes records as it takes them.
        command: Starts it, given the folder of its commands and a port.
    """

    name: str
    path: str
    body: Callable[[Rows], bytes]
    command: Callable[[Path, int], Sequence[str | Path]]


def records_body(rows: Rows) -> bytes:
    """Return a list of objects under the key `records`."""
    return json_bytes({"records": objects(rows)})


def tensor_body(rows: Rows) -> bytes:
    """Return a request of the Open Inference Protocol V2 with one tensor of numbers."""
    flat = [value for row in rows for value in row]
    tensor: dict[str, Any] = {"name": "numbers", "shape": [len(rows), len(COLUMNS)], "datatype": "FP64", "data": flat}
    return json_bytes({"inputs": [tensor]})


def _mlserver(commands: Path, port: int) -> Sequence[str | Path]:
    folder = FOLDER / "mlserver-run"
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        others = {"grpc_port": one.getsockname()[1], "metrics_port": two.getsockname()[1]}
    # No parallel workers: a process of their own costs more than it brings on one core.
    settings = {"host": "127.0.0.1", "http_port": port, **others, "parallel_workers": 0, "debug": False}
    model = {"name": "detector", "implementation": f"{_APPS}.mlserver_app.Detector"}
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    return [commands / "mlserver", "start", folder]


PEERS: Final = (
    Peer("mlserver", "/v2/models/detector/infer", tensor_body, _mlserver),
    Peer(
        "bentoml",
        "/score",
        records_body,
        lambda commands, port: [commands / "bentoml", "serve", f"{_APPS}.bentoml_app:Detector", "--port", str(port)],
    ),
    Peer(
        "litserve",
        "/predict",
        records_body,
        lambda commands, port: [commands / "python", "-m", f"{_APPS}.litserve_app", str(port)],
    ),
)


@contextmanager
def serving(peer: Peer, model: Path) -> Iterator[Server]:
    """Run a peer on the server's core; its environment is made if it is missing."""
    commands = installed(peer)
    variables = {"SERVING_MODEL": str(model), "PYTHONPATH": str(ROOT), "BENTOML_DO_NOT_TRACK": "True"}
    with listening(peer.name, lambda port: peer.command(commands, port), variables, peer.path, peer.path) as server:
        yield server


def installed(peer: Peer) -> Path:
    """Return the folder of commands of a peer's environment."""
    commands = FOLDER / peer.name / "bin"
    complete = FOLDER / peer.name / "complete"
    if not complete.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER / peer.name], check=True)
        subprocess.run([commands / "python", "-m", "pip", "install", "--quiet", peer.name, "onnxruntime"], check=True)
        complete.touch()
    return commands


def version(peer: Peer) -> str:
    """Return the version that is installed."""
    probe = f"import importlib.metadata as m; print(m.version({peer.name!r}))"
    done = subprocess.run([installed(peer) / "python", "-c", probe], capture_output=True, text=True, check=True)
    return done.stdout.strip()

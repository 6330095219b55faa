"""`make up-local` says what is in its way before it starts anything."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

LOCAL = Path(__file__).parents[3] / "deploy" / "local.py"


def test_a_port_that_is_taken_is_named_before_anything_starts(golden_model, tmp_path):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # taken by another program, which is as good
        ended = subprocess.run(
            [sys.executable, LOCAL, "--model", golden_model, "--folder", tmp_path],
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith("port 8080, for vaegis: ")
    assert ended.stderr.endswith("make up-local FREE_PORTS=1\n")
    assert not list(tmp_path.iterdir())

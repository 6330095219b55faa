"""Running a command, and measuring its seconds and the peak of its memory."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


def run_measured(command: Sequence[str | Path]) -> tuple[float, int]:
    """Run a command, and return its seconds and the peak of its resident memory in bytes.

    The peak of a process counts from its fork, so who calls this has to be smaller than the command.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        line = shlex.join(map(str, command))
        raise SystemExit(f"expected exit code 0 of `{line}`, got {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024  # Linux counts in KiB

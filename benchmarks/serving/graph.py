"""onnxruntime alone, in process: how often the exported graph can be run, which no server can beat.

It is run on so many records at a time, whole or in chunks, whichever is faster here.

    python -m benchmarks.serving.graph MODEL --records 1000 --seconds 4
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.conditions import ROOT
from benchmarks.serving.closed_loop import Slice
from benchmarks.serving.exported import open_exported
from benchmarks.serving.models import records
from benchmarks.serving.servers import SERVER_CORE, WHOLE

NAME: Final = "onnxruntime alone"
CHUNKS: Final = (WHOLE, 256, 128, 64)
"""Records of one run of the graph that are tried, for batches that are larger."""

_TRIAL_RUNS: Final = 7


def graph_slice(model: Path, n: int, *, seconds: float) -> Slice:
    """Run the graph on the server's core for some seconds, in the chunks that are fastest, in a process of its own."""
    command = ["taskset", "--cpu-list", str(SERVER_CORE), sys.executable, "-m", "benchmarks.serving.graph", str(model)]
    command += ["--records", str(n), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    told = json.loads(done.stdout)
    return Slice(told["runs"], told["seconds"], None, None, told["cpu_seconds"], None)


def main() -> int:
    """Print how many batches were run in how many seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parsed = parser.parse_args()
    numbers = records(parsed.records, seed=0)
    choices = [open_exported(parsed.model, chunk_records=c) for c in CHUNKS if c == WHOLE or c < parsed.records]
    fastest = min(choices, key=lambda model: _seconds(partial(model.scores, numbers)))
    runs, begin, cpu = 0, time.perf_counter(), os.times()
    while time.perf_counter() - begin < parsed.seconds:
        fastest.scores(numbers)
        runs += 1
    seconds, after = time.perf_counter() - begin, os.times()
    used = after.user + after.system - cpu.user - cpu.system
    print(json.dumps({"runs": runs, "seconds": seconds, "cpu_seconds": used, "chunk": fastest.chunk_records}))
    return 0


def _seconds(work: partial[object]) -> float:
    """Return the median time of some runs."""
    taken = []
    for _ in range(_TRIAL_RUNS):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return median(taken)


if __name__ == "__main__":
    sys.exit(main())

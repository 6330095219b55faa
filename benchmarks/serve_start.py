"""Measure `vaegis serve`: seconds to the first answer of /readyz, and the largest process after scoring."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pyarrow.parquet as pq
from conditions import COMMANDS, SAMPLE, demo_model, save

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 200 * 10**6
RECORDS = 10_000
BATCH_RECORDS = 1000
TIMEOUT_S = 60


def main() -> int:
    """Measure several starts, save the figures, and return 1 if a median is above its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="number of starts (%(default)s)")
    parser.add_argument("--model", type=Path, help="measured as it is (the demo's, trained by the code of now)")
    parsed = parser.parse_args()
    model = parsed.model or demo_model()
    records = pq.read_table(SAMPLE).slice(0, RECORDS).to_pylist()
    batches = [json.dumps(records[at : at + BATCH_RECORDS]).encode() for at in range(0, RECORDS, BATCH_RECORDS)]
    measured = [measure(model, batches) for _ in range(parsed.repeats)]
    seconds, resident = (sorted(figures) for figures in zip(*measured, strict=True))
    figures: dict[str, object] = {
        "start_seconds": {**spread([round(value, 3) for value in seconds]), "limit": LIMIT_SECONDS},
        "resident_bytes": {**spread(resident), "limit": LIMIT_BYTES, "after_records": RECORDS},
        "model_bytes": model.stat().st_size,
        "n": parsed.repeats,
    }
    save("serve_start", figures)
    return int(statistics.median(seconds) >= LIMIT_SECONDS or statistics.median(resident) >= LIMIT_BYTES)


def measure(model: Path, batches: list[bytes]) -> tuple[float, int]:
    """Start the service, score the batches and stop it; return seconds until ready and resident bytes in the end."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [COMMANDS / "vaegis", "serve", model, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        address = re.search(r"http://\S+$", line.strip())
        if address is None:
            raise SystemExit(f"expected the service to name its address, got {line!r}")
        answered(f"{address[0]}/readyz")
        seconds = time.perf_counter() - begin
        for batch in batches:
            answered(Request(f"{address[0]}/score", batch, {"Content-Type": "application/json"}))
        return seconds, max(map(resident_bytes, (process.pid, *children(process.pid))))
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def answered(request: str | Request) -> None:
    """Wait for the whole of an answer; one that is no success raises."""
    with urlopen(request, timeout=TIMEOUT_S) as answer:
        answer.read()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise SystemExit(f"expected VmRSS of process {pid}, got none")
    return int(found[1]) * 1024


def spread(ascending: list[float]) -> dict[str, float]:
    """Return the least, the median and the greatest of some figures."""
    return {"least": ascending[0], "median": statistics.median(ascending), "greatest": ascending[-1]}


if __name__ == "__main__":
    sys.exit(main())

"""Train on a folder of CSV files that is larger than the memory allowed, and measure the peak of what was used."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from conditions import COMMANDS, SAMPLE, save

GIGABYTE = 1e9
LIMIT_BYTES = 1.5e9
JITTER = 0.5  # the sample's readings are whole numbers
DECIMALS = 3
RECORDS_PER_CHUNK = 50_000
BYTES_PER_FILE = 1e8


def main() -> int:
    """Make the set, train on it, save the figures, and return 1 if the peak is too high."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3.0, help="size of the set on disk (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where the set is made for as long as this runs")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=parsed.folder) as folder:
        data, model = Path(folder) / "data", Path(folder) / "model.onnx"
        records = make_set(data, parsed.gigabytes * GIGABYTE)
        size = sum(path.stat().st_size for path in data.iterdir())
        files = len(list(data.iterdir()))
        print(f"made {size / GIGABYTE:.2f} GB in {files} CSV files, {records:,} records", flush=True)
        seconds, peak = train(data, model)
    figures: dict[str, object] = {
        "set_bytes": size,
        "set_files": files,
        "set_records": records,
        "peak_resident_bytes": peak,
        "limit_bytes": int(LIMIT_BYTES),
        "seconds": round(seconds, 1),
        "n": 1,
    }
    save("stream_training", figures)
    return int(peak >= LIMIT_BYTES)


def make_set(folder: Path, size_bytes: float) -> int:
    """Write the sample again and again, each time with fresh jitter, and return the number of records.

    Chunks are small so that this process stays small: the peak of a process counts from its fork.
    """
    folder.mkdir()
    sample = pq.read_table(SAMPLE)
    values = np.stack([column.to_numpy() for column in sample.columns], axis=1).astype(np.float64)
    generator = np.random.default_rng(0)
    written = records = number = 0
    while written < size_bytes:
        path = folder / f"part-{number:04}.csv"
        with path.open("wb") as file, pc.CSVWriter(file, _schema(sample)) as writer:
            while file.tell() < min(BYTES_PER_FILE, size_bytes - written):
                chosen = values[generator.integers(len(values), size=RECORDS_PER_CHUNK)]
                jittered = (chosen + generator.uniform(-JITTER, JITTER, chosen.shape)).round(DECIMALS)
                writer.write_table(pa.table(list(jittered.T), schema=_schema(sample)))
                records += RECORDS_PER_CHUNK
        written += path.stat().st_size
        number += 1
    return records


def train(data: Path, model: Path) -> tuple[float, int]:
    """Train by the command, and return its seconds and the peak of its resident memory in bytes."""
    begin = time.perf_counter()
    process = subprocess.Popen([COMMANDS / "vaegis-train", data, "-o", model])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"expected vaegis-train to end with exit code 0, got {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024  # Linux counts in KiB


def _schema(sample: pa.Table) -> pa.Schema:
    return pa.schema([(name, pa.float64()) for name in sample.schema.names])


if __name__ == "__main__":
    sys.exit(main())

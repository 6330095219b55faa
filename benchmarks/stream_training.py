"""Train on a folder of CSV files that is larger than the memory allowed, and measure the peak of what was used."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.csv as pc
from conditions import COMMANDS, save
from jittered_shuttle import chunks, sample_schema
from peak_memory import run_measured

GIGABYTE = 1e9
LIMIT_BYTES = 1.5e9
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
        seconds, peak = run_measured([COMMANDS / "vaegis-train", data, "-o", model])
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
    tables = chunks(np.random.default_rng(0))
    written = records = number = 0
    while written < size_bytes:
        path = folder / f"part-{number:04}.csv"
        with path.open("wb") as file, pc.CSVWriter(file, sample_schema()) as writer:
            while file.tell() < min(BYTES_PER_FILE, size_bytes - written):
                table = next(tables)
                writer.write_table(table)
                records += table.num_rows
        written += path.stat().st_size
        number += 1
    return records


if __name__ == "__main__":
    sys.exit(main())

"""Make the demo's sample from the Statlog (Shuttle) set, as the ADBench collection publishes it (`32_shuttle.npz`)."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SEED = 1
LIVE_NORMAL_RECORDS = 15_000
COLUMNS = ("time", *(f"sensor_{number}" for number in range(1, 9)))
LABEL = "anomaly"
FOLDER = Path(__file__).parent / "shuttle"


def main() -> None:
    """Read the file named on the command line, and write `shuttle/train.parquet` and `shuttle/live.parquet`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="32_shuttle.npz, with the arrays X and y")
    with np.load(parser.parse_args().source) as source:
        records, anomaly = source["X"], source["y"].astype(bool)
    train, live = split(anomaly, np.random.default_rng(SEED))
    FOLDER.mkdir(exist_ok=True)
    write(records[train], None, FOLDER / "train.parquet")
    write(records[live], anomaly[live], FOLDER / "live.parquet")


def split(anomaly: NDArray[np.bool_], generator: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows to train on, all normal, and the live rows, which keep the set's share of anomalies."""
    normal = generator.permutation(np.flatnonzero(~anomaly))
    anomalous = generator.permutation(np.flatnonzero(anomaly))
    live_anomalies = round(LIVE_NORMAL_RECORDS * anomalous.size / normal.size)
    live = np.concatenate([normal[:LIVE_NORMAL_RECORDS], anomalous[:live_anomalies]])
    return np.sort(normal[LIVE_NORMAL_RECORDS:]), np.sort(live)


def write(records: NDArray[np.int16], anomaly: NDArray[np.bool_] | None, path: Path) -> None:
    """Write records of shape (n, 9), and their labels where there are any."""
    columns = {name: pa.array(records[:, at]) for at, name in enumerate(COLUMNS)}
    if anomaly is not None:
        columns[LABEL] = pa.array(anomaly)
    pq.write_table(pa.table(columns), path, compression="zstd", compression_level=19)
    print(f"{path}: {len(records):,} records, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

"""Measure what labels of 30 calibration records bring where anomalies are left in the history.

A random half of a set's normal records trains, with anomalies among it that are 0, 1%, 5% or 10% of the history. The
other records test. Each history is trained as it is, with `calibration.history_anomalies` at its share, and with the
file of `--review 30` in which all anomalies are labelled. Prints recall and false alarms at alpha = 1%, by flags.

    python -m benchmarks.review --set 27_PageBlocks
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.quality.protocol import DATA, load_set
from benchmarks.quality.report import table
from vaegis.service.model import load
from vaegis.training.config import load_config, with_overrides
from vaegis.training.progress import Progress
from vaegis.training.review import LABEL, ROW, review_path
from vaegis.training.train import train

SHARES = (0.0, 0.01, 0.05, 0.1)
REVIEWED = 30


def main() -> int:
    """Train each history in each way, and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", default="27_PageBlocks", help="name of the set (%(default)s)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the halves and the anomalies (%(default)s)")
    parser.add_argument("--config", type=Path, help="training settings, a train.toml")
    parsed = parser.parse_args()
    records, labels = load_set(parsed.data, parsed.set)
    config, rows = load_config(parsed.config), []
    for share in SHARES:
        training, is_left, test, is_anomaly = _history(records, labels, share, parsed.seed)
        with tempfile.TemporaryDirectory() as name:
            data, model = Path(name) / "history.parquet", Path(name) / "model.onnx"
            pq.write_table(_table(training), data)

            def found(settings: dict[str, object]) -> str:
                progress = Progress(Console(file=io.StringIO()))
                train(data, model, with_overrides(config, settings), progress, review=REVIEWED)  # noqa: B023
                flags = load(model).score(_table(test), alpha=0.01).is_anomaly  # noqa: B023
                return f"{flags[is_anomaly].mean():.1%} / {flags[~is_anomaly].mean():.1%}"  # noqa: B023

            cells = [found({})]
            if share:
                labelled = Path(name) / "labels.csv"
                count = _label(review_path(model), labelled, is_left)
                cells += [found({"calibration.history_anomalies": share}), found({"calibration.labels": str(labelled)})]
                cells.append(str(count))
            rows.append([f"{share:.0%}", str(int(is_left.sum())), *cells])
            print(rows[-1], flush=True)
    header = ["anomalies in the history", "their number", "as it is", "history_anomalies", "review of 30", "labelled"]
    print(table(header, (row + [""] * (len(header) - len(row)) for row in rows)))
    return 0


def _history(
    records: NDArray[np.float64], labels: NDArray[np.bool_], share: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the history, which of it are anomalies, the test records, and which of these are anomalies."""
    random = np.random.default_rng(seed)
    normal, odd = random.permutation(np.flatnonzero(~labels)), random.permutation(np.flatnonzero(labels))
    half = normal.size // 2
    most = round(max(SHARES) * half)
    left = odd[: round(share / (1 - share) * half)]
    history = random.permutation(np.concatenate([normal[:half], left]))
    test = np.concatenate([normal[half:], odd[most + most // 8 :]])  # the same at each share
    return records[history], labels[history], records[test], labels[test]


def _table(records: NDArray[np.float64]) -> pa.Table:
    return pa.table({f"x{at}": values for at, values in enumerate(records.T)})


def _label(review: Path, labelled: Path, is_anomaly: NDArray[np.bool_]) -> int:
    """Write the review with the true labels, and return how many are anomalies."""
    with review.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row[LABEL] = str(int(is_anomaly[int(row[ROW]) - 1]))
    with labelled.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return sum(row[LABEL] == "1" for row in rows)


if __name__ == "__main__":
    sys.exit(main())

"""Tables of OddBench: real ones with a split of their own, in two halves, one to choose on and one to confirm on.

OddBench is part of the public repository psorus/Outformer, which has no licence file: its tables are in no commit and
in no release of this project. To make a folder of them, clone that repository, read each file of
``benchmarks/oddbench`` (arrays ``train``, ``test`` and ``test_labels``, columns as numbers) and write those arrays as
``NAME.npz``. The published figures are of 100 tables whose names an MD5 digest divides by three without remainder;
defaults may be chosen on those, and only on those.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from benchmarks.quality.protocol import MAX_TRAINING_RECORDS, Halves, MissingDataError, SetSize

MAX_TEST_RECORDS = 20_000

CHOSEN_ON, CONFIRMED_ON = "chosen on", "confirmed on"
HALVES = (CHOSEN_ON, CONFIRMED_ON)
"""Defaults are chosen on the tables of the first half; those of the second only show whether that was overfitting."""

_FIRST_SEED = 2000  # of the samples


def half_of(name: str) -> str:
    """Return the half of a table, which depends on its name alone.

    >>> half_of("BirdTracking")
    'confirmed on'
    """
    return HALVES[hashlib.sha256(name.encode()).digest()[0] % 2]


def tables(folder: Path, most: int | None = None) -> tuple[SetSize, ...]:
    """Return the tables of a folder by name, at most ``most`` of each half.

    Raises:
        MissingDataError: There are none.
    """
    names = sorted(path.stem for path in folder.glob("*.npz"))
    if not names:
        raise MissingDataError(
            f"{folder}: expected tables of OddBench as .npz files, got none; benchmarks/quality/oddbench.py says how "
            "to make them"
        )
    kept = [name for half in HALVES for name in [each for each in names if half_of(each) == half][:most]]
    return tuple(_size(folder, name) for name in sorted(kept))


def has_own_split(data: Path, name: str) -> bool:
    """Return whether a file of a folder holds a table with its own split, rather than one set."""
    path = data / f"{name}.npz"
    if not path.is_file():
        return False
    with np.load(path, allow_pickle=False) as arrays:
        return "train" in arrays.files


def load_table(folder: Path, name: str, seed: int) -> Halves:
    """Return the split of a table, each side a random sample of 20,000 records at most.

    Args:
        folder: Of the tables.
        name: Of the table.
        seed: Of the samples.
    """
    random = np.random.RandomState(_FIRST_SEED + seed)
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        training, test = (np.asarray(arrays[part], dtype=np.float64) for part in ("train", "test"))
        labels = np.asarray(arrays["test_labels"]).ravel() == 1
    trains = np.sort(random.permutation(len(training))[:MAX_TRAINING_RECORDS])
    tests = np.sort(random.permutation(len(test))[:MAX_TEST_RECORDS])
    return Halves(training=training[trains], test=test[tests], labels=labels[tests])


def _size(folder: Path, name: str) -> SetSize:
    halves = load_table(folder, name, seed=0)
    # As if it were split at random, from which the order of cases by cost is told.
    normal = len(halves.training) + int((~halves.labels).sum())
    anomalies = int(halves.labels.sum())
    return SetSize(name, normal + anomalies, halves.training.shape[1], anomalies)

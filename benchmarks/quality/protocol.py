"""The public sets, and the "random half" protocol that every figure of this package follows.

A random half of a set's normal records trains, the other half and all anomalies test. Whatever is fitted, scaling
included, sees the training half only; labels serve the final figure only, and nothing is tuned per set. A table that
comes with a split of its own keeps it (`benchmarks.quality.oddbench`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.conditions import ROOT

DATA = ROOT.parent / "shared" / "data" / "benchmark"
"""Where the sets are unless a command is told otherwise."""

SEEDS = (0, 1, 2)
MAX_TRAINING_RECORDS = 20_000
MAX_TEST_RECORDS = 50_000
SMALL_BELOW_RECORDS = 1000
"""A set with fewer records than this is in the group ``small``."""

SMALL, ALL, NONE = "small", "all", "none"
_FIRST_SEED = 1000  # of the permutations, so that others can be given the same halves


class MissingDataError(Exception):
    """The sets, or one that was asked for, are not there."""


@dataclass(frozen=True, slots=True)
class SetSize:
    """A set as its collection's inventory lists it."""

    name: str
    records: int
    columns: int
    anomalies: int

    @property
    def training_records(self) -> int:
        """Normal records that train."""
        return min(MAX_TRAINING_RECORDS, _half(self.records - self.anomalies))

    @property
    def test_records(self) -> int:
        """Records that test, of both labels."""
        normal = self.records - self.anomalies
        return min(MAX_TEST_RECORDS, normal - _half(normal) + self.anomalies)


@dataclass(frozen=True, slots=True)
class Halves:
    """A set, split for one seed.

    Attributes:
        training: Records to train on, shape (m, d).
        test: Records to score, shape (n, d): the normal ones first.
        labels: Which test records are anomalies, shape (n,).
    """

    training: NDArray[np.float64]
    test: NDArray[np.float64]
    labels: NDArray[np.bool_]


def inventory(data: Path) -> tuple[SetSize, ...]:
    """Return all sets of a folder, in the order of its ``inventory.csv``.

    Raises:
        MissingDataError: The folder has no inventory.
    """
    path = data / "inventory.csv"
    if not path.is_file():
        raise MissingDataError(f"{path}: expected the inventory of the benchmark sets, got no file; --data names them")
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(
            SetSize(row["name"], int(row["n"]), int(row["d"]), int(row["n_anom"])) for row in csv.DictReader(file)
        )


def chosen_sets(data: Path, wanted: str) -> tuple[SetSize, ...]:
    """Return the sets that a command asks for, in the order of the inventory.

    Args:
        data: Folder of the sets.
        wanted: ``all``, ``none``, ``small`` (fewer than `SMALL_BELOW_RECORDS` records), or names with commas between.

    Raises:
        MissingDataError: The folder has no inventory, or no set of a name.
    """
    if wanted == NONE:
        return ()
    sets = inventory(data)
    if wanted == ALL:
        return sets
    if wanted == SMALL:
        return tuple(each for each in sets if each.records < SMALL_BELOW_RECORDS)
    names = {name.strip() for name in wanted.split(",")}
    unknown = sorted(names - {each.name for each in sets})
    if unknown:
        known = ", ".join(each.name for each in sets)
        raise MissingDataError(f"--sets: expected {ALL}, {SMALL} or names among {known}; got {unknown[0]!r}")
    return tuple(each for each in sets if each.name in names)


def load_set(data: Path, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the records of a set, shape (n, d), and which are anomalies, shape (n,).

    Raises:
        MissingDataError: There is no such file.
    """
    path = data / f"{name}.npz"
    if not path.is_file():
        raise MissingDataError(f"{path}: expected a set with the arrays X and y, got no file")
    with np.load(path) as arrays:
        return np.asarray(arrays["X"], dtype=np.float64), np.asarray(arrays["y"]).ravel() == 1


def random_half(records: NDArray[np.float64], labels: NDArray[np.bool_], seed: int) -> Halves:
    """Split a set: a random half of its normal records trains, the rest and all anomalies test.

    Of more than `MAX_TEST_RECORDS` test records a part is used, with the share of anomalies kept.

    Args:
        records: Shape (n, d).
        labels: Which are anomalies, shape (n,).
        seed: Of the halves.
    """
    return _split(records, labels, seed, left=0, untested=0)


def contaminated_half(
    records: NDArray[np.float64], labels: NDArray[np.bool_], seed: int, *, left: int, untested: int
) -> Halves:
    """Split a set as `random_half` does, but leave some of its anomalies in the training half.

    With the same ``untested``, all test halves are the same, so that scores differ by what training saw alone; fewer
    anomalies left are among more. A training half at `MAX_TRAINING_RECORDS` gives up normal records for the anomalies.

    Args:
        records: Shape (n, d).
        labels: Which are anomalies, shape (n,).
        seed: Of the halves and of the choice of anomalies.
        left: Anomalies that train.
        untested: Anomalies that do not test, at least ``left`` and fewer than there are.
    """
    return _split(records, labels, seed, left=left, untested=untested)


def table_of(records: NDArray[np.float64]) -> pa.Table:
    """Return records of shape (n, d) as a table of d float64 columns."""
    return pa.table({f"x{at}": column for at, column in enumerate(records.T)})


def _half(normal: int) -> int:
    return (normal + 1) // 2


def _split(records: NDArray[np.float64], labels: NDArray[np.bool_], seed: int, *, left: int, untested: int) -> Halves:
    random = np.random.RandomState(_FIRST_SEED + seed)
    normal, anomalies = np.flatnonzero(~labels), np.flatnonzero(labels)
    normal = normal[random.permutation(normal.size)]
    anomalies = anomalies[random.permutation(anomalies.size)]
    half, rest = normal[: _half(normal.size)][: MAX_TRAINING_RECORDS - left], normal[_half(normal.size) :]
    left_in, tested = anomalies[:left], anomalies[untested:]
    total = rest.size + tested.size
    if total > MAX_TEST_RECORDS:
        kept = max(1, round(tested.size * MAX_TEST_RECORDS / total))
        rest, tested = rest[: MAX_TEST_RECORDS - kept], tested[:kept]
    return Halves(
        training=records[np.concatenate([half, left_in])],
        test=records[np.concatenate([rest, tested])],
        labels=np.arange(rest.size + tested.size) >= rest.size,
    )

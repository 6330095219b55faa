"""Decide which records are fitted and which calibrate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vaegis.training.config import SplitSettings
from vaegis.training.errors import DataError

FEWEST_RECORDS = 5
"""Records that each split or fold needs, so that it says anything."""

Method = Literal["split-conformal", "cross-conformal"]


@dataclass(frozen=True, slots=True)
class Splits:
    """Positions of the records that each member of the ensemble is fitted to, and of those that calibrate it.

    Attributes:
        method: One member, or one for each fold of the records.
        fit: Ascending in each row, shape (members, n).
        calibration: One ascending array a member; none of its records is in the member's row of ``fit``.
        undated: How many records have no time, where the split is by time. They are split by their position.
    """

    method: Method
    fit: NDArray[np.int64]
    calibration: tuple[NDArray[np.int64], ...]
    undated: int = 0

    @property
    def fitted_records(self) -> NDArray[np.int64]:
        """Positions of the records that any member is fitted to, ascending."""
        return np.unique(self.fit)

    @property
    def calibration_records(self) -> int:
        """How many records calibrate."""
        return sum(rows.size for rows in self.calibration)


def split_at_random(
    records: int, settings: SplitSettings, generator: np.random.Generator, *, most_calibrating: int
) -> Splits:
    """Split ``records`` records at random into two, or into folds if they are few.

    Args:
        records: Their number.
        settings: Which of the two, and the share that calibrates or the number of folds.
        generator: Draws the order.
        most_calibrating: Most records that calibrate, where they are split into two.

    Raises:
        DataError: A split would have fewer than `FEWEST_RECORDS` records.
    """
    order = generator.permutation(records)
    if settings.method == "cross" or (settings.method == "auto" and records < settings.cross_below):
        return _folds(order, settings.folds)
    return _cut(order, _calibration_size(records, settings, most_calibrating), undated=0)


def split_by_time(times: NDArray[np.float64], settings: SplitSettings, *, most_calibrating: int) -> Splits:
    """Split records by their time: the oldest are fitted, the newest calibrate, as future records come after them.

    Records of one time stay in their order. Of those without a time the same share calibrates, evenly spaced: else
    new ones would be flagged more often than promised, because none would be among the calibration records.

    Args:
        times: Seconds, or any number that rises with time, per record, shape (n,); NaN where there is none.
        settings: The share that calibrates.
        most_calibrating: Most records that calibrate.

    Raises:
        DataError: No record has a time, a split would have fewer than `FEWEST_RECORDS` records, or folds are asked for.
    """
    if settings.method == "cross":
        raise DataError("expected splits.method auto or split with a time column, got cross: folds have no order")
    undated = int(np.isnan(times).sum())
    if undated == times.size:
        raise DataError("expected a time in at least one record, got none")
    calibration = _calibration_size(times.size, settings, most_calibrating)
    passed = np.arange(undated + 1) * calibration // times.size
    undated_calibrating = np.diff(passed) > 0
    dated, dated_calibrating = times.size - undated, calibration - int(passed[-1])
    if min(dated_calibrating, dated - dated_calibrating) < FEWEST_RECORDS:
        raise DataError(
            f"expected records with a time in both splits, at least {FEWEST_RECORDS} each, got {dated} in all"
        )
    without = np.flatnonzero(np.isnan(times))
    in_time = np.argsort(times, kind="stable")[:dated]  # NaN comes last
    order = np.concatenate([without[~undated_calibrating], in_time, without[undated_calibrating]])
    return _cut(order, calibration, undated=undated)


def _folds(order: NDArray[np.int64], folds: int) -> Splits:
    if order.size < folds * FEWEST_RECORDS:
        raise DataError(
            f"expected at least {folds * FEWEST_RECORDS} records, so that each of {folds} folds gets {FEWEST_RECORDS}, "
            f"got {order.size}"
        )
    parts = [order[k::folds] for k in range(folds)]
    # Members are fitted side by side, so all get as many records as the one that leaves out the largest fold.
    size = order.size - parts[0].size
    others = [np.concatenate([part for part in parts if part is not left_out])[:size] for left_out in parts]
    return Splits("cross-conformal", np.sort(np.stack(others), axis=1), tuple(np.sort(part) for part in parts))


def _calibration_size(records: int, settings: SplitSettings, most: int) -> int:
    size = min(_rounded(records, settings), most)
    if min(size, records - size) < FEWEST_RECORDS:
        needed = max(records, 2 * FEWEST_RECORDS)
        while min(more := _rounded(needed, settings), needed - more) < FEWEST_RECORDS:
            needed += 1
        raise DataError(
            f"expected at least {needed} records, so that fit and calibration get {FEWEST_RECORDS} each, got {records}"
        )
    return size


def _rounded(records: int, settings: SplitSettings) -> int:
    return round(records * settings.calibration_share)


def _cut(order: NDArray[np.int64], calibration: int, *, undated: int) -> Splits:
    """Cut records in ``order`` into those fitted and those that calibrate."""
    at = order.size - calibration
    return Splits("split-conformal", np.sort(order[:at])[None], (np.sort(order[at:]),), undated)

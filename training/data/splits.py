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

FEWEST_GROUPS = 100
"""Groups that calibrate, below which `auto` makes folds. Records of one group are alike: with k groups, the share of
records of new ones that are flagged may exceed alpha by about 1 / (k + 1)."""

Method = Literal["split-conformal", "cross-conformal"]


@dataclass(frozen=True, slots=True)
class Splits:
    """Positions of the records that each member of the ensemble is fitted to, and of those that calibrate it.

    Attributes:
        method: One member, or one for each fold of the records.
        fit: Ascending in each row, shape (members, n).
        calibration: One ascending array a member; none of its records is in the member's row of ``fit``.
        undated: How many records have no time, where the split is by time. They are split by their position.
        groups: How many groups there are, where whole groups are fitted or calibrate.
    """

    method: Method
    fit: NDArray[np.int64]
    calibration: tuple[NDArray[np.int64], ...]
    undated: int = 0
    groups: int | None = None

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


def split_by_group(
    groups: NDArray[np.int64], settings: SplitSettings, generator: np.random.Generator, *, most_calibrating: int
) -> Splits:
    """Split records at random into two, or into folds, such that all records of a group are in the same part.

    A new customer's records are less like the fitted ones than new records of a fitted customer are. Only whole
    customers that were not fitted show by how much.

    Args:
        groups: Number of each record's group, from 0, shape (n,); negative for a record that is a group by itself.
        settings: Which of the two, and the share that calibrates or the number of folds.
        generator: Draws the order of the groups.
        most_calibrating: Most records that calibrate, where they are split into two.

    Raises:
        DataError: There are too few groups.
    """
    alone = groups < 0
    groups = np.where(alone, groups.max(initial=-1) + np.cumsum(alone), groups)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(sizes.size)
    are_few = groups.size < settings.cross_below or (
        settings.calibration_share * sizes.size < FEWEST_GROUPS and groups.size <= most_calibrating
    )
    if settings.method == "cross" or (settings.method == "auto" and are_few):
        return _group_folds(group, sizes, order, settings.folds, generator)
    wanted = _calibration_size(groups.size, settings, most_calibrating)
    passed = np.cumsum(sizes[order])
    # The number of groups whose size comes nearest to the share, but never above the most.
    count = int(np.abs(np.where(passed <= most_calibrating, passed, np.inf) - wanted).argmin()) + 1
    is_calibrating = np.isin(group, order[:count])
    if min(calibrating := int(is_calibrating.sum()), groups.size - calibrating) < FEWEST_RECORDS:
        raise _too_few_groups(sizes.size, 2)
    return Splits(
        "split-conformal", np.flatnonzero(~is_calibrating)[None], (np.flatnonzero(is_calibrating),), groups=sizes.size
    )


def _group_folds(
    group: NDArray[np.int64],
    sizes: NDArray[np.int64],
    order: NDArray[np.int64],
    folds: int,
    generator: np.random.Generator,
) -> Splits:
    """Put each group, the largest first, into the fold that has the fewest records."""
    fold_of, filled = np.empty(sizes.size, dtype=np.int64), np.zeros(folds, dtype=np.int64)
    for at in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[at] = filled.argmin()
        filled[fold_of[at]] += sizes[at]
    size = group.size - int(filled.max())  # members are fitted side by side, so all get as many records
    if filled.min() < FEWEST_RECORDS or size < FEWEST_RECORDS:
        raise _too_few_groups(sizes.size, folds)
    fold = fold_of[group]
    fit = [np.sort(generator.permutation(np.flatnonzero(fold != k))[:size]) for k in range(folds)]
    parts = tuple(np.flatnonzero(fold == k) for k in range(folds))
    return Splits("cross-conformal", np.stack(fit), parts, groups=sizes.size)


def _too_few_groups(groups: int, parts: int) -> DataError:
    return DataError(
        f"splits.group_column: expected groups for {parts} parts of at least {FEWEST_RECORDS} records each, "
        f"got {groups} groups"
    )


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

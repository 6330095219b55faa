"""Which records are fitted, which stop the fit, and which calibrate it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.config import SplitSettings
from training.errors import DataError

FEWEST_RECORDS = 5
"""Records that each split needs, so that it says anything."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Positions of the records in each split, ascending; together they are all records, and none is in two.

    Attributes:
        fit: Records that the weights are fitted to.
        validation: Records that decide when to stop.
        calibration: Records that p-values are counted from.
        undated: How many records of ``fit`` are there because they have no time, where the split is by time.
    """

    fit: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    undated: int = 0


def split_at_random(records: int, settings: SplitSettings, generator: np.random.Generator) -> Splits:
    """Split ``records`` records at random, in the shares of ``settings``.

    Raises:
        DataError: A split would have fewer than `FEWEST_RECORDS` records.
    """
    validation, calibration = _sizes(records, settings)
    order = generator.permutation(records)
    return _cut(order, validation, calibration, undated=0)


def split_by_time(times: NDArray[np.float64], settings: SplitSettings) -> Splits:
    """Split records by their time: the oldest are fitted, the newest calibrate, as future records come after them.

    Records of one time stay in their order. Those without a time are fitted: they must not stand for the newest.

    Args:
        times: Seconds, or any number that rises with time, per record, shape (n,); NaN where there is none.
        settings: The shares.

    Raises:
        DataError: No record has a time, or a split would have fewer than `FEWEST_RECORDS` records.
    """
    undated = int(np.isnan(times).sum())
    if undated == times.size:
        raise DataError("expected a time in some records to split them by, got none")
    validation, calibration = _sizes(times.size, settings)
    dated = times.size - undated
    if dated < validation + calibration:
        raise DataError(
            f"expected a time in the {validation + calibration} records for validation and calibration at least, "
            f"got {dated} records with one"
        )
    # Undated records first: minus infinity is before every time.
    order = np.argsort(np.where(np.isnan(times), -np.inf, times), kind="stable")
    return _cut(order, validation, calibration, undated=undated)


def thinned(rows: NDArray[np.int64], most: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows, or ``most`` of them drawn at random, ascending."""
    return rows if rows.size <= most else np.sort(generator.choice(rows, most, replace=False))


def _sizes(records: int, settings: SplitSettings) -> tuple[int, int]:
    """Return the sizes of the validation and calibration splits."""
    sizes = _rounded(records, settings)
    if min(*sizes, records - sum(sizes)) < FEWEST_RECORDS:
        needed = max(records, 3 * FEWEST_RECORDS)
        while min(*(more := _rounded(needed, settings)), needed - sum(more)) < FEWEST_RECORDS:
            needed += 1
        raise DataError(
            f"expected at least {needed} records, so that fit, validation and calibration get {FEWEST_RECORDS} each, "
            f"got {records}"
        )
    return sizes


def _rounded(records: int, settings: SplitSettings) -> tuple[int, int]:
    return round(records * settings.validation_share), round(records * settings.calibration_share)


def _cut(order: NDArray[np.int64], validation: int, calibration: int, *, undated: int) -> Splits:
    """Cut records in ``order`` into fit, validation and calibration."""
    first, second = order.size - validation - calibration, order.size - calibration
    return Splits(np.sort(order[:first]), np.sort(order[first:second]), np.sort(order[second:]), undated)

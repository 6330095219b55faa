"""Confidence intervals of a measured share, and of the share that was promised."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
"""Of every interval that an evaluation gives."""

_Z = 1.959963984540054  # the 97.5% quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured figure with its 95% interval."""

    value: float
    low: float
    high: float


def share(hits: int, of: int) -> Estimate:
    """Return ``hits / of`` with the Wilson score interval (Wilson 1927, JASA 22); ``of`` is at least 1."""
    value = hits / of
    shrink = 1.0 + _Z**2 / of
    centre = (value + _Z**2 / (2 * of)) / shrink
    half = _Z / shrink * math.sqrt(value * (1 - value) / of + _Z**2 / (4 * of**2))
    # At 0 and 1 the bound is exact, but for rounding.
    return Estimate(value, 0.0 if hits == 0 else centre - half, 1.0 if hits == of else centre + half)


def promised_band(calibration_records: int, normal_records: int, alpha: float) -> Estimate:
    """Return the false-alarm rate that the conformal promise leads to, with the range of what chance alone makes of it.

    With n calibration records in one fold, the rate of one model follows Beta(m, n + 1 - m), m = floor((n + 1) *
    alpha) (Bates et al. 2023, Ann. Statist. 51), so the flagged ones among fresh normal records are beta-binomial.
    Equal scores only lower the rate. The range leaves out 2.5% of the probability at each end. With several folds the
    law of the rate is not known; this is that of one fold that had the proven bound for its alpha.

    Args:
        calibration_records: n; at least 1 / alpha - 1.
        normal_records: Fresh normal records, from the same source in the same state; at least 1.
        alpha: The promised share, a fraction in (0, 1].
    """
    ranks = np.arange(1, calibration_records + 1)
    m = int(np.count_nonzero(ranks / (calibration_records + 1) <= alpha))  # as p-values are compared with alpha
    other = calibration_records + 1 - m
    k = np.arange(normal_records)
    steps = np.log((normal_records - k) * (k + m)) - np.log((k + 1.0) * (normal_records - k - 1 + other))
    log_mass = np.concatenate([[0.0], np.cumsum(steps)])  # of 0 .. normal_records flagged, but for a constant
    below = np.cumsum(np.exp(log_mass - log_mass.max()))
    low, high = np.searchsorted(below / below[-1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(m / (calibration_records + 1), int(low) / normal_records, int(high) / normal_records)

"""Split-conformal p-values and thresholds (Bates et al. 2023, Annals of Statistics 51)."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from service.errors import AlphaError


def p_values(calibration: NDArray[np.float64], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p = (1 + #{calibration scores >= score}) / (n + 1) for each score.

    For a normal record exchangeable with the calibration records, P(p <= alpha) <= alpha for every alpha.

    Args:
        calibration: Scores of normal records unseen in training, ascending, shape (n,).
        scores: Scores to judge, shape (m,), in the same unit.

    Returns:
        p-values, shape (m,), each in [1 / (n + 1), 1].
    """
    n = calibration.size
    at_least = (n - np.searchsorted(calibration, scores, side="left")).astype(np.float64)
    return (1.0 + at_least) / (n + 1.0)


def threshold(calibration: NDArray[np.float64], alpha: float) -> float:
    """Return the score above which p <= alpha: the m-th largest, m the largest rank with m / (n + 1) <= alpha.

    Args:
        calibration: Scores of normal records unseen in training, ascending, shape (n,).
        alpha: Share of normal records that may be flagged, a fraction in (0, 1).

    Returns:
        The threshold, in nats. A record is an anomaly when its score is strictly greater.

    Raises:
        AlphaError: ``alpha`` is outside (0, 1), or below 1 / (n + 1).
    """
    n = calibration.size
    if not 0.0 < alpha < 1.0:
        raise AlphaError(f"alpha: expected a fraction in (0, 1), got {alpha:g}", needed_records=0)
    # The product rounds either way at times (0.29 * 100 == 28.999...), so the division that makes p-values decides.
    m = math.floor((n + 1) * alpha)
    if (m + 1) / (n + 1) <= alpha:
        m += 1
    elif m / (n + 1) > alpha:
        m -= 1
    if m == 0:
        needed = calibration_records_needed(alpha)
        raise AlphaError(
            f"alpha: expected at least {least_alpha(n):.3g} with {n} calibration records, got {alpha:g}; "
            f"an alpha of {alpha:g} needs {needed} calibration records",
            needed_records=needed,
        )
    return float(calibration[n - m])


def calibration_records_needed(alpha: float) -> int:
    """Return the fewest calibration records n with 1 / (n + 1) <= alpha."""
    needed = max(1, math.ceil(1 / Fraction(alpha)) - 1)  # exact, also where 1 / alpha overflows
    return needed - 1 if needed > 1 and 1 / needed <= alpha else needed


def least_alpha(records: int) -> float:
    """Return the least alpha that ``records`` calibration records can promise, rounded up to three digits.

    >>> least_alpha(50)
    0.0197
    """
    exact = 1.0 / (records + 1)
    digits = 2 - math.floor(math.log10(exact))
    return math.ceil(exact * 10.0**digits) / 10.0**digits

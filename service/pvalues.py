"""Conformal p-values and thresholds: split (Bates et al. 2023, Annals of Statistics 51) and cross (Vovk 2015).

A calibration is one ascending vector of scores a fold. The scores of fold k are those that member k of the model, which
was fitted without that fold, gives to its records. One fold is split-conformal, several are cross-conformal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vaegis.service.errors import AlphaError
from vaegis.service.terminal import percent


def p_values(folds: Sequence[NDArray[np.float64]], fold_scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p = (1 + sum over k of #{scores of fold k >= fold score k}) / (n + 1) for each record.

    This is the p-value of Vovk 2015 (Ann. Math. Artif. Intell. 74), which CV+ (Barber et al. 2021, Annals of
    Statistics 49) follows too; `false_alarm_bound` is what is proven of it.

    Args:
        folds: Calibration scores of each of the K folds, ascending, n in all.
        fold_scores: Score of each record under each member, shape (m, K), in the same order.

    Returns:
        p-values, shape (m,), each in [1 / (n + 1), 1].
    """
    ranks = calibration_records(folds) + 1.0
    below, *others = (fold.searchsorted(scores) for fold, scores in zip(folds, fold_scores.T, strict=True))
    for of_fold in others:
        below = below + of_fold
    p: NDArray[np.float64] = (ranks - below) / ranks
    return p


def threshold(folds: Sequence[NDArray[np.float64]], alpha: float) -> float:
    """Return the score above which p <= alpha: the m-th largest, m the largest rank with m / (n + 1) <= alpha.

    The rank is that among the scores of all folds. With one fold the rule is exact. With several it holds for a record
    on which all fold scores agree; for others it is an orientation, and the p-value decides.

    Args:
        folds: Calibration scores of each fold, ascending, n in all.
        alpha: Share of normal records that may be flagged, a fraction in (0, 1).

    Returns:
        The threshold, in the unit of the scores. A record is above it when its score is strictly greater.

    Raises:
        AlphaError: ``alpha`` is outside (0, 1), or below 1 / (n + 1).
    """
    n, m = calibration_records(folds), threshold_rank(folds, alpha)
    pooled = folds[0] if len(folds) == 1 else np.partition(np.concatenate(folds), n - m)
    return float(pooled[n - m])


def threshold_rank(folds: Sequence[NDArray[np.float64]], alpha: float) -> int:
    """Return the largest rank m with m / (n + 1) <= alpha: a record of that rank or a lower one is flagged.

    Args:
        folds: Calibration scores of each fold, n in all.
        alpha: Share of normal records that may be flagged, a fraction in (0, 1).

    Raises:
        AlphaError: ``alpha`` is outside (0, 1), or below 1 / (n + 1).
    """
    n = calibration_records(folds)
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
    return m


def false_alarm_bound(folds: Sequence[NDArray[np.float64]], alpha: float) -> float:
    """Return the proven bound on P(p <= alpha) for a normal record, as long as normal data stay as in training.

    With one fold it is alpha. With K > 1 it is 2 alpha + 2 (1 - alpha) (K - 1) / (n + K), though the share is close to
    alpha in practice. Proof: counted within fold k of n_k records alone, p_k = (1 + #{scores of fold k >= fold score
    k}) / (n_k + 1) is a p-value, whatever the member learned from the other folds. The mean of the p_k, weighted by
    (n_k + 1) / (n + K), is ((n + 1) p + K - 1) / (n + K), and any weighted mean of p-values is at most u with a
    probability of at most 2 u (Vovk and Wang 2020, Biometrika 107), for 1{x <= u} <= max(0, 2 - x / u), which is convex
    in x. Folds may differ in size. Theorem 4 of Barber et al. 2021 has 2 alpha + min(2 (1 - 1/K) / (n/K + 1), (1 - K/n)
    / (K + 1)) for folds of one size; its first term is never below ours, its second is below about n = 2 K^2.

    Args:
        folds: Calibration scores of each fold, n in all.
        alpha: A fraction in (0, 1).

    >>> folds = [np.zeros(200)] * 5
    >>> round(false_alarm_bound(folds, 0.01), 4), false_alarm_bound(folds[:1], 0.01)
    (0.0279, 0.01)
    """
    n, members = calibration_records(folds), len(folds)
    if members == 1:
        return alpha
    return min(1.0, 2.0 * alpha + 2.0 * (1.0 - alpha) * (members - 1) / (n + members))


def alpha_if_clean(alpha: float, history_anomalies: float) -> float:
    """Return which share of normal records may be flagged if the scores that were left out were not of anomalies.

    Of n scores the m = floor(share n) highest are left out. A record with p <= alpha by the others has at most
    alpha (n - m + 1) - 1 of these at or above it, so at most m + alpha (n - m + 1) - 1 of all n. Its p-value by all is
    at most (m + alpha (n - m + 1)) / (n + 1), which is at most alpha + share (1 - alpha).

    Args:
        alpha: Share of normal records that may be flagged, a fraction in (0, 1).
        history_anomalies: The share that was left out, a fraction in [0, 1).
    """
    return alpha + history_anomalies * (1.0 - alpha)


def guarantee(folds: Sequence[NDArray[np.float64]], alpha: float, history_anomalies: float = 0.0) -> str:
    """Return `false_alarm_bound` as a sentence, with its assumption.

    Args:
        folds: Calibration scores of each fold.
        alpha: A fraction in (0, 1).
        history_anomalies: Share of the highest calibration scores that was left out, as those of anomalies.
    """
    bound = false_alarm_bound(folds, alpha)
    proven = percent(bound) if len(folds) == 1 else f"{percent(bound)} (proven; close to {percent(alpha)} in practice)"
    sentence = (
        f"At alpha {alpha:g}, a normal record is flagged with a probability of at most {proven}, "
        "as long as normal data stay what they were in training."
    )
    if not history_anomalies:
        return sentence
    clean = false_alarm_bound(folds, alpha_if_clean(alpha, history_anomalies))
    return (
        f"{sentence} This holds if the highest {percent(history_anomalies)} of the calibration scores, which were "
        f"left out, are those of anomalies. If none are, the probability is at most {percent(clean)}."
    )


def calibration_records(folds: Sequence[NDArray[np.float64]]) -> int:
    """Return the number n of calibration records in all folds."""
    return sum(fold.size for fold in folds)


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

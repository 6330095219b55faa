"""Calibration: scores of normal records that fitting never saw. P-values are counted from them."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import Calibration
from vaegis.service.pvalues import calibration_records, calibration_records_needed, least_alpha, threshold
from vaegis.service.scorer import Scorer
from vaegis.training.config import CalibrationSettings
from vaegis.training.errors import CalibrationError

LEAST_TIE_TOLERANCE = 1e-4
"""How much the stored scores are raised at least, as a share of max(1, |score|).

A record's score can differ in its last float32 digits from one batch size or machine to the next. Raised by more than
that, the calibration records equal to it stay at or above it: p-values only grow, so the promise holds.
"""

_TIMES_JITTER = 10.0  # the tolerance, by the largest difference measured, as other machines round in other ways
_JITTER_BATCHES = (1, 2, 3, 7, 64)  # of sizes that a runtime adds up in different ways
_JITTER_RECORDS = 448  # from each fold, of which as many as 64 are scored one by one

_USUAL = 0.9  # quantile of the calibration scores that few anomalies in the history do not move
_FAR = 10.0  # times the score there, or 1 where that is less


def far_threshold(calibration: Calibration) -> tuple[float, float] | None:
    """Return the threshold and the score that nine in ten calibration records stay below, if it lies far above that.

    Normal records can be the reason, of kinds that are rare. But where more than alpha of the history are anomalies,
    their scores are the threshold, and few others reach it.
    """
    folds = [np.array(fold) for fold in calibration.folds]
    usual = float(np.quantile(np.concatenate(folds), _USUAL))
    at_alpha = threshold(folds, calibration.alpha)
    return (at_alpha, usual) if at_alpha > _FAR * max(1.0, usual) else None


def check_alpha(alpha: float, records: int) -> None:
    """Check, before any fitting, that ``records`` calibration records can promise ``alpha``.

    Raises:
        CalibrationError: it cannot; names the number of records needed.
    """
    needed = calibration_records_needed(alpha)
    if records < needed:
        raise CalibrationError(
            f"alpha = {alpha:g}: expected at least {needed} calibration records, got {records}; "
            f"give more data, or an alpha of at least {least_alpha(records):.3g}"
        )


def calibrate(
    scorer: Scorer,
    folds: Sequence[Columns],
    settings: CalibrationSettings,
    method: Literal["split-conformal", "cross-conformal"],
) -> Calibration:
    """Return the calibration of a model.

    Args:
        scorer: The exported graph itself, so that served records meet scores of the same make.
        folds: For each member of the ensemble, records that it was not fitted to; n records in all.
        settings: The default alpha, and the share of the highest scores that is left out.
        method: What that makes of the p-values.

    Raises:
        CalibrationError: alpha is below 1 / (n + 1), or a score is not finite.
    """
    whole = [scorer.score(records).fold_scores for records in folds]
    scores = [np.sort(of_fold[:, k]) for k, of_fold in enumerate(whole)]
    wrong = sum(int((~np.isfinite(fold)).sum()) for fold in scores)
    if wrong:
        raise CalibrationError(f"expected finite scores, got {wrong} that are not")
    scores = _without_highest(scores, settings.history_anomalies)
    check_alpha(settings.alpha, calibration_records(scores))
    tolerance = max(LEAST_TIE_TOLERANCE, _TIMES_JITTER * max(map(partial(_jitter, scorer), folds, whole)))
    raised = tuple(tuple((fold + tolerance * np.maximum(1.0, np.abs(fold))).tolist()) for fold in scores)
    return Calibration(
        method=method,
        alpha=settings.alpha,
        folds=raised,
        tie_tolerance=tolerance,
        history_anomalies=settings.history_anomalies,
    )


def records_left_out(records: int, history_anomalies: float) -> int:
    """Return how many of the calibration records are left out as anomalies."""
    return math.floor(history_anomalies * records)


def _without_highest(folds: list[NDArray[np.float64]], share: float) -> list[NDArray[np.float64]]:
    """Return the scores without this share, the highest of all folds; `pvalues.alpha_if_clean` has the bound."""
    kept = calibration_records(folds) - records_left_out(calibration_records(folds), share)
    is_kept = np.zeros(calibration_records(folds), dtype=np.bool_)
    is_kept[np.argsort(np.concatenate(folds), kind="stable")[:kept]] = True
    kept_of_folds = np.split(is_kept, np.cumsum([fold.size for fold in folds])[:-1])
    remaining = [fold[of_fold] for fold, of_fold in zip(folds, kept_of_folds, strict=True)]
    if any(fold.size == 0 for fold in remaining):
        raise CalibrationError(
            f"calibration.history_anomalies = {share:g}: expected a lower share, got one that leaves a fold no records"
        )
    return remaining


def _jitter(scorer: Scorer, records: Columns, scores: NDArray[np.float64]) -> float:
    """Return the largest difference between a record's scores in batches of several sizes, by max(1, |score|).

    Args:
        scorer: The exported graph.
        records: Records of one fold.
        scores: Their fold scores, all scored together.
    """
    largest = 0.0
    for size in _JITTER_BATCHES:
        count = min(len(records), _JITTER_RECORDS, 64 * size)
        parts = [scorer.score(records.rows(slice(at, min(at + size, count)))) for at in range(0, count, size)]
        apart = np.abs(np.concatenate([part.fold_scores for part in parts]) - scores[:count])
        largest = max(largest, float((apart / np.maximum(1.0, np.abs(scores[:count]))).max()))
    return largest

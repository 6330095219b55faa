"""Calibration: the scores of normal records that fitting never saw, from which p-values are counted."""

import numpy as np

from service.columns import Columns
from service.contract import Calibration
from service.errors import AlphaError
from service.pvalues import calibration_records_needed, least_alpha, threshold
from service.scorer import Scorer
from training.errors import CalibrationError

TIE_TOLERANCE = 1e-4
"""How much the stored scores are raised, as a share of max(1, |score|).

A record's score can differ in its last float32 digits from one batch size or machine to the next. Raised by more than
that, the calibration records equal to it stay at or above it: p-values only grow, so the promise holds.
"""


def check_alpha(alpha: float, records: int) -> None:
    """Check, before any fitting, that a calibration split of ``records`` can promise ``alpha``.

    Raises:
        CalibrationError: it cannot; names the number of records needed.
    """
    needed = calibration_records_needed(alpha)
    if records < needed:
        raise CalibrationError(
            f"alpha = {alpha:g}: expected at least {needed} calibration records, got {records}; "
            f"give more data, a larger calibration share, or an alpha of at least {least_alpha(records):.3g}"
        )


def calibrate(scorer: Scorer, records: Columns, alpha: float) -> Calibration:
    """Return the calibration of a model.

    Args:
        scorer: The exported graph itself, so that served records meet scores of the same make.
        records: The calibration split, n records.
        alpha: Default share of normal records that may be flagged.

    Raises:
        CalibrationError: alpha is below 1 / (n + 1), or a score is not finite.
    """
    scores = np.sort(scorer.score(records).score)
    if not np.isfinite(scores).all():
        raise CalibrationError(f"expected finite scores, got {int((~np.isfinite(scores)).sum())} that are not")
    raised = scores + TIE_TOLERANCE * np.maximum(1.0, np.abs(scores))
    try:
        threshold(raised, alpha)
    except AlphaError as error:
        raise CalibrationError(str(error)) from error
    return Calibration(alpha=alpha, scores=tuple(raised.tolist()), tie_tolerance=TIE_TOLERANCE)

"""Turn scores into verdicts: p-values, flags, reasons, signatures and contributions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.explanations import Contribution, Explainer
from vaegis.service.pvalues import p_values
from vaegis.service.reasons import Reason
from vaegis.service.scorer import Scores
from vaegis.service.violations import Violation


class Explain(StrEnum):
    """Which records of an answer come with contributions."""

    NONE = "none"
    ANOMALIES = "anomalies"
    ALL = "all"


class Verdicts(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The verdicts on m records, by field. `latent_contribution` and the contributions of all columns sum to `score`.

    Attributes:
        score: Shape (m,), as are the arrays below; higher is more anomalous.
        p_value: Conformal p-values.
        is_anomaly: Whether the p-value is at most alpha.
        elbo: -(reconstruction_error + kl), nats.
        reconstruction_error: -E_q[log p(x|z)], nats.
        kl: KL(q(z|x) || p(z)), an upper bound, nats.
        latent_contribution: What the latent code adds to the score.
        violations: Of each record, the values that break a check of their column, whether it is an anomaly or not.
        reasons: Of each record, what made it an anomaly, those of violations first, then the weightiest; empty where it
            is none.
        signature: Of each anomaly, a short key of its leading columns and why they lead; None for other records.
        contributions: Of each record, what its columns contribute, those with a violation first, then the largest;
            None where it is not explained.
    """

    score: NDArray[np.float64]
    p_value: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]
    elbo: NDArray[np.float64]
    reconstruction_error: NDArray[np.float64]
    kl: NDArray[np.float64]
    latent_contribution: NDArray[np.float64]
    violations: list[tuple[Violation, ...]]
    reasons: list[tuple[Reason, ...]]
    signature: list[str | None]
    contributions: list[tuple[Contribution, ...] | None]

    def __len__(self) -> int:
        return len(self.score)

    def rows(self, index: slice) -> Verdicts:
        """Return the verdicts on the records at ``index``."""
        return Verdicts(*[getattr(self, name)[index] for name in FIELDS])


FIELDS: Final = Verdicts.__struct_fields__
"""The fields of a verdict, in the order in which they are written."""
ARRAYS: Final = FIELDS[: FIELDS.index("violations")]
"""Those that are arrays, truth values in `is_anomaly` and else numbers."""
OTHERS: Final = FIELDS[len(ARRAYS) :]
"""Those that are lists."""


def judge(
    explainer: Explainer,
    folds: Sequence[NDArray[np.float64]],
    columns: Columns,
    scores: Scores,
    violations: list[tuple[Violation, ...]],
    *,
    alpha: float,
    explain: Explain,
) -> Verdicts:
    """Return the verdicts on records, in order.

    Args:
        explainer: Of the model's schema.
        folds: Calibration scores of each fold, ascending.
        columns: The records, m of them.
        scores: Their statistics.
        violations: Their violations.
        alpha: A record is an anomaly when its p-value is at most this; `pvalues.threshold` says whether it is allowed.
        explain: Which verdicts carry contributions.
    """
    p = p_values(folds, scores.fold_scores)
    is_anomaly = p <= alpha
    reasons: list[tuple[Reason, ...]] = [()] * len(p)
    signatures: list[str | None] = [None] * len(p)
    contributions: list[tuple[Contribution, ...] | None] = [None] * len(p)
    # Most records are neither flagged nor explained, and these cost nothing beyond the arrays.
    explained = np.arange(len(p)) if explain is Explain.ALL else is_anomaly.nonzero()[0]
    whole = explain is not Explain.NONE
    if explained.size:
        broken = [violations[row] for row in explained.tolist()]
        found = explainer.explain(columns, scores, explained, is_anomaly[explained], broken, whole=whole)
        for row, (why, signature, by_column) in zip(explained.tolist(), found, strict=True):
            reasons[row], signatures[row] = why, signature
            contributions[row] = by_column if whole else None
    return Verdicts(
        score=scores.score,
        p_value=p,
        is_anomaly=is_anomaly,
        elbo=-(scores.reconstruction_error + scores.kl),
        reconstruction_error=scores.reconstruction_error,
        kl=scores.kl,
        latent_contribution=scores.contributions[:, -1],
        violations=violations,
        reasons=reasons,
        signature=signatures,
        contributions=contributions,
    )

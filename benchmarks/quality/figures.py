"""How well a detector's scores tell anomalies from normal records: AUROC, average precision, recall at 1%."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

FALSE_ALARMS = 0.01
"""Share of the normal test records above the threshold at which recall is taken."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one detector ranks the records, each figure in [0, 1].

    Attributes:
        auroc: Probability that an anomaly scores higher than a normal record, ties counted half.
        ap: Average precision.
        recall: Share of the anomalies found at `FALSE_ALARMS`, by `recall_at_false_alarms`.
    """

    auroc: float
    ap: float
    recall: float


def ranking(labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> Ranking:
    """Return the figures of one detector.

    Args:
        labels: Which records are anomalies, shape (n,); some are and some are not.
        scores: Shape (n,); higher is more anomalous.
    """
    return Ranking(
        auroc=float(roc_auc_score(labels, scores)),
        ap=float(average_precision_score(labels, scores)),
        recall=recall_at_false_alarms(labels, scores, FALSE_ALARMS),
    )


def recall_at_false_alarms(labels: NDArray[np.bool_], scores: NDArray[np.float64], rate: float) -> float:
    """Return the share of the anomalies above the threshold that at most ``rate`` of the normal records exceed.

    The threshold is the best in hindsight, so that detectors without a promise can be compared; with fewer than
    1 / rate normal records it is the highest of their scores.
    """
    normal, anomalies = np.sort(scores[~labels]), scores[labels]
    exceeding = math.floor(rate * normal.size)
    return float(np.mean(anomalies > normal[normal.size - 1 - exceeding]))

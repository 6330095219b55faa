"""How well scores rank anomalies above normal records: AUROC and average precision, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaegis.training.evaluation.intervals import CONFIDENCE, Estimate

RESAMPLES = 1000
_TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How one detector ranks the records.

    Attributes:
        auroc: Probability that an anomaly scores higher than a normal record, ties counted half.
        average_precision: Mean, over the anomalies, of the precision among the records scored at least as high.
        auroc_lead: By how much its AUROC exceeds the model's.
        average_precision_lead: The same for average precision.
    """

    auroc: Estimate
    average_precision: Estimate
    auroc_lead: Estimate
    average_precision_lead: Estimate


def rankings(
    labels: NDArray[np.bool_], scores: Mapping[str, NDArray[np.float64]], model: str, generator: np.random.Generator
) -> dict[str, Ranking]:
    """Return how each detector ranks the same records.

    Percentile bootstrap of `RESAMPLES` resamples, anomalies and normal records drawn apart, so that the share of
    anomalies, on which average precision depends, stays. All detectors meet the same resamples, so that the interval
    of a difference does not hold the variation that they share.

    Args:
        labels: Which records are anomalies, shape (n,); some are and some are not.
        scores: By detector, shape (n,); higher is more anomalous.
        model: Name of the detector with which the others are compared.
        generator: Draws the resamples.
    """
    anomalies, normal = np.flatnonzero(labels), np.flatnonzero(~labels)
    orders = {name: _Ranking(labels, values) for name, values in scores.items()}
    measured = {name: order.measures(np.ones(labels.size)) for name, order in orders.items()}
    resampled = {name: np.empty((RESAMPLES, 2)) for name in scores}
    counts = np.zeros(labels.size)
    for at in range(RESAMPLES):
        for members in (anomalies, normal):
            drawn = generator.integers(members.size, size=members.size)
            counts[members] = np.bincount(drawn, minlength=members.size)
        for name, order in orders.items():
            resampled[name][at] = order.measures(counts)
    return {
        name: Ranking(
            *_estimates(measured[name], resampled[name]),
            *_estimates(measured[name] - measured[model], resampled[name] - resampled[model]),
        )
        for name in scores
    }


class _Ranking:
    """Records from the highest score to the lowest, equal scores as one group."""

    def __init__(self, labels: NDArray[np.bool_], scores: NDArray[np.float64]) -> None:
        self._order = np.argsort(-scores, kind="stable")
        in_order = scores[self._order]
        self._group_ends = np.flatnonzero(np.append(in_order[1:] != in_order[:-1], True))
        self._is_anomaly = labels[self._order]

    def measures(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return AUROC and average precision when record i is there ``counts[i]`` times."""
        in_order = counts[self._order]
        anomalies = np.cumsum(np.where(self._is_anomaly, in_order, 0.0))[self._group_ends]
        normal = np.cumsum(np.where(self._is_anomaly, 0.0, in_order))[self._group_ends]
        new_anomalies, new_normal = np.diff(anomalies, prepend=0.0), np.diff(normal, prepend=0.0)
        higher = anomalies - new_anomalies / 2  # per normal record of a group: the anomalies above, ties half
        # The first groups may be absent from a resample; they add nothing to the sum.
        precision = anomalies / np.maximum(anomalies + normal, 1.0)
        return np.array(
            [
                np.sum(new_normal * higher) / (anomalies[-1] * normal[-1]),
                np.sum(new_anomalies * precision) / anomalies[-1],
            ]
        )


def _estimates(measured: NDArray[np.float64], resampled: NDArray[np.float64]) -> tuple[Estimate, Estimate]:
    low, high = np.quantile(resampled, _TAILS, axis=0)
    auroc, average_precision = (
        Estimate(float(value), float(bottom), float(top))
        for value, bottom, top in zip(measured, low, high, strict=True)
    )
    return auroc, average_precision

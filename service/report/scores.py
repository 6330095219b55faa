"""What alpha promises, at a scale of alphas, and the calibration scores that the promise is counted from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.model import Model
from vaegis.service.pvalues import false_alarm_bound, least_alpha, threshold

WIDTH: Final = 720.0
HEIGHT: Final = 180.0
_BINS: Final = 60
_STEPS: Final = 60
_LARGEST_ALPHA: Final = 0.2
_SHOWN_SHARE: Final = 0.995
_HALF: Final = 0.5
_NEARLY_ALL: Final = 0.95


@dataclass(frozen=True, slots=True)
class PromiseStep:
    """One alpha.

    Attributes:
        alpha: Share of normal records that may be flagged.
        bound: What is proven of that share.
        threshold: Score above which records are flagged.
        x: Where the calibration chart shows the threshold.
    """

    alpha: float
    bound: float
    threshold: float
    x: float


@dataclass(frozen=True, slots=True)
class CalibrationChart:
    """A histogram of the calibration scores.

    Attributes:
        bars: x, y, width and height of each bar.
        ticks: x and value of each tick.
        highest: Scores in the highest bar.
        beyond: Scores to the right of the chart.
        median: Of all scores.
        nearly_all: 95% of the scores are at most this.
    """

    bars: tuple[tuple[float, float, float, float], ...]
    ticks: tuple[tuple[float, float], ...]
    highest: int
    beyond: int
    median: float
    nearly_all: float


def promise_steps(model: Model) -> tuple[tuple[PromiseStep, ...], int]:
    """Return alphas from the least that the calibration can promise to 0.2, and the position of the model's own."""
    folds = model.artifact.calibration_folds
    least = least_alpha(sum(fold.size for fold in folds))
    scale = np.geomspace(least, max(_LARGEST_ALPHA, model.alpha), _STEPS)
    alphas = sorted({least, model.alpha, *(float(f"{alpha:.3g}") for alpha in scale if alpha > least)})
    scores = np.concatenate(folds)
    low, high = _domain(model, scores)
    steps = []
    for alpha in alphas:
        limit = threshold(folds, alpha)
        x = WIDTH * min(1.0, max(0.0, (limit - low) / (high - low)))
        steps.append(PromiseStep(alpha, false_alarm_bound(folds, alpha), limit, round(x, 1)))
    return tuple(steps), alphas.index(model.alpha)


def calibration_chart(model: Model) -> CalibrationChart:
    """Return the histogram of the scores of all folds; the few largest lie beyond it."""
    scores = np.concatenate(model.artifact.calibration_folds)
    low, high = _domain(model, scores)
    counts, edges = np.histogram(scores, _BINS, (low, high))
    ticks = np.linspace(low, high, 7)
    median, nearly_all = np.quantile(scores, (_HALF, _NEARLY_ALL))
    return CalibrationChart(
        bars_of(counts, WIDTH, HEIGHT),
        tuple((round(float((tick - low) / (high - low) * WIDTH), 1), float(tick)) for tick in ticks),
        int(counts.max()),
        int((scores > edges[-1]).sum()),
        float(median),
        float(nearly_all),
    )


def bars_of(heights: NDArray[np.generic], width: float, height: float) -> tuple[tuple[float, float, float, float], ...]:
    """Return x, y, width and height of bars side by side, the highest as high as the drawing."""
    values = np.asarray(heights, dtype=np.float64)
    highest, each = max(float(values.max()), 1e-300), width / len(values)
    return tuple(
        (
            round(at * each, 1),
            round(height * (1 - value / highest), 1),
            round(each, 1),
            round(height * value / highest, 1),
        )
        for at, value in enumerate(values.tolist())
        if value > 0
    )


def _domain(model: Model, scores: NDArray[np.float64]) -> tuple[float, float]:
    low = float(scores.min())
    least = 1e-6 * max(1.0, abs(low))  # so that the bins differ
    high = max(float(np.quantile(scores, _SHOWN_SHARE)), model.threshold, low + least)
    return low, high + 0.1 * (high - low)

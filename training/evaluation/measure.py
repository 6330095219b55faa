"""Measure a model on labelled records, beside baselines on the same split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaegis.service.artifact import Artifact
from vaegis.service.columns import Columns
from vaegis.service.pvalues import alpha_if_clean, calibration_records, false_alarm_bound, p_values, threshold
from vaegis.training.errors import EvaluationError
from vaegis.training.evaluation.baselines import Baselines
from vaegis.training.evaluation.intervals import Estimate, promised_band, share
from vaegis.training.evaluation.ranking import Ranking, rankings

MODEL = "vaegis"
"""Name of the model under evaluation among the detectors."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured; every interval is of 95%.

    Attributes:
        alpha: The share of normal records that may be flagged.
        bound: What is proven of that share: alpha with one fold, more with several.
        threshold: At that alpha; with several folds, an orientation.
        calibration_records: Scores behind the p-values.
        normal_records: Normal records measured on.
        anomalies: Anomalies measured on.
        flagged: Records flagged, of both.
        recall: Share of the anomalies that were flagged.
        precision: Share of the flagged records that are anomalies; None if nothing was flagged.
        false_alarm_rate: Share of the normal records that were flagged.
        promised: The rate that `bound` leads to, and how far chance alone may take it.
        rankings: By detector, the model first.
        baseline_records: Records that the baselines were fitted on.
        baselines_from_training_data: Whether these are of the training data, rather than of the labelled records.
    """

    alpha: float
    bound: float
    threshold: float
    calibration_records: int
    normal_records: int
    anomalies: int
    flagged: int
    recall: Estimate
    precision: Estimate | None
    false_alarm_rate: Estimate
    promised: Estimate
    rankings: dict[str, Ranking]
    baseline_records: int
    baselines_from_training_data: bool

    @property
    def labelled_records(self) -> int:
        """Labelled records that were used, those that the baselines were fitted on included."""
        ours = 0 if self.baselines_from_training_data else self.baseline_records
        return self.normal_records + self.anomalies + ours

    @property
    def promise_is_broken(self) -> bool:
        """Whether more normal records were flagged than chance explains."""
        return self.false_alarm_rate.value > self.promised.high

    @property
    def better_baselines(self) -> dict[str, Ranking]:
        """The baselines with a higher AUROC or a higher average precision than the model."""
        return {
            name: ranking
            for name, ranking in self.rankings.items()
            if ranking.auroc_lead.value > 0 or ranking.average_precision_lead.value > 0
        }


def evaluate(
    artifact: Artifact,
    labelled: Columns,
    labels: NDArray[np.bool_],
    *,
    alpha: float,
    reference: Columns | None,
    seed: int,
) -> Evaluation:
    """Measure a model on labelled records that it was not trained on.

    Args:
        artifact: The model; its own scorer scores.
        labelled: n records in the order of its schema.
        labels: Which of them are anomalies, shape (n,).
        alpha: Share of normal records that may be flagged, a fraction in (0, 1).
        reference: Normal records to fit the baselines on. None: a random half of the normal labelled records, and
            everything is measured on the rest.
        seed: Of the split, the baselines and the resamples.

    Raises:
        AlphaError: ``alpha`` cannot be promised with the model's calibration records.
        EvaluationError: There are no anomalies, or too few normal records, among those labelled.
    """
    folds = artifact.calibration_folds
    limit = threshold(folds, alpha)
    left_out = artifact.contract.calibration.history_anomalies
    bound = false_alarm_bound(folds, alpha_if_clean(alpha, left_out))
    _check_labels(labels, needed_normal=1 if reference is not None else 2)
    generator = np.random.default_rng(seed)
    from_training_data = reference is not None
    if reference is None:
        normal = generator.permutation(np.flatnonzero(~labels))
        reference = labelled.rows(np.sort(normal[: normal.size // 2]))
        kept = np.sort(np.concatenate([normal[normal.size // 2 :], np.flatnonzero(labels)]))
        labelled, labels = labelled.rows(kept), labels[kept]
    scored = artifact.scorer.score(labelled)
    baselines = Baselines(artifact.contract.columns, reference, seed)
    flags = p_values(folds, scored.fold_scores) <= alpha
    anomalies, normal_records = int(labels.sum()), int((~labels).sum())
    caught, flagged = int((flags & labels).sum()), int(flags.sum())
    recall, false_alarm_rate = share(caught, anomalies), share(flagged - caught, normal_records)
    return Evaluation(
        alpha=alpha,
        bound=bound,
        threshold=limit,
        calibration_records=calibration_records(folds),
        normal_records=normal_records,
        anomalies=anomalies,
        flagged=flagged,
        recall=recall,
        precision=share(caught, flagged) if flagged else None,
        false_alarm_rate=false_alarm_rate,
        promised=promised_band(calibration_records(folds), normal_records, bound),
        rankings=rankings(labels, {MODEL: scored.score, **baselines.score(labelled)}, MODEL, generator),
        baseline_records=baselines.reference_records,
        baselines_from_training_data=from_training_data,
    )


def _check_labels(labels: NDArray[np.bool_], needed_normal: int) -> None:
    anomalies, normal = int(labels.sum()), int((~labels).sum())
    if not anomalies:
        raise EvaluationError(f"expected anomalies among the labelled records, got {normal:,} normal ones only")
    if normal < needed_normal:
        raise EvaluationError(
            f"expected at least {needed_normal} normal records, got {normal} with {anomalies:,} anomalies"
        )

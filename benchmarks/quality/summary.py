"""What rows add up to: means over seeds and sets, ranks, wins and losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmarks.quality.baselines import BASELINES, KNN
from benchmarks.quality.measure import BAND_CALIBRATION_RECORDS, MODEL, Measured
from benchmarks.quality.rows import Row

METRICS = ("auroc", "ap", "recall")
_MARGIN = 0.005  # smaller differences of one seed are noise
_DECIMALS = 4  # figures that agree to so many are equal; published ones have no more

BySet = Mapping[str, Mapping[str, float]]
"""The figures of one detector: by set, then by metric."""


@dataclass(frozen=True, slots=True)
class SetSummary:
    """A set, means over its seeds.

    Attributes:
        name: Of the set.
        seeds: Measured.
        training_records: In the training half.
        detectors: By detector and metric.
        promised_recall: Share of the anomalies that the model flags at its own alpha of 1%; None where a seed cannot
            promise it.
        promised_false_alarm_rate: Share of the normal test records flagged there.
        false_alarm_rate: The same at an alpha of 5%.
        calibration_records: Fewest of the seeds.
        calibration_method: As the model files name it.
        judged: Seeds with enough calibration records to judge the false-alarm rate.
        in_band: Those of them whose rate chance explains.
        fit_seconds: Mean.
        scored_per_second: Mean.
        file_bytes: Largest.
    """

    name: str
    seeds: tuple[int, ...]
    training_records: int
    detectors: dict[str, dict[str, float]]
    promised_recall: float | None
    promised_false_alarm_rate: float | None
    false_alarm_rate: float
    calibration_records: int
    calibration_method: str
    judged: int
    in_band: int
    fit_seconds: float
    scored_per_second: float
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How a detector stands among others, means over sets.

    Attributes:
        name: Of the detector.
        sets: That all of them were measured on.
        means: By metric.
        ranks: Mean rank by metric, 1 for the best on every set; equal figures share the mean of their ranks.
        won: By metric, sets on which the model is better than it.
        lost: By metric, sets on which the model is worse.
    """

    name: str
    sets: int
    means: dict[str, float]
    ranks: dict[str, float]
    won: dict[str, int]
    lost: dict[str, int]


@dataclass(frozen=True, slots=True)
class Lead:
    """How far the model is ahead of nearest neighbours, means over sets with the standard error of paired differences.

    Attributes:
        auroc: Mean difference of AUROC.
        auroc_error: Its standard error.
        ap: Mean difference of average precision.
        ap_error: Its standard error.
    """

    auroc: float
    auroc_error: float
    ap: float
    ap_error: float

    def __str__(self) -> str:
        return (
            f"Ahead of {KNN} by {self.auroc:+.4f} AUROC (standard error over sets {self.auroc_error:.4f}) "
            f"and {self.ap:+.4f} AP ({self.ap_error:.4f})."
        )


def by_set(rows: Sequence[Row]) -> list[SetSummary]:
    """Return a summary of each set, in the order of the rows."""
    names = dict.fromkeys(row.case.set_name for row in rows)
    return [_set_summary(name, [row for row in rows if row.case.set_name == name]) for name in names]


def this_run(sets: Sequence[SetSummary]) -> list[Standing]:
    """Return how the model stands among the baselines of the same run."""
    figures = {name: {each.name: each.detectors[name] for each in sets} for name in (MODEL, *BASELINES)}
    return standings(figures, METRICS)


def among_published(sets: Sequence[SetSummary], published: Mapping[str, BySet]) -> list[Standing]:
    """Return how the model stands among published detectors, on the sets that all have, best AUROC first."""
    figures: dict[str, BySet] = {MODEL: {each.name: each.detectors[MODEL] for each in sets}, **published}
    found = standings(figures, METRICS[:2]) if published else []
    return sorted(found, key=lambda standing: -standing.means["auroc"])


def beside_earlier(sets: Sequence[SetSummary], earlier: Mapping[str, BySet]) -> list[Standing]:
    """Return how the model stands among the baselines of the same run and earlier models, on the sets that all have."""
    figures = {name: {each.name: each.detectors[name] for each in sets} for name in (MODEL, *BASELINES)}
    return standings({**figures, **earlier}, METRICS[:2], margin=_MARGIN)


def lead_over(sets: Sequence[SetSummary], detector: str = KNN) -> Lead:
    """Return how far the model is ahead of a detector of the same run; the error is not a number for one set."""
    figures = []
    for metric in METRICS[:2]:
        differences = [each.detectors[MODEL][metric] - each.detectors[detector][metric] for each in sets]
        error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
        figures += [fmean(differences), error]
    return Lead(*figures)


def standings(figures: Mapping[str, BySet], metrics: Sequence[str], *, margin: float = 0.0) -> list[Standing]:
    """Compare detectors on the sets that all of them have; nothing where there is none.

    Args:
        figures: By detector, the model among them.
        metrics: Those to compare; higher is better.
        margin: By which a figure must be higher to be counted as better.
    """
    shared = [name for name in figures[MODEL] if all(name in of_sets for of_sets in figures.values())]
    if not shared:
        return []
    table = {
        metric: {
            detector: [round(of_sets[name][metric], _DECIMALS) for name in shared]
            for detector, of_sets in figures.items()
        }
        for metric in metrics
    }
    return [
        Standing(
            name=detector,
            sets=len(shared),
            means={metric: fmean(of_sets[name][metric] for name in shared) for metric in metrics},
            ranks={metric: _mean_rank(table[metric], detector) for metric in metrics},
            won={metric: _exceeds(table[metric], MODEL, detector, margin) for metric in metrics},
            lost={metric: _exceeds(table[metric], detector, MODEL, margin) for metric in metrics},
        )
        for detector, of_sets in figures.items()
    ]


def _set_summary(name: str, rows: list[Row]) -> SetSummary:
    measured = [row.measured for row in rows]
    promises = [each.promise for each in measured]
    judged = [each for each in promises if each.calibration_records >= BAND_CALIBRATION_RECORDS]
    return SetSummary(
        name=name,
        seeds=tuple(row.case.seed for row in rows),
        training_records=measured[0].training_records,
        detectors={detector: _means(measured, detector) for detector in measured[0].detectors},
        promised_recall=_mean_if_all([each.recall for each in promises]),
        promised_false_alarm_rate=_mean_if_all([each.recall_false_alarm_rate for each in promises]),
        false_alarm_rate=fmean(each.false_alarm_rate for each in promises),
        calibration_records=min(each.calibration_records for each in promises),
        calibration_method=", ".join(sorted({each.calibration_method for each in promises})),
        judged=len(judged),
        in_band=sum(each.in_band is True for each in judged),
        fit_seconds=fmean(each.fit_seconds for each in measured),
        scored_per_second=fmean(each.scored_per_second for each in measured),
        file_bytes=max(each.file_bytes for each in measured),
    )


def _means(measured: list[Measured], detector: str) -> dict[str, float]:
    return {metric: fmean(getattr(each.detectors[detector], metric) for each in measured) for metric in METRICS}


def _mean_if_all(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _mean_rank(figures: dict[str, list[float]], detector: str) -> float:
    columns = list(zip(*figures.values(), strict=True))
    own = figures[detector]
    return fmean(
        1 + sum(other > value for other in others) + (others.count(value) - 1) / 2
        for value, others in zip(own, columns, strict=True)
    )


def _exceeds(figures: dict[str, list[float]], one: str, other: str, margin: float) -> int:
    return sum(mine > theirs + margin for mine, theirs in zip(figures[one], figures[other], strict=True))

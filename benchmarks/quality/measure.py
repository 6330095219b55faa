"""One row: a model trained on one half of a set, measured on the other beside the baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.baselines import baseline_scores
from benchmarks.quality.figures import Ranking, ranking
from benchmarks.quality.oddbench import has_own_split, load_table
from benchmarks.quality.protocol import Halves, contaminated_half, load_set, table_of
from benchmarks.quality.trained import Trained, train_and_score
from vaegis.training.config import TrainConfig
from vaegis.training.evaluation.intervals import promised_band

MODEL = "vaegis"
"""Name of the product's model among the detectors."""

BAND_ALPHA = 0.05
"""At which the false-alarm rate is compared with what chance makes of the promise."""
BAND_CALIBRATION_RECORDS = 1000
"""Fewest calibration records at which it is judged."""
RECALL_ALPHA = 0.01
"""The promise at which the model's own recall is measured."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a set, the seed of its halves, and the anomalies kept from the test half.

    Attributes:
        set_name: As in the inventory.
        seed: Of the halves and of the isolation forest; the model has the seed of its settings.
        left: Anomalies left in the training half.
        untested: Anomalies that do not test, at least ``left``.
    """

    set_name: str
    seed: int
    left: int = 0
    untested: int = 0


@dataclass(frozen=True, slots=True)
class Promise:
    """How a model's own promises came out on the normal test records and the anomalies.

    Attributes:
        calibration_records: Scores behind the p-values.
        calibration_method: As the model file names it.
        false_alarm_rate: Share of the normal test records flagged at `BAND_ALPHA`.
        false_alarm_band: The range in which chance leaves it with a probability of 95%; None where so few
            calibration records cannot promise that alpha.
        recall: Share of the anomalies flagged at `RECALL_ALPHA`; None where it cannot be promised.
        recall_false_alarm_rate: Share of the normal test records flagged there.
        known_share_recall: The recall with `calibration.history_anomalies` at the share of anomalies that were left in
            the training half; None without any, and where `RECALL_ALPHA` cannot be promised.
        known_share_false_alarm_rate: Share of the normal test records flagged there.
    """

    calibration_records: int
    calibration_method: str
    false_alarm_rate: float
    false_alarm_band: tuple[float, float] | None
    recall: float | None
    recall_false_alarm_rate: float | None
    known_share_recall: float | None = None
    known_share_false_alarm_rate: float | None = None

    @property
    def in_band(self) -> bool | None:
        """Whether the false-alarm rate lies in its band; None without one."""
        if self.false_alarm_band is None:
            return None
        low, high = self.false_alarm_band
        return low <= self.false_alarm_rate <= high


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one case.

    Attributes:
        columns: Of the set.
        training_records: In the training half.
        test_records: In the test half, of both labels.
        test_anomalies: Anomalies among them.
        detectors: How each ranks the test half, by name.
        fit_seconds: Wall time of training the model, export included.
        scored_per_second: Records that the model file scores in a second, on one thread.
        file_bytes: Size of the model file.
        promise: How its promises came out.
    """

    columns: int
    training_records: int
    test_records: int
    test_anomalies: int
    detectors: dict[str, Ranking]
    fit_seconds: float
    scored_per_second: float
    file_bytes: int
    promise: Promise


def measured(case: Case, data: Path, config: TrainConfig) -> Measured:
    """Train and score by the product's own files, fit and score the baselines, and return the figures.

    Args:
        case: What to measure.
        data: Folder of the sets.
        config: Training settings.

    Raises:
        MissingDataError: There is no such set.
        TrainingError, ServiceError: The product refused the records.
    """
    halves = halves_of(case, data)
    trained = train_and_score(table_of(halves.training), table_of(halves.test), config)
    scores = {MODEL: trained.scores, **baseline_scores(halves.training, halves.test, case.seed)}
    return Measured(
        columns=halves.training.shape[1],
        training_records=len(halves.training),
        test_records=halves.labels.size,
        test_anomalies=int(halves.labels.sum()),
        detectors={name: ranking(halves.labels, values) for name, values in scores.items()},
        fit_seconds=trained.fit_seconds,
        scored_per_second=trained.records_per_second,
        file_bytes=trained.file_bytes,
        promise=_promise(trained, halves.labels, case.left / len(halves.training)),
    )


def halves_of(case: Case, data: Path) -> Halves:
    """Return what trains and what tests in a case.

    Raises:
        MissingDataError: There is no such set.
    """
    if has_own_split(data, case.set_name):
        return load_table(data, case.set_name, case.seed)
    records, labels = load_set(data, case.set_name)
    return contaminated_half(records, labels, case.seed, left=case.left, untested=case.untested)


def _promise(trained: Trained, labels: NDArray[np.bool_], left_share: float) -> Promise:
    records = trained.calibration_records
    band = None
    if _attainable(BAND_ALPHA, records):
        expected = promised_band(records, int((~labels).sum()), BAND_ALPHA)
        band = (expected.low, expected.high)
    recall, false_alarm_rate = _rates(trained, labels)
    known_recall, known_false_alarm_rate = (
        _rates(trained.with_history_anomalies(left_share), labels) if left_share else (None, None)
    )
    return Promise(
        calibration_records=records,
        calibration_method=trained.calibration_method,
        false_alarm_rate=float(trained.flagged(BAND_ALPHA)[~labels].mean()),
        false_alarm_band=band,
        recall=recall,
        recall_false_alarm_rate=false_alarm_rate,
        known_share_recall=known_recall,
        known_share_false_alarm_rate=known_false_alarm_rate,
    )


def _rates(trained: Trained, labels: NDArray[np.bool_]) -> tuple[float, float] | tuple[None, None]:
    """Return which share of the anomalies, and of the normal records, is flagged at `RECALL_ALPHA`, if it can be."""
    if not _attainable(RECALL_ALPHA, trained.calibration_records):
        return None, None
    flags = trained.flagged(RECALL_ALPHA)
    return float(flags[labels].mean()), float(flags[~labels].mean())


def _attainable(alpha: float, calibration_records: int) -> bool:
    return 1 / (calibration_records + 1) <= alpha

"""One run on one set: the model's figures beside those of the baselines, on the same records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.mixed.baselines import baseline_scores
from benchmarks.mixed.faults import KINDS, NULL, Faulty, Injector, without_values
from benchmarks.mixed.figures import Counts, Members, found, found_by_column, groups
from benchmarks.mixed.sets import MixedSet, Parts, load_set, split
from benchmarks.quality.figures import Ranking
from benchmarks.quality.trained import Trained, train_and_score
from vaegis.training.config import TrainConfig, with_overrides
from vaegis.training.evaluation.intervals import promised_band

MODEL = "vaegis"
"""Name of the product's model among the detectors."""
ALPHA = 0.01
"""At which the model's promise is measured."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many records are used.

    Attributes:
        training: To train on, at most.
        normal: Normal records to test with.
        faults: Faulty records of each kind.
    """

    training: int
    normal: int
    faults: int


@dataclass(frozen=True, slots=True)
class Experiment:
    """What is measured.

    Attributes:
        mixed_set: The set.
        removed: Share of values that are null at random, in training and test.
        seed: Of parts, removed values, faults, training and baselines.
    """

    mixed_set: MixedSet
    removed: float
    seed: int


@dataclass(frozen=True, slots=True)
class Promise:
    """What the model flags by its p-values, without any look at the test.

    Attributes:
        calibration_records: Scores behind the p-values.
        false_alarm_rate: Share of the normal test records flagged at `ALPHA`.
        false_alarm_band: The range in which chance leaves it with a probability of 95%.
        recall: Share of the faulty records flagged, by what the figure is of.
    """

    calibration_records: int
    false_alarm_rate: float
    false_alarm_band: tuple[float, float]
    recall: dict[str, float]

    @property
    def in_band(self) -> bool:
        """Whether chance explains the false alarms."""
        low, high = self.false_alarm_band
        return low <= self.false_alarm_rate <= high


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one run.

    Attributes:
        set_name: The set.
        removed: Share of values removed.
        seed: Of everything drawn.
        training_records: Records that train.
        normal_records: Normal records that test.
        faults_of_each_kind: Faulty records of each kind that test.
        fit_seconds: Of training, beside other processes.
        detectors: By detector, and by what the figure is of.
        promise: How the model's own promise came out.
        by_column: Faults found, by kind and column.
    """

    set_name: str
    removed: float
    seed: int
    training_records: int
    normal_records: int
    faults_of_each_kind: int
    fit_seconds: float
    detectors: dict[str, dict[str, Ranking]]
    promise: Promise
    by_column: Counts


def measured(experiment: Experiment, data: Path, sizes: Sizes, config: TrainConfig) -> Row:
    """Train and score by the product's own files, fit and score the baselines, and return the figures.

    Args:
        experiment: What to measure.
        data: Folder of the sets.
        sizes: How many records to use.
        config: Training settings, but for the seed.

    Raises:
        MissingDataError: The set is not there, or has too few records.
        TrainingError, ServiceError: The product refused the records.
    """
    parts, faults = _records(experiment, data, sizes)
    test = pa.concat_tables([parts.normal, *(faulty.records for faulty in faults)])
    config = with_overrides(config, {"fit.seed": experiment.seed})
    trained = train_and_score(parts.training, test, config)
    scores = {MODEL: trained.scores, **baseline_scores(parts.training, test, config, experiment.seed)}
    normal, members = parts.normal.num_rows, groups(faults)
    return Row(
        set_name=experiment.mixed_set.name,
        removed=experiment.removed,
        seed=experiment.seed,
        training_records=parts.training.num_rows,
        normal_records=normal,
        faults_of_each_kind=sizes.faults,
        fit_seconds=trained.fit_seconds,
        detectors={
            detector: {of: found(values, normal, each) for of, each in members.items()}
            for detector, values in scores.items()
        },
        promise=_promise(trained, normal, members),
        by_column=found_by_column(faults, scores, normal),
    )


def _records(experiment: Experiment, data: Path, sizes: Sizes) -> tuple[Parts, list[Faulty]]:
    """Return the records of a run; which they are depends on the seed alone, not on the share removed.

    Values are removed before faults are made, so that no fault is removed. Where they are removed, a missing value is
    ordinary, and no fault.
    """
    mixed_set, share = experiment.mixed_set, experiment.removed
    parting, removing, injecting = map(np.random.default_rng, np.random.SeedSequence(experiment.seed).spawn(3))
    records = load_set(data, mixed_set.name)
    parts = split(records, training=sizes.training, normal=sizes.normal, generator=parting)
    if share:
        training, normal = (without_values(part, share, removing) for part in (parts.training, parts.normal))
        parts = Parts(training, normal)
    injector = Injector(
        parts.normal, quantities=mixed_set.quantities, identifiers=mixed_set.identifiers, generator=injecting
    )
    return parts, [injector.inject(kind, sizes.faults) for kind in KINDS if not (share and kind == NULL)]


def _promise(trained: Trained, normal: int, groups_of: dict[str, Members]) -> Promise:
    flagged = trained.flagged(ALPHA)
    band = promised_band(trained.calibration_records, normal, ALPHA)
    return Promise(
        calibration_records=trained.calibration_records,
        false_alarm_rate=float(flagged[:normal].mean()),
        false_alarm_band=(band.low, band.high),
        recall={of: float(flagged[normal:][each].mean()) for of, each in groups_of.items()},
    )

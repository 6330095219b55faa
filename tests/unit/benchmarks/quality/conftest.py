"""Invented rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.quality.figures import Ranking
from benchmarks.quality.measure import Case, Measured, Promise
from benchmarks.quality.rows import Row


@pytest.fixture
def new_row() -> Callable[..., Row]:
    """Make a row: `new_row(case, vaegis=0.9, kNN=0.8, calibration_records=...)`, figures by detector."""

    def make(case: Case, *, calibration_records: int = 2000, false_alarm_rate: float = 0.05, **aurocs: float) -> Row:
        attainable = calibration_records >= 99
        promise = Promise(
            calibration_records=calibration_records,
            calibration_method="split-conformal",
            false_alarm_rate=false_alarm_rate,
            false_alarm_band=(0.04, 0.06) if calibration_records >= 19 else None,
            recall=0.5 if attainable else None,
            recall_false_alarm_rate=0.01 if attainable else None,
            known_share_recall=0.6 if attainable and case.left else None,
            known_share_false_alarm_rate=0.02 if attainable and case.left else None,
        )
        measured = Measured(
            columns=3,
            training_records=100,
            test_records=120,
            test_anomalies=20,
            detectors={name: Ranking(auroc=value, ap=value / 2, recall=value / 4) for name, value in aurocs.items()},
            fit_seconds=2.0 + case.seed,
            scored_per_second=1000.0,
            file_bytes=300_000,
            promise=promise,
        )
        return Row(key="now", commit="abc", case=case, measured=measured)

    return make

"""One training run and its scores, as a user gets them: a file in, `training.train`, a model file, a scored file out.

Nothing here sees the torch model. The product's own code reads the records from Parquet, writes the model file, loads
it and scores the test records into another file, as `vaegis-train` and `vaegis score` do.
"""

from __future__ import annotations

import io
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.columns import Columns
from vaegis.service.files.arrow_columns import columns_from_batch
from vaegis.service.files.formats import FileFormat
from vaegis.service.files.output import Output
from vaegis.service.files.record_files import open_records
from vaegis.service.files.scoring import ScoreFilesOptions, score_files
from vaegis.service.model import Model
from vaegis.service.pvalues import least_alpha
from vaegis.service.verdicts import Explain
from vaegis.training.calibration import records_left_out
from vaegis.training.config import TrainConfig, with_overrides
from vaegis.training.data.splits import split_at_random
from vaegis.training.progress import Progress
from vaegis.training.train import train

SPEED_RECORDS = 4096
"""Records of one pass of the speed measurement: the test records, repeated as often as that takes."""

_SPEED_SECONDS = 1.0
_FEWEST_PASSES = 3
_PREFIX = "vaegis_"  # keeps the verdict's columns apart from those of the records


@dataclass(frozen=True, slots=True)
class Trained:
    """What one model file gave on n test records.

    Attributes:
        scores: As the scored file holds them, shape (n,); higher is more anomalous.
        p_values: The same, shape (n,), in (0, 1].
        fit_seconds: Wall time of `training.train.train`, reading and export included.
        records_per_second: Records that the file's graph scores in a second on one thread; median over passes.
        file_bytes: Size of the model file.
        calibration_records: Scores behind the p-values.
        calibration_method: As the file names it, such as ``split-conformal``.
    """

    scores: NDArray[np.float64]
    p_values: NDArray[np.float64]
    fit_seconds: float
    records_per_second: float
    file_bytes: int
    calibration_records: int
    calibration_method: str

    def flagged(self, alpha: float) -> NDArray[np.bool_]:
        """Return which test records are anomalies at ``alpha``, a fraction in (0, 1); shape (n,).

        None is where the model has fewer than 1 / alpha - 1 calibration records: no p-value is so small.
        """
        is_flagged: NDArray[np.bool_] = self.p_values <= alpha
        return is_flagged

    def with_history_anomalies(self, share: float) -> Trained:
        """Return what `calibration.history_anomalies` would give, which leaves the scores of the records as they are.

        Exact with one fold. With several, the scores left out are taken to be above those of every record counted.
        """
        left_out = records_left_out(self.calibration_records, share)
        kept = self.calibration_records - left_out
        ranks = np.maximum(1.0, np.round(self.p_values * (self.calibration_records + 1)) - left_out)
        return replace(self, p_values=ranks / (kept + 1), calibration_records=kept)


def train_and_score(training: pa.Table, test: pa.Table, config: TrainConfig | None = None) -> Trained:
    """Train on one table and score another, all through files in a temporary folder.

    Args:
        training: Records to train on, at least as many as `training.data.splits` asks for; any columns, nulls too.
        test: n records with the same columns, at least one.
        config: Training settings; by default those of `vaegis-train`. The alpha that it promises is raised to the
            least that so few records can promise (p-values do not depend on it), everything else stays.

    Raises:
        TrainingError, ServiceError: The product refused the records.
    """
    config = with_attainable_alpha(config or TrainConfig(), training.num_rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "model.onnx"
        pq.write_table(training, folder / "training.parquet")
        pq.write_table(test, folder / "test.parquet")
        begin = time.perf_counter()
        train(folder / "training.parquet", model, config, Progress(Console(file=io.StringIO())))
        fit_seconds = time.perf_counter() - begin
        artifact = load_artifact(model, threads=1)
        artifact.verify()
        scores, p_values = _verdicts(artifact, folder / "test.parquet", folder / "scored.parquet")
        speed = _records_per_second(artifact, _columns(artifact, folder / "test.parquet"))
    records, method = _calibration(artifact)
    return Trained(
        scores=scores,
        p_values=p_values,
        fit_seconds=fit_seconds,
        records_per_second=speed,
        file_bytes=artifact.size_bytes,
        calibration_records=records,
        calibration_method=method,
    )


def with_attainable_alpha(config: TrainConfig, records: int) -> TrainConfig:
    """Return the settings with an alpha that ``records`` training records can promise.

    `training.train` refuses an alpha below 1 / (n + 1) with n calibration records, which 34 records are too few for.
    """
    most = config.calibration.max_records
    splits = split_at_random(records, config.splits, np.random.default_rng(0), most_calibrating=most)
    least = least_alpha(splits.calibration_records)
    if config.calibration.alpha >= least:
        return config
    return with_overrides(config, {"calibration.alpha": least})


def _verdicts(artifact: Artifact, test: Path, scored: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score a file into another, and return the scores and p-values that stand there."""
    rules = ScoreFilesOptions(artifact.contract.calibration.alpha, Explain.NONE, "reject", _PREFIX)
    score_files(Model(artifact), open_records(test), Output(scored, FileFormat.PARQUET), rules, lambda _: None)
    verdicts = pq.read_table(scored, columns=[f"{_PREFIX}score", f"{_PREFIX}p_value"])
    scores, p_values = (np.asarray(column.to_numpy(), dtype=np.float64) for column in verdicts.columns)
    return scores, p_values


def _columns(artifact: Artifact, test: Path) -> Columns:
    """Return the first test records as the scorer takes them, `SPEED_RECORDS` at most."""
    first = next(iter(open_records(test).batches()))
    batch = first.batch.slice(0, SPEED_RECORDS)
    return columns_from_batch(batch, artifact.contract.columns.of_records, path=first.path, first_row=first.first_row)


def _records_per_second(artifact: Artifact, columns: Columns) -> float:
    """Score `SPEED_RECORDS` records again and again, and return the median speed of a pass."""
    records = columns.rows(np.resize(np.arange(len(columns)), SPEED_RECORDS))
    artifact.scorer.score(records)  # onnxruntime plans its memory in the first run
    speeds: list[float] = []
    end = time.perf_counter() + _SPEED_SECONDS
    while len(speeds) < _FEWEST_PASSES or time.perf_counter() < end:
        begin = time.perf_counter()
        artifact.scorer.score(records)
        speeds.append(SPEED_RECORDS / (time.perf_counter() - begin))
    return statistics.median(speeds)


def _calibration(artifact: Artifact) -> tuple[int, str]:
    """Return the number of calibration records of a file, and how it says that they were scored."""
    calibration = artifact.contract.calibration
    return calibration.records, calibration.method

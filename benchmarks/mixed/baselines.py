"""IsolationForest and nearest neighbours on one-hot and imputed columns, fitted on the records that the model gets.

They are those of `vaegis-train evaluate`: numbers imputed by the median and standardised, categories one-hot with the
rarer ones as one, instants as time of day and day of week. A null number is its column's median, and looks normal.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vaegis.service.files.arrow_columns import columns_from_batch
from vaegis.service.files.record_files import open_records
from vaegis.training.config import TrainConfig
from vaegis.training.data.kinds import plan_columns
from vaegis.training.data.sampling import profile_and_sample
from vaegis.training.data.schema import build_schema, columns_of
from vaegis.training.evaluation.baselines import Baselines


def baseline_scores(
    training: pa.Table, test: pa.Table, config: TrainConfig, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Return the scores of the test records by the name of the detector, each of shape (n,).

    Args:
        training: Normal records; at most `vaegis.training.evaluation.baselines.MAX_REFERENCE_RECORDS` of them are used.
        test: n records with the same columns.
        config: Settings by which columns get their kinds, or are ignored, as in training.
        seed: Of the sample and the forest.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.parquet"
        pq.write_table(training, path)
        profile, sample = profile_and_sample(open_records(path), config, np.random.default_rng(seed))
    plans = plan_columns(profile, config)
    schema = build_schema(plans, sample, np.arange(len(sample)), max_categories=config.kinds.max_categories)
    baselines = Baselines(schema, columns_of(sample, schema), seed)
    (batch,) = test.combine_chunks().to_batches()
    return baselines.score(columns_from_batch(batch, schema, path=Path("test"), first_row=1))

"""What the model is measured against in the same run: nearest neighbours and an isolation forest, on the same halves.

`vaegis.training.evaluation.baselines` fits the same two on a model's columns, kinds and all. Here they stay independent of the
model: every column is a number, standardised by the training half.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from vaegis.training.evaluation.baselines import NEIGHBOURS

KNN, FOREST = "kNN", "IsolationForest"
BASELINES = (KNN, FOREST)


def baseline_scores(
    training: NDArray[np.float64], test: NDArray[np.float64], seed: int
) -> dict[str, NDArray[np.float64]]:
    """Fit both detectors on the whole training half, and score the test half.

    kNN is the mean distance to `NEIGHBOURS` neighbours; the forest has scikit-learn's defaults.

    Args:
        training: Shape (m, d), at least one record.
        test: Shape (n, d).
        seed: Of the forest.

    Returns:
        Scores by name of the detector, each of shape (n,); higher is more anomalous.
    """
    scaler = StandardScaler().fit(training)
    known, records = scaler.transform(training), scaler.transform(test)
    neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(known))).fit(known)
    forest = IsolationForest(random_state=seed).fit(known)
    return {
        KNN: neighbours.kneighbors(records)[0].mean(axis=1),
        FOREST: -forest.score_samples(records),
    }

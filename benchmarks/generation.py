"""Measure generated records by temperature: how like real ones they are, and how far from those that training saw."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from conditions import ROOT, SAMPLE, demo_model, save
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

from vaegis.service.artifact import load_artifact
from vaegis.service.generation import Generator

LIVE = ROOT / "demo" / "shuttle" / "live.parquet"
LABEL = "anomaly"
TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0)
FOLDS = 3
SHOWN = (5, 25, 50, 75, 95)  # percentiles

Values = NDArray[np.float64]  # (records, columns)


def main() -> int:
    """Measure each temperature, and real records that training did not see beside them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="records of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of draws, choice and folds (%(default)s)")
    parser.add_argument("--model", type=Path, help="measured as it is (the demo's, trained by the code of now)")
    parsed = parser.parse_args()
    generator = Generator(load_artifact(parsed.model or demo_model()).contract)
    names = generator.schema.names
    random = np.random.default_rng(parsed.seed)
    known = values(pq.read_table(SAMPLE), names)
    live = pq.read_table(LIVE)
    normal = random.permutation(values(live.filter(pc.invert(live[LABEL])), names))
    real, other = normal[: parsed.count], normal[parsed.count : 2 * parsed.count]
    drawn = {f"temperature {t:g}": generator.draw_columns(parsed.count, parsed.seed, t).values for t in TEMPERATURES}
    samples = {"real records": other} | {name: np.stack(columns, axis=1) for name, columns in drawn.items()}
    measured = {
        name: {"classifier_auroc": auroc(sample, real, parsed.seed), "distance_to_training": distances(sample, known)}
        for name, sample in samples.items()
    }
    save("generation", {"n": parsed.count, "distance_percentiles": SHOWN, "measured": measured})
    return 0


def values(table: pa.Table, names: tuple[str, ...]) -> Values:
    """Return the columns of a model as float64."""
    return np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float64)


def auroc(sample: Values, real: Values, seed: int) -> float:
    """Return how well boosted trees, cross-validated, tell a sample from real records: 0.5 is not at all."""
    records, is_real = np.concatenate([sample, real]), np.repeat([0, 1], [len(sample), len(real)])
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    classifier = HistGradientBoostingClassifier(random_state=seed)
    shares = cross_val_predict(classifier, records, is_real, cv=folds, method="predict_proba")[:, 1]
    return round(float(roc_auc_score(is_real, shares)), 3)


def distances(sample: Values, known: Values) -> list[float]:
    """Return percentiles of the distance to the nearest training record, columns scaled by the width of their bulk."""
    low, high = np.quantile(known, (0.05, 0.95), axis=0)
    width = np.where(high > low, high - low, 1.0)
    nearest = NearestNeighbors(n_neighbors=1).fit(known / width).kneighbors(sample / width)[0]
    return [round(float(distance), 3) for distance in np.percentile(nearest, SHOWN)]


if __name__ == "__main__":
    sys.exit(main())

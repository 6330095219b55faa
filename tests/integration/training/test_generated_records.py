"""Generated records beside real ones: the two-sample check of the demo's model."""

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vaegis.service.artifact import load_artifact
from vaegis.service.generation import Generator

pytestmark = pytest.mark.training

RECORDS = 4000


@pytest.fixture(scope="module")
def samples(request, train_by_default, tmp_path_factory):
    """Real records that training did not see, and as many generated ones; columns side by side."""
    shuttle = request.config.rootpath / "demo" / "shuttle"
    model = tmp_path_factory.mktemp("demo") / "shuttle.onnx"
    train_by_default(shuttle / "train.parquet", model)
    generator = Generator(load_artifact(model).contract)
    live = pq.read_table(shuttle / "live.parquet")
    normal = live.filter(pc.invert(live["anomaly"]))
    real = np.stack([normal[name].to_numpy() for name in generator.schema.names], axis=1).astype(np.float64)
    generated = np.stack(generator.draw_columns(RECORDS, seed=7).values, axis=1)
    return generator.schema, real[:RECORDS], generated


def test_each_column_keeps_its_marginal_distribution(samples):
    """The measure is Kolmogorov-Smirnov's: the largest distance between the two cumulative distributions.

    The worst column is sensor_5, of whose values many are exactly 0: noise spreads them over their neighbours.
    """
    schema, real, generated = samples
    distances = {column.name: largest_distance(real[:, i], generated[:, i]) for i, column in enumerate(schema.columns)}
    assert max(distances.values()) < 0.2, distances
    assert np.mean(list(distances.values())) < 0.07, distances


def test_values_lie_within_the_training_range_and_on_its_values(samples):
    schema, _, generated = samples
    for i, column in enumerate(schema.columns):
        assert generated[:, i].min() >= column.minimum
        assert generated[:, i].max() <= column.maximum
        assert not column.values or np.isin(generated[:, i], column.values).all()


@pytest.mark.parametrize(
    "classifier",
    [
        HistGradientBoostingClassifier(random_state=0),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=["boosted trees", "logistic regression"],
)
def test_a_classifier_separates_generated_from_real_with_an_auroc_below_nine_tenths(samples, classifier):
    _, real, generated = samples
    records, is_real = np.concatenate([generated, real]), np.repeat([0, 1], RECORDS)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    share = cross_val_predict(classifier, records, is_real, cv=folds, method="predict_proba")[:, 1]
    assert roc_auc_score(is_real, share) < 0.9


def largest_distance(one, other):
    at = np.union1d(one, other)
    shares = [np.searchsorted(np.sort(sample), at, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())

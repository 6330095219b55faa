"""An evaluation's figures on a graph so simple that they are known beforehand: the score is the number itself."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.metrics import roc_auc_score

from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.columns import Columns
from vaegis.service.contract import QUANTILE_FRACTIONS, NumericColumn, Schema
from vaegis.service.errors import AlphaError
from vaegis.service.explanations import Explainer
from vaegis.service.model_file import FORMAT_VERSION
from vaegis.service.runtime import open_session
from vaegis.service.scorer import Scorer
from vaegis.service.violations import ViolationChecks
from vaegis.training.errors import EvaluationError
from vaegis.training.evaluation.measure import MODEL, evaluate

SCHEMA = Schema(
    columns=(
        NumericColumn(
            name="value",
            missing_share=0.0,
            minimum=0.0,
            maximum=1.0,
            quantiles=(0.5,) * len(QUANTILE_FRACTIONS),
            step=0.0,
            noise_scale=1.0,
            degrees_of_freedom=4.0,
        ),
    )
)


def identity_graph(members):
    """Return a graph whose score is its input, under each of its members."""
    nodes = [
        helper.make_node("Squeeze", ["numbers", "axis"], ["score"]),
        helper.make_node("Concat", ["numbers"] * members, ["fold_scores"], axis=1),
        helper.make_node("Identity", ["score"], ["reconstruction_error"]),
        helper.make_node("Sub", ["score", "score"], ["kl"]),
        helper.make_node("Identity", ["numbers"], ["expected"]),
        helper.make_node("Sub", ["numbers", "numbers"], ["latent"]),
        helper.make_node("Concat", ["numbers", "latent"], ["contributions"], axis=1),
    ]
    vectors = [
        helper.make_tensor_value_info(n, TensorProto.DOUBLE, ["n"]) for n in ("score", "reconstruction_error", "kl")
    ]
    matrices = [
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n", width])
        for name, width in (("fold_scores", members), ("contributions", 2), ("expected", 1))
    ]
    graph = helper.make_graph(
        nodes,
        "identity",
        [helper.make_tensor_value_info("numbers", TensorProto.DOUBLE, ["n", 1])],
        [*vectors, *matrices],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def new_artifact(golden_model, *folds):
    return Artifact(
        name="model.onnx",
        contract=load_artifact(golden_model).contract.model_copy(update={"columns": SCHEMA}),
        calibration_folds=folds,
        checks=ViolationChecks(SCHEMA),
        explainer=Explainer(SCHEMA),
        scorer=Scorer(open_session(identity_graph(len(folds))), SCHEMA),
        format_version=FORMAT_VERSION,
        digest="0" * 64,
        size_bytes=0,
    )


@pytest.fixture(scope="module")
def artifact(golden_model):
    """An artifact whose calibration scores are 0.01, 0.02 .. 0.99: a record is flagged above 1 - alpha."""
    return new_artifact(golden_model, np.arange(1, 100) / 100)


@pytest.fixture(scope="module")
def ensemble(golden_model):
    """The same scores in three folds, under three members that agree."""
    return new_artifact(golden_model, *(np.arange(first, 100, 3) / 100 for first in (1, 2, 3)))


def columns(values):
    n = len(values)
    return Columns(
        np.reshape(values, (n, 1)).astype(float), np.empty((n, 0), dtype=object), np.zeros((n, 0), dtype=bool)
    )


def normal(n, seed=0):
    return np.random.default_rng(seed).random(n)


def test_shares_are_counted_at_alpha(artifact):
    values = np.array([0.1, 0.2, 0.3, 0.96, 0.4, 0.99, 2.0, 3.0])
    labels = np.array([False] * 4 + [True] * 4)
    found = evaluate(artifact, columns(values), labels, alpha=0.05, reference=columns(normal(50)), seed=0)
    assert (found.normal_records, found.anomalies, found.flagged) == (4, 4, 4)
    assert found.threshold == 0.95
    assert found.recall.value == 0.75
    assert found.precision.value == 0.75
    assert found.false_alarm_rate.value == 0.25
    assert found.rankings[MODEL].auroc.value == roc_auc_score(labels, values)


def test_without_anything_flagged_there_is_no_precision(artifact):
    labels = np.array([False, True])
    found = evaluate(artifact, columns([0.1, 0.2]), labels, alpha=0.05, reference=columns(normal(50)), seed=0)
    assert found.precision is None
    assert found.recall.value == 0.0


def test_records_like_the_calibration_records_keep_the_promise_and_others_break_it(artifact):
    labels = np.arange(2001) == 0
    kept = evaluate(artifact, columns(normal(2001)), labels, alpha=0.1, reference=columns(normal(50, 1)), seed=0)
    assert not kept.promise_is_broken
    assert kept.promised.low <= kept.false_alarm_rate.value <= kept.promised.high
    drifted = normal(2001) + 0.3
    broken = evaluate(artifact, columns(drifted), labels, alpha=0.1, reference=columns(normal(50, 1)), seed=0)
    assert broken.promise_is_broken


def test_with_folds_the_same_records_are_flagged_and_what_is_proven_of_them_is_more(artifact, ensemble):
    values, labels = normal(400), np.arange(400) < 20
    one, several = (
        evaluate(model, columns(values), labels, alpha=0.1, reference=columns(normal(50, 1)), seed=0)
        for model in (artifact, ensemble)
    )
    assert (several.flagged, several.threshold, several.calibration_records) == (one.flagged, one.threshold, 99)
    assert one.bound == 0.1
    assert several.bound == pytest.approx(0.2 + 2 * 0.9 * 2 / (99 + 3))
    assert several.promised.high > one.promised.high


def test_baselines_without_training_data_take_half_of_the_normal_records_out_of_every_figure(artifact):
    labels = np.arange(101) < 20
    found = evaluate(artifact, columns(normal(101)), labels, alpha=0.1, reference=None, seed=0)
    assert (found.normal_records, found.anomalies, found.baseline_records) == (41, 20, 40)
    assert found.labelled_records == 101
    assert not found.baselines_from_training_data


def test_all_detectors_are_measured_and_the_model_comes_first(artifact):
    labels = np.arange(100) < 10
    found = evaluate(artifact, columns(normal(100)), labels, alpha=0.1, reference=None, seed=0)
    assert list(found.rankings) == [MODEL, "IsolationForest", "kNN, mean of 5"]


def test_a_baseline_that_ranks_better_is_named(artifact):
    # The anomalies lie below all normal records, where the score is low but no neighbour is near.
    values = np.concatenate([np.full(20, -3.0), normal(200)])
    labels = np.arange(220) < 20
    found = evaluate(artifact, columns(values), labels, alpha=0.1, reference=columns(normal(200, 1)), seed=0)
    assert found.better_baselines["kNN, mean of 5"].auroc_lead.value == 1.0
    assert MODEL not in found.better_baselines


def test_no_baseline_is_named_where_none_is_better(artifact):
    values = np.concatenate([np.full(20, 3.0), normal(200)])
    labels = np.arange(220) < 20
    found = evaluate(artifact, columns(values), labels, alpha=0.1, reference=columns(normal(200, 1)), seed=0)
    assert found.better_baselines == {}


def test_one_seed_gives_one_evaluation(artifact):
    labels = np.arange(120) < 20
    first, second = (
        evaluate(artifact, columns(normal(120)), labels, alpha=0.1, reference=None, seed=3) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([False, False, False], "expected anomalies among the labelled records, got 3 normal ones only"),
        ([True, True, False], "expected at least 2 normal records, got 1 with 2 anomalies"),
    ],
)
def test_labels_of_one_sort_are_refused(artifact, labels, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(artifact, columns([0.1, 0.2, 0.3]), np.array(labels), alpha=0.1, reference=None, seed=0)


def test_an_alpha_that_cannot_be_promised_is_refused(artifact):
    with pytest.raises(AlphaError, match="needs 999 calibration records"):
        evaluate(artifact, columns([0.1, 0.2]), np.array([True, False]), alpha=0.001, reference=None, seed=0)

from __future__ import annotations

import msgspec
import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from onnx import numpy_helper

from vaegis.service.contract import Calibration
from vaegis.service.pvalues import alpha_if_clean, p_values, threshold
from vaegis.service.runtime import open_session
from vaegis.service.scorer import Scorer
from vaegis.training.calibration import LEAST_TIE_TOLERANCE, calibrate, check_alpha, far_threshold, records_left_out
from vaegis.training.config import CalibrationSettings, SplitSettings
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.schema import build_schema, category_codes, columns_of
from vaegis.training.data.splits import split_at_random
from vaegis.training.errors import CalibrationError
from vaegis.training.export.model_file import scoring_model
from vaegis.training.model.preprocessing import Values
from vaegis.training.model.vae import VAE

pytestmark = pytest.mark.training
KINDS = {"level": "numeric", "follows": "numeric", "name": "categorical"}


@pytest.fixture(scope="module", params=[1, 3], ids=["split", "cross"])
def model(request, new_export):
    """A model of one member, and one of three."""
    return new_export("all", members=request.param)


def calibrated(model, alpha=0.05):
    return calibrate(model.model.scorer, model.held_out, CalibrationSettings(alpha=alpha), model.splits.method)


def test_an_alpha_that_the_records_are_too_few_for_is_refused_with_the_number_needed():
    with pytest.raises(CalibrationError, match=r"alpha = 0\.01: expected at least 99 calibration records, got 98"):
        check_alpha(0.01, 98)
    check_alpha(0.01, 99)


@pytest.mark.parametrize("records", [10, 49, 50, 98, 137, 999])
def test_the_least_alpha_that_is_named_can_be_had(records):
    with pytest.raises(CalibrationError) as caught:
        check_alpha(1e-4, records)
    check_alpha(float(str(caught.value).rsplit(" ", 1)[1]), records)


def test_each_fold_keeps_the_scores_of_its_records_by_its_own_member_ascending(model):
    calibration = calibrated(model)
    assert calibration.method == model.splits.method
    assert calibration.alpha == 0.05
    assert calibration.tie_tolerance >= LEAST_TIE_TOLERANCE
    assert len(calibration.folds) == len(model.held_out)
    for k, (fold, records) in enumerate(zip(calibration.folds, model.held_out, strict=True)):
        scores = np.sort(model.model.scorer.score(records).fold_scores[:, k])
        assert (np.diff(fold) >= 0).all()
        np.testing.assert_allclose(fold, scores + calibration.tie_tolerance * np.maximum(1.0, np.abs(scores)))


def test_folds_hold_every_record_once_and_a_split_its_share_alone(new_export):
    ensemble, single = new_export("all", members=3), new_export("all")
    assert calibrated(ensemble).records == len(ensemble.prepared.columns)
    assert calibrated(single).records == single.splits.calibration_records < len(single.prepared.columns)


def test_a_calibration_record_is_never_flagged_for_the_rounding_of_its_own_score(exported_all):
    scorer, (records,) = exported_all.model.scorer, exported_all.held_out
    folds = [np.array(fold) for fold in calibrated(exported_all, 0.1).folds]
    n = len(records)
    alone = np.concatenate([scorer.score(records.rows(slice(i, i + 1))).fold_scores for i in range(n)])
    # Its own score is among those at or above it, in whatever batch it was scored.
    ranks = n - np.argsort(np.argsort(alone[:, 0], kind="stable"), kind="stable")
    assert (p_values(folds, alone) >= (1 + ranks) / (n + 1)).all()
    assert (alone > threshold(folds, 0.1)).mean() <= 0.1


class _CoarseScorer(Scorer):
    """Its scores differ by the size of the batch, as those of a runtime that rounds coarsely would."""

    def score(self, columns):
        scores = super().score(columns)
        return msgspec.structs.replace(scores, fold_scores=scores.fold_scores + 1e-2 * (len(columns) % 2))


def test_the_tie_tolerance_is_above_the_measured_difference_between_batch_sizes(exported_all):
    session = open_session(exported_all.model.proto.SerializeToString())
    rounding = _CoarseScorer(session, exported_all.prepared.schema)
    calibration = calibrate(rounding, exported_all.held_out, CalibrationSettings(alpha=0.1), "split-conformal")
    (records,) = exported_all.held_out
    for size in (1, 2, 5):
        batches = [records.rows(slice(at, at + size)) for at in range(0, len(records), size)]
        scores = np.concatenate([rounding.score(batch).fold_scores for batch in batches])
        ranks = len(records) - np.argsort(np.argsort(scores[:, 0], kind="stable"), kind="stable")
        assert (p_values([np.array(calibration.folds[0])], scores) >= (1 + ranks) / (len(records) + 1)).all()
    assert calibration.tie_tolerance > 1e-3


def test_equal_records_of_rare_booleans_have_one_p_value_in_batches_of_every_size(new_sample, quick_fit, graph_of):
    rng = np.random.default_rng(0)
    sample = new_sample(pa.table({f"flag {at}": rng.random(500) < 0.002 * (1 + at % 5) for at in range(30)}))
    plans = tuple(ColumnPlan(name, "boolean", "") for name in sample.table.schema.names)
    schema = build_schema(plans, sample, np.arange(500), max_categories=100)
    columns = columns_of(sample, schema)
    vae = VAE(schema, latent_dim=8, hidden=16, records=400)
    values = Values(*vae.preprocessing(torch.from_numpy(columns.numbers), category_codes(columns, schema)))
    fitted_rows = torch.arange(400)[None]
    fitted = quick_fit(vae, values, members=fitted_rows)
    graph = graph_of(fitted, schema, values, fitted_rows)
    scorer = scoring_model(graph, schema).scorer
    calibration = calibrate(scorer, [columns.rows(slice(400, 500))], CalibrationSettings(alpha=0.05), "split-conformal")
    usual = columns.rows(np.flatnonzero((columns.numbers == 0.0).all(1)))
    scores = np.concatenate([scorer.score(usual.rows(slice(0, size))).fold_scores for size in (1, 2, 7, 64, 255)])
    assert np.unique(p_values([np.array(calibration.folds[0])], scores)).size == 1


def test_too_few_records_for_alpha_are_refused(model):
    few = [records.rows(slice(0, 10)) for records in model.held_out]
    with pytest.raises(CalibrationError, match="expected at least 99 calibration records"):
        calibrate(model.model.scorer, few, CalibrationSettings(), model.splits.method)


def test_scores_that_are_not_finite_are_refused(model):
    proto = onnx.ModelProto()
    proto.CopyFrom(model.model.proto)
    for initializer in proto.graph.initializer:
        if initializer.name == "missingness_weight":
            weights = numpy_helper.to_array(initializer)
            initializer.CopyFrom(numpy_helper.from_array(np.full_like(weights, np.nan), initializer.name))
    broken = Scorer(open_session(proto.SerializeToString()), model.model.schema)
    wrong = model.splits.calibration_records
    with pytest.raises(CalibrationError, match=f"expected finite scores, got {wrong} that are not"):
        calibrate(broken, model.held_out, CalibrationSettings(alpha=0.05), model.splits.method)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_the_threshold_is_that_of_alpha_and_the_share_of_anomalies_together(model, share):
    settings = CalibrationSettings(alpha=0.05, history_anomalies=share)
    trimmed = calibrate(model.model.scorer, model.held_out, settings, model.splits.method)
    whole = calibrated(model)
    assert trimmed.history_anomalies == share
    assert trimmed.records == whole.records - int(share * whole.records)
    kept, every = (np.sort(np.concatenate(each.folds)) for each in (trimmed, whole))
    np.testing.assert_array_equal(kept, every[: kept.size])
    folds = [np.array(fold) for fold in trimmed.folds]
    above = (every > threshold(folds, 0.05)).sum()
    assert above <= alpha_if_clean(0.05, share) * (every.size + 1)
    assert above > alpha_if_clean(0.05, share) * (every.size + 1) - 3


def test_a_share_of_anomalies_in_the_history_keeps_recall_and_bounds_false_alarms_either_way():
    """Normal scores are exponential, those of anomalies far above; 3% of 1,000 calibration records are anomalies.

    Without the setting few anomalies are flagged at 1%. With it most are, and normal records at the stated rates.
    """
    alpha, share, rng = 0.01, 0.03, np.random.default_rng(0)
    rates = {"recall without": [], "recall": [], "false alarms": [], "false alarms if clean": []}
    for _ in range(100):
        normal, fresh = rng.exponential(size=(2, 1000))
        anomalies, unseen = 6.0 + rng.exponential(size=(2, 1000))
        mixed = np.sort(np.concatenate([normal[:970], anomalies[:30]]))
        left_out = records_left_out(1000, share)
        rates["recall without"].append(np.mean(unseen > threshold([mixed], alpha)))
        rates["recall"].append(np.mean(unseen > threshold([mixed[:-left_out]], alpha)))
        rates["false alarms"].append(np.mean(fresh > threshold([mixed[:-left_out]], alpha)))
        clean = threshold([np.sort(normal)[:-left_out]], alpha)
        rates["false alarms if clean"].append(np.mean(fresh > clean))
    mean = {name: np.mean(of_runs) for name, of_runs in rates.items()}
    assert mean["recall without"] < 0.5
    assert mean["recall"] > 0.95
    assert mean["false alarms"] <= 1.1 * alpha
    assert alpha < mean["false alarms if clean"] <= 1.02 * alpha_if_clean(alpha, share)


def with_scores(scores: list[float], alpha: float) -> Calibration:
    return Calibration(method="split-conformal", alpha=alpha, folds=(tuple(scores),), tie_tolerance=0.0)


@pytest.mark.parametrize(("alpha", "is_far"), [(0.01, True), (0.04, False)])
def test_a_threshold_among_the_scores_of_more_anomalies_than_alpha_is_far(alpha, is_far):
    usual = np.linspace(-1.0, 5.0, 980)
    found = far_threshold(with_scores([*usual, *np.linspace(500.0, 900.0, 20)], alpha))
    assert (found is not None) is is_far
    if found is not None:
        at_alpha, below = found
        assert at_alpha > 500.0
        assert below == pytest.approx(usual[900], abs=0.05)


def test_the_tail_of_typical_scores_is_not_far():
    scores = np.sort(np.random.default_rng(0).standard_gamma(1.0, 1000))
    assert far_threshold(with_scores(scores.tolist(), 0.01)) is None


def test_the_mean_false_alarm_rate_of_small_ensembles_is_near_alpha(new_sample, quick_fit, graph_of):
    """What is proven of folds is looser than what happens: here is what happens, over twelve draws of 60 records.

    Numbers have heavy tails, and each draw has categories that no other record has: where a member learned anything of
    its own fold, by way of the schema, it would show.
    """
    alpha, records, fresh = 0.1, 60, 500
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(12):
        level, noise = rng.standard_t(3, (2, records + fresh))
        names = np.where(level > 0, "up", "down").astype(object)
        rare = rng.random(names.size) < 0.05
        names[rare] = [f"rare {i}" for i in np.flatnonzero(rare)]
        sample = new_sample(pa.table({"level": level, "follows": level + noise, "name": names.tolist()}))
        plans = tuple(ColumnPlan(name, kind, "") for name, kind in KINDS.items())
        splits = split_at_random(records, SplitSettings(method="cross"), rng, most_calibrating=records)
        schema = build_schema(plans, sample, splits.fitted_records, max_categories=100)
        columns = columns_of(sample, schema)
        vae = VAE(schema, latent_dim=2, hidden=8, records=splits.fit.shape[1], members=len(splits.fit))
        numbers, codes = torch.from_numpy(columns.numbers), category_codes(columns, schema)
        with torch.no_grad():
            values = Values(*vae.preprocessing(numbers, codes))
        rows = torch.from_numpy(splits.fit)
        fitted = quick_fit(vae, values, members=rows, steps=50, batch_size=16)
        graph = graph_of(fitted, schema, values, rows)
        with torch.no_grad():
            fold_scores = graph(numbers, codes).fold_scores.numpy()
        folds = [np.sort(fold_scores[rows, k]) for k, rows in enumerate(splits.calibration)]
        rates.append(float((p_values(folds, fold_scores[records:]) <= alpha).mean()))
    # The rate of one draw has a standard deviation of about 0.04, so their mean one of 0.012.
    assert np.mean(rates) == pytest.approx(alpha, abs=0.04), rates

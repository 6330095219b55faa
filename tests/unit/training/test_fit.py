from __future__ import annotations

import math
import signal

import numpy as np
import pyarrow as pa
import pytest
import torch

from training.config import FitSettings
from training.data.kinds import ColumnPlan
from training.data.schema import build_schema, category_codes, columns_of
from training.errors import FitError
from training.fit import Epoch, antithetic_noise
from training.model.preprocessing import rows
from training.model.score import ScoringGraph, typical_terms
from training.model.vae import VAE

pytestmark = pytest.mark.training


def mean_loss(fitted, values) -> float:
    """Return the loss of some records under a fitted model, as fitting states it, at the default weight of the KL."""
    with torch.no_grad():
        terms, _ = fitted.vae.terms(values, fitted.exemplars, fitted.noise)
    return float((terms.value.sum(1) + terms.missingness.sum(1) + FitSettings().beta * terms.kl).mean())


def test_thirty_two_records_can_be_overfitted(new_records, quick_fit):
    prepared = new_records(32, missing_share=0.0)
    vae = prepared.model(latent_dim=8, hidden=128)
    values = prepared.values(vae)
    fitted = quick_fit(
        vae, values, values, steps=800, batch_size=32, learning_rate=5e-3, missing_rate=0.0, trim_share=0.0, beta=0.01
    )
    with torch.no_grad():
        decoded = fitted.vae.decode(fitted.vae.encode(values)[0])
    country, size, hour, weekday = decoded.categories.split([3, 2, 24, 7], dim=-1)
    found = torch.stack([part.argmax(1) for part in (country, size, hour, weekday)], dim=1)
    assert torch.equal(found, values.codes)
    assert torch.equal(decoded.true > 0.5, values.boolean > 0.5)
    assert float((decoded.mean - values.numeric).abs().mean()) < 0.1


def test_fitting_lowers_the_loss_of_records_it_never_saw(new_records, quick_fit):
    prepared, fresh = new_records(300), new_records(300, seed=1)
    vae = prepared.model()
    values = prepared.values(vae)
    losses: list[Epoch] = []
    unseen = type(fresh)(prepared.schema, fresh.columns).values(vae)
    fitted = quick_fit(vae, values, unseen, losses.append, steps=300)
    assert losses[-1].validation_loss < losses[0].validation_loss - 1.0
    assert mean_loss(fitted, unseen) == pytest.approx(fitted.validation_loss, rel=1e-4)


def test_records_that_are_all_the_same_can_be_fitted(new_records, quick_fit):
    one = new_records(60, missing_share=0.0)
    same = type(one)(one.schema, one.columns.rows(np.zeros(60, dtype=np.int64)))
    vae = same.model()
    fitted = quick_fit(vae, same.values(vae), same.values(vae), steps=200)
    assert math.isfinite(fitted.validation_loss)
    with torch.no_grad():
        terms, _ = fitted.vae.terms(same.values(vae), fitted.exemplars, fitted.noise)
    assert torch.isfinite(terms.kl).all()
    torch.testing.assert_close(terms.value, terms.value[:1].expand_as(terms.value))


def test_the_best_epoch_is_kept_and_told_also_when_later_ones_go_wrong(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    epochs: list[Epoch] = []

    def spoil_after_the_third(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.number == 3:
            with torch.no_grad():
                vae.decoder_skip.weight += 5.0

    fitted = quick_fit(vae, values, values, spoil_after_the_third)
    losses = [epoch.validation_loss for epoch in epochs]
    assert [epoch.number for epoch in epochs] == list(range(1, fitted.epochs + 1))
    assert {epoch.total for epoch in epochs} == {fitted.epochs}
    assert fitted.best_epoch == 1 + int(np.argmin(losses)) == 3
    assert fitted.epochs > 3
    assert [epoch.is_best for epoch in epochs] == [loss == min(losses[: i + 1]) for i, loss in enumerate(losses)]
    assert fitted.validation_loss == min(losses)
    assert mean_loss(fitted, values) == pytest.approx(min(losses), rel=1e-4)
    assert not fitted.interrupted
    assert not fitted.vae.training


def test_exemplars_are_the_codes_of_fitted_records_under_the_kept_weights(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    fitted = quick_fit(vae, values, values, exemplars=20)
    with torch.no_grad():
        codes, _ = fitted.vae.encode(values)
    assert fitted.exemplars.shape == (20, 3)
    nearest = (fitted.exemplars[:, None] - codes).abs().amax(2).amin(1)
    torch.testing.assert_close(nearest, torch.zeros(20))


def test_interrupting_keeps_the_best_epoch_so_far(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    epochs: list[Epoch] = []

    def interrupt(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.number == 3:
            signal.raise_signal(signal.SIGINT)

    fitted = quick_fit(vae, values, values, interrupt)
    assert fitted.interrupted
    assert fitted.epochs == 3
    assert fitted.validation_loss == min(epoch.validation_loss for epoch in epochs)
    assert mean_loss(fitted, values) == pytest.approx(fitted.validation_loss, rel=1e-4)


def test_interrupting_before_the_first_epoch_ended_leaves_no_model(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    vae.encoder.register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        quick_fit(vae, values, values)


def test_a_loss_that_is_not_finite_stops_the_fit(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    with torch.no_grad():
        vae.mu.bias.fill_(float("nan"))
    with pytest.raises(FitError, match="epoch 1: expected a finite loss, got nan"):
        quick_fit(vae, values, values)


def test_fitting_stops_when_nothing_gets_better(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    fitted = quick_fit(vae, values, values, steps=1000, patience_steps=30, learning_rate=1e-30)
    assert fitted.epochs < 20
    assert fitted.best_epoch == 1


def test_one_seed_gives_one_model_and_another_seed_another(prepared, quick_fit):
    weights = []
    for seed in (1, 1, 2):
        vae = prepared.model(seed=seed)
        values = prepared.values(vae)
        fitted = quick_fit(vae, values, values, steps=10, seed=seed)
        weights.append([*fitted.vae.state_dict().values(), fitted.exemplars, fitted.noise])
    one, same, other = weights
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("records", [5, 16, 17])
def test_a_handful_of_records_can_be_fitted(new_records, quick_fit, records):
    prepared = new_records(records, missing_share=0.0)
    vae = prepared.model()
    values = prepared.values(vae)
    assert math.isfinite(quick_fit(vae, values, values, steps=20).validation_loss)


@pytest.mark.parametrize("draws", [2, 5, 8])
def test_noise_comes_in_pairs_of_opposite_sign(draws):
    noise = antithetic_noise(draws, 3, torch.Generator().manual_seed(0))
    half = draws // 2
    assert noise.shape == (2 * half, 3)
    assert torch.equal(noise[:half], -noise[half:])


def sensors(records: int, seed: int) -> pa.Table:
    """Return readings of four sensors that follow two hidden levels, and a mode that follows one of them."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=(records, 2))
    readings = level @ np.array([[1.0, 0.5, -1.0, 0.0], [0.0, 1.0, 0.5, 1.0]]) + 0.15 * rng.normal(size=(records, 4))
    return pa.table({f"s{i}": readings[:, i] for i in range(4)} | {"mode": np.where(level[:, 0] > 0, "hot", "cold")})


def gross(records: int, seed: int) -> pa.Table:
    """Return readings far off in every direction, of a mode picked at random: faults that a history may hold."""
    rng = np.random.default_rng(seed)
    readings = rng.normal(size=(records, 4))
    readings *= rng.uniform(8.0, 40.0, (records, 1)) / np.linalg.norm(readings, axis=1, keepdims=True)
    return pa.table({f"s{i}": readings[:, i] for i in range(4)} | {"mode": rng.choice(["hot", "cold"], records)})


def subtle(records: int, seed: int) -> pa.Table:
    """Return readings each usual by itself, taken from different moments."""
    rng = np.random.default_rng(seed)
    columns = sensors(records, seed)
    return pa.table({name: columns[name].take(pa.array(rng.permutation(records))) for name in columns.column_names})


PLANS = (*(ColumnPlan(f"s{i}", "numeric", "") for i in range(4)), ColumnPlan("mode", "categorical", ""))


@pytest.fixture
def scores_after(new_sample, quick_fit):
    """Fit four fifths of a history, stop by the other fifth, and return the score of records by sort."""

    def run(history: pa.Table, judged: dict[str, pa.Table]) -> dict[str, np.ndarray]:
        order = np.random.default_rng(0).permutation(history.num_rows)
        schema = build_schema(PLANS, new_sample(history), order, max_categories=10)
        torch.manual_seed(0)
        vae = VAE(schema, latent_dim=3, hidden=32, records=history.num_rows)

        def inputs(table: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
            columns = columns_of(new_sample(table), schema)
            return torch.from_numpy(columns.numbers), category_codes(columns, schema)

        with torch.no_grad():
            known = rows(vae.preprocessing(*inputs(history)), torch.from_numpy(order))
        fifth = history.num_rows // 5
        validation = rows(known, slice(0, fifth))
        fitted = quick_fit(vae, rows(known, slice(fifth, None)), validation, steps=600, batch_size=64, exemplars=400)
        typical = typical_terms(fitted.vae, validation, fitted.exemplars, fitted.noise)
        graph = ScoringGraph(fitted.vae, schema, fitted.exemplars, fitted.noise, typical).eval()
        with torch.no_grad():
            return {sort: graph(*inputs(table)).score.numpy() for sort, table in judged.items()}

    return run


def test_five_per_cent_of_gross_anomalies_in_the_history_do_not_collapse_the_model(scores_after):
    normal = sensors(760, 0)
    history = pa.concat_tables([normal, gross(40, 1)])
    assert history.num_rows == 800  # 5% of it
    # The same records, fitted by neither, judged by both models: what contamination costs, and nothing else.
    judged = {"normal": sensors(500, 2), "gross": gross(500, 3), "subtle": subtle(500, 4)}
    clean, dirty = scores_after(normal, judged), scores_after(history, judged)
    assert auroc(clean["normal"], clean["gross"]) > 0.99
    assert auroc(dirty["normal"], dirty["gross"]) > 0.99
    assert auroc(clean["normal"], clean["subtle"]) > 0.9
    assert auroc(dirty["normal"], dirty["subtle"]) > auroc(clean["normal"], clean["subtle"]) - 0.03
    # Nor does the model widen until everything is ordinary: gross records stay far above the normal ones.
    assert np.median(dirty["gross"]) > np.quantile(dirty["normal"], 0.99)


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """Return the chance that an anomaly scores above a normal record."""
    return float((anomalous[:, None] > normal[None]).mean() + 0.5 * (anomalous[:, None] == normal[None]).mean())

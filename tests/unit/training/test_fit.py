from __future__ import annotations

import dataclasses
import itertools
import math
import signal
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vaegis.training.config import FitSettings
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.schema import build_schema, category_codes, columns_of
from vaegis.training.errors import FitError
from vaegis.training.fit import (
    Epoch,
    Fitted,
    _corrupted,
    _exemplars_for,
    antithetic_noise,
    clip_gradients,
)
from vaegis.training.model import prior
from vaegis.training.model.preprocessing import NULL_CODE, Values, rows
from vaegis.training.model.vae import VAE
from vaegis.training.schedule import batch_size_for

pytestmark = pytest.mark.training
# What an encoder is shown is then what the records hold, and no record is left out.
AS_IT_IS = {"missing_rate": 0.0, "masked_share": 0.0, "input_noise": 0.0, "trim_share": 0.0}
HALVES = torch.stack([torch.arange(100), torch.arange(100, 200)])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean_loss(fitted, values) -> float:
    """Return the loss of some records under a fitted model, as fitting states it, at the default weight of the KL."""
    with torch.no_grad():
        terms, _ = fitted.vae.terms(values, fitted.exemplars, fitted.noise)
    return float((terms.value.sum(-1) + terms.missingness.sum(-1) + FitSettings().beta * terms.kl).mean())


def test_thirty_two_records_can_be_overfitted(new_records, quick_fit):
    prepared = new_records(32, missing_share=0.0)
    vae = prepared.model(latent_dim=8, hidden=128)
    values = prepared.values(vae)
    often = torch.arange(32).repeat(25)[None]  # a set so small would get few steps
    fitted = quick_fit(vae, values, members=often, steps=800, learning_rate=5e-3, beta=0.01, **AS_IT_IS)
    with torch.no_grad():
        decoded = fitted.vae.decode(fitted.vae.encode(values)[0])
    country, size, hour, weekday = decoded.categories[0].split([3, 2, 24, 7], dim=-1)
    found = torch.stack([part.argmax(1) for part in (country, size, hour, weekday)], dim=1)
    assert torch.equal(found, values.codes)
    assert torch.equal(decoded.true[0] > 0.5, values.boolean > 0.5)
    assert float((decoded.mean[0] - values.numeric).abs().mean()) < 0.1


@pytest.mark.parametrize("members", [1, 2])
def test_fitting_lowers_the_loss_of_records_it_never_saw(new_records, quick_fit, members):
    prepared = new_records(300)
    unseen = dataclasses.replace(new_records(300, seed=1), schema=prepared.schema)
    losses: list[Epoch] = []
    after = []
    for steps in (1, 150):
        vae = prepared.model(members=members)
        fitted = quick_fit(vae, prepared.values(vae), losses.append, steps=steps)
        after.append(mean_loss(fitted, unseen.values(vae)))
    assert after[1] < after[0] - 1.0
    assert losses[-1].loss < losses[1].loss - 1.0


def test_records_that_are_all_the_same_can_be_fitted(new_records, quick_fit):
    one = new_records(60, missing_share=0.0)
    same = dataclasses.replace(one, columns=one.columns.rows(np.zeros(60, dtype=np.int64)))
    vae = same.model()
    fitted = quick_fit(vae, same.values(vae), steps=50)
    assert math.isfinite(fitted.loss)
    with torch.no_grad():
        terms, _ = fitted.vae.terms(same.values(vae), fitted.exemplars, fitted.noise)
    assert torch.isfinite(terms.kl).all()
    torch.testing.assert_close(terms.value, terms.value[:, :1].expand_as(terms.value))


def test_every_epoch_is_reported_and_the_last_is_kept(prepared, quick_fit):
    vae = prepared.model()
    epochs: list[Epoch] = []
    weights = []

    def note(epoch: Epoch) -> None:
        epochs.append(epoch)
        weights.append([parameter.detach().clone() for parameter in vae.parameters()])

    fitted = quick_fit(vae, prepared.values(vae), note)
    assert [epoch.number for epoch in epochs] == list(range(1, fitted.epochs + 1))
    assert {epoch.total for epoch in epochs} == {fitted.epochs} == {10}  # 60 steps of 32 among 200 records
    assert fitted.loss == epochs[-1].loss
    assert all(torch.equal(one, other) for one, other in zip(fitted.vae.parameters(), weights[-1], strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(*weights[-2:], strict=True))
    assert not fitted.interrupted
    assert not fitted.vae.training


def test_exemplars_are_the_codes_of_the_members_own_records_under_the_kept_weights(prepared, quick_fit):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    fitted = quick_fit(vae, values, members=HALVES, exemplars=20)
    assert fitted.exemplars.shape == (2, 20, 3)
    with torch.no_grad():
        codes, _ = fitted.vae.encode(values)
    for member, own in enumerate(HALVES):
        distance = (fitted.exemplars[member, :, None] - codes[member]).abs().amax(2)
        nearest = distance.argmin(1)
        torch.testing.assert_close(distance.amin(1), torch.zeros(20))
        assert set(nearest.tolist()) <= set(own.tolist())
        assert len(set(nearest.tolist())) == 20


def test_a_member_never_learns_of_a_record_that_it_leaves_out(prepared, new_records, quick_fit):
    # Of all records that member 0 leaves out, every value is changed: it stays the same to the last bit.
    other = dataclasses.replace(new_records(200, seed=5), schema=prepared.schema)
    folds = torch.arange(200).reshape(4, 50)
    members = torch.stack([torch.cat([*folds[:at], *folds[at + 1 :]]) for at in range(3)])
    fits = []
    for swapped in (slice(0, 0), slice(0, 50)):
        vae = prepared.model(members=3)
        values = Values(*(part.clone() for part in prepared.values(vae)))
        for part, replacement in zip(values, other.values(vae), strict=True):
            part[swapped] = replacement[swapped]
        fits.append(quick_fit(vae, values, members=members, steps=40))
    for (name, one), two in zip(fits[0].vae.named_parameters(), fits[1].vae.parameters(), strict=True):
        assert torch.equal(one[0], two[0]), name
        assert not torch.equal(one[1], two[1]), name
        assert not torch.equal(one[2], two[2]), name
    assert torch.equal(fits[0].exemplars[0], fits[1].exemplars[0])


def test_interrupting_keeps_the_model_so_far(prepared, quick_fit):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    epochs: list[Epoch] = []
    weights = []

    def interrupt(epoch: Epoch) -> None:
        epochs.append(epoch)
        if epoch.number == 3:
            weights.extend(parameter.detach().clone() for parameter in vae.parameters())
            signal.raise_signal(signal.SIGINT)

    fitted = quick_fit(vae, values, interrupt)
    assert fitted.interrupted
    assert fitted.epochs == len(epochs) == 3
    assert fitted.loss == epochs[-1].loss
    assert all(torch.equal(one, other) for one, other in zip(fitted.vae.parameters(), weights, strict=True))
    assert not fitted.vae.training
    assert math.isfinite(mean_loss(fitted, values))


def test_interrupting_in_the_midst_of_an_epoch_counts_those_that_ended(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    calls = itertools.count(1)

    def interrupt(*_: object) -> None:
        if next(calls) == 10:  # of the decoder, once a step: 6 steps an epoch
            signal.raise_signal(signal.SIGINT)

    handle = vae.decoder.register_forward_pre_hook(interrupt)
    fitted = quick_fit(vae, values)
    handle.remove()
    assert fitted.interrupted
    assert fitted.epochs == 1
    assert math.isfinite(mean_loss(fitted, values))


def test_interrupting_within_a_step_ends_the_fit_after_that_step(prepared, quick_fit):
    def weights_after_ten_steps(*, interrupting: bool) -> list[torch.Tensor]:
        vae = prepared.model()
        calls, weights = itertools.count(1), []

        def on_step(*_: object) -> None:
            number = next(calls)
            if number == 10 and interrupting:
                signal.raise_signal(signal.SIGINT)
            if number == 11 and not interrupting:
                weights.extend(parameter.detach().clone() for parameter in vae.parameters())

        handle = vae.decoder.register_forward_pre_hook(on_step)  # called once a step
        fitted = quick_fit(vae, prepared.values(vae))
        handle.remove()
        return list(fitted.vae.parameters()) if interrupting else weights

    cut_short, whole = (weights_after_ten_steps(interrupting=interrupting) for interrupting in (True, False))
    assert all(torch.equal(one, other) for one, other in zip(cut_short, whole, strict=True))


def test_interrupting_before_the_first_epoch_ended_leaves_no_model(prepared, quick_fit):
    vae = prepared.model()
    values = prepared.values(vae)
    vae.encoder.register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        quick_fit(vae, values)


@pytest.mark.parametrize("sick", [0, 1])
def test_a_loss_of_any_member_that_is_not_finite_stops_the_fit(prepared, quick_fit, sick):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    with torch.no_grad():
        vae.mu_skip.weight[sick] = float("nan")
    with pytest.raises(FitError, match="epoch 1: the loss is nan"):
        quick_fit(vae, values)


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_loss_that_is_not_finite_stops_the_fit_in_an_epoch_that_is_interrupted_as_well(prepared, quick_fit, epoch):
    vae = prepared.model()
    calls = itertools.count(1)

    def break_down(*_: object) -> None:
        number = next(calls)  # of the decoder, once a step: 6 steps an epoch
        if number == 6 * epoch - 3:
            with torch.no_grad():
                next(vae.decoder.parameters()).fill_(float("nan"))
        if number == 6 * epoch - 1:
            signal.raise_signal(signal.SIGINT)

    vae.decoder.register_forward_pre_hook(break_down)
    with pytest.raises(FitError, match=f"epoch {epoch}: the loss is nan"):
        quick_fit(vae, prepared.values(vae))


@pytest.mark.parametrize("members", [1, 3])
def test_one_seed_gives_one_model_and_another_seed_another(prepared, quick_fit, members):
    made = []
    for seed, weights in ((1, 0), (1, 0), (2, 0)):
        vae = prepared.model(seed=weights, members=members)
        fitted = quick_fit(vae, prepared.values(vae), steps=10, seed=seed)
        made.append([*fitted.vae.state_dict().values(), fitted.exemplars, fitted.noise])
    one, same, other = made
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("records", [5, 16, 17])
def test_a_handful_of_records_can_be_fitted(new_records, quick_fit, records):
    prepared = new_records(records, missing_share=0.0)
    vae = prepared.model()
    assert math.isfinite(quick_fit(vae, prepared.values(vae), steps=20).loss)


@pytest.mark.parametrize(("records", "most", "taken"), [(40, 3000, 200), (40, 10, 10), (160, 3000, 240)])
def test_a_small_set_gets_a_number_of_passes_rather_than_all_steps(new_records, quick_fit, records, most, taken):
    # 40 records make 2 batches of 16, and 60 passes over them are fewer than 200 steps; 160 make 4 of 40.
    prepared = new_records(records)
    vae = prepared.model(hidden=4)
    steps = []
    vae.decoder.register_forward_pre_hook(lambda *_: steps.append(1))
    fitted = quick_fit(vae, prepared.values(vae), steps=most, batch_size=128)
    assert len(steps) == taken
    assert fitted.epochs == taken // (records // batch_size_for(records, 128))


@pytest.mark.parametrize("n", [10, 1024, 3000])
def test_the_exemplars_of_a_step_are_the_members_own_records(n):
    own = torch.stack([torch.arange(n), 10_000 + torch.arange(n)])
    chosen = _exemplars_for(own, seeded())
    assert chosen.shape == (2, min(n, 1024))
    for member in range(2):
        assert set(chosen[member].tolist()) <= set(own[member].tolist())


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=4), st.integers(0, 1000))
@examples(deadline=None)
def test_gradients_are_bounded_for_each_member_by_itself_and_keep_their_direction(prepared, sizes, seed):
    vae = prepared.model(members=len(sizes), hidden=4)
    for at, parameter in enumerate(vae.parameters()):
        noise = torch.randn(parameter.shape, generator=seeded(seed + at))
        parameter.grad = noise * torch.tensor(sizes).reshape(-1, *[1] * (parameter.dim() - 1))
    before = by_member(vae)
    clip_gradients(vae)
    after = by_member(vae)
    for one, clipped in zip(before, after, strict=True):
        expected = one * min(1.0, 5.0 / float(one.norm()))
        torch.testing.assert_close(clipped, expected, rtol=1e-4, atol=1e-6)


def by_member(vae: VAE) -> torch.Tensor:
    """Return the gradient of each member as one vector."""
    return torch.cat([parameter.grad.clone().flatten(1) for parameter in vae.parameters()], dim=1)


SHARES = st.floats(0.0, 0.9)


@given(SHARES, SHARES, SHARES, st.floats(0.0, 10.0), st.integers(0, 2**32 - 1), st.booleans())
@examples(deadline=None)
def test_what_the_encoder_is_shown_hides_values_and_shakes_numbers_that_are_there(
    prepared, missing_rate, masked_share, most_masked, input_noise, seed, own_records
):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    if own_records:
        values = rows(values, HALVES)
    chosen = FitSettings(
        missing_rate=missing_rate, masked_share=masked_share, most_masked=most_masked, input_noise=input_noise
    )
    shown = _corrupted(vae, values, chosen, seeded(seed))
    numeric, boolean, categorical, instants = (shown.observed[..., at] for at in vae.kind_positions)
    assert not (shown.observed & ~values.observed).any()
    assert (shown.numeric[~numeric] == 0).all()
    assert (shown.boolean[~boolean] == 0).all()
    assert (shown.cyclic[~instants[..., 0]] == 0).all()
    assert (shown.codes[..., :2][~categorical] == NULL_CODE).all()
    # What is still there is the value itself, but for numbers.
    assert torch.equal(shown.boolean[boolean], values.boolean[boolean])
    assert torch.equal(shown.codes[..., :2][categorical], values.codes[..., :2][categorical])
    assert torch.equal(shown.cyclic[instants[..., 0]], values.cyclic[instants[..., 0]])
    shift = (shown.numeric - values.numeric)[numeric]
    assert (shift.abs() <= 6.0 * input_noise).all()
    assert input_noise < 1e-3 or (shift != 0).float().mean() > 0.9 or not len(shift)


def test_without_noise_and_masks_the_encoder_is_shown_the_records_themselves(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    shown = _corrupted(vae, values, FitSettings.model_validate(AS_IT_IS), seeded())
    assert all(torch.equal(one, other) for one, other in zip(shown, values, strict=True))


def test_shares_hidden_and_noise_are_those_of_the_settings(new_records):
    prepared = new_records(4000, missing_share=0.0)
    vae = prepared.model()
    values = prepared.values(vae)

    def shown(**changed: float) -> Values:
        return _corrupted(vae, values, FitSettings.model_validate(AS_IT_IS | changed), seeded())

    few = shown(missing_rate=0.2).observed.float()
    assert float(few.mean()) == pytest.approx(0.8, abs=0.01)
    many = 1.0 - shown(masked_share=1.0, most_masked=0.6).observed.float().mean(1)
    assert float(many.mean()) == pytest.approx(0.3, abs=0.01)
    assert float(many.std()) > float(few.mean(1).std())  # some records lose much, some nothing
    half = 1.0 - shown(masked_share=0.5, most_masked=0.6).observed.float().mean(1)
    assert float(half.mean()) == pytest.approx(0.15, abs=0.01)
    shift = shown(input_noise=0.25).numeric - values.numeric
    assert float(shift.std()) == pytest.approx(0.25, rel=0.03)
    assert float(shift.mean()) == pytest.approx(0.0, abs=0.01)


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
def fitted_to(new_sample, quick_fit, graph_of):
    """Fit a history; return the fit and a function that gives the scores of records."""

    def run(history: pa.Table) -> tuple[Fitted, Callable[[pa.Table], np.ndarray]]:
        everyone = np.arange(history.num_rows)
        schema = build_schema(PLANS, new_sample(history), everyone, max_categories=10)
        torch.manual_seed(0)
        vae = VAE(schema, latent_dim=3, hidden=32, records=history.num_rows)

        def inputs(table: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
            columns = columns_of(new_sample(table), schema)
            return torch.from_numpy(columns.numbers), category_codes(columns, schema)

        with torch.no_grad():
            known = vae.preprocessing(*inputs(history))
        fitted = quick_fit(vae, known, steps=600, batch_size=64, exemplars=400)
        graph = graph_of(fitted, schema, known, torch.from_numpy(everyone)[None])

        def scores(table: pa.Table) -> np.ndarray:
            with torch.no_grad():
                return graph(*inputs(table)).score.numpy()

        return fitted, scores

    return run


def test_five_per_cent_of_gross_anomalies_in_the_history_do_not_collapse_the_model(fitted_to):
    normal = sensors(760, 0)
    history = pa.concat_tables([normal, gross(40, 1)])
    assert history.num_rows == 800  # 5% of it
    # The same records, fitted by neither, judged by both models: what contamination costs, and nothing else.
    judged = {"normal": sensors(500, 2), "gross": gross(500, 3), "subtle": subtle(500, 4)}
    (_, of_clean), (fitted, of_dirty) = fitted_to(normal), fitted_to(history)
    clean, dirty = ({sort: scores(table) for sort, table in judged.items()} for scores in (of_clean, of_dirty))
    assert auroc(clean["normal"], clean["gross"]) > 0.99
    assert auroc(dirty["normal"], dirty["gross"]) > 0.99
    assert auroc(clean["normal"], clean["subtle"]) > 0.9
    assert auroc(dirty["normal"], dirty["subtle"]) > auroc(clean["normal"], clean["subtle"]) - 0.03
    # Nor does the model widen until everything is ordinary: gross records stay far above the normal ones.
    assert np.median(dirty["gross"]) > np.quantile(dirty["normal"], 0.99)
    # What was left out is mostly what was gross.
    assert fitted.left_out
    assert np.mean(np.array(fitted.left_out) >= 760) > 0.9


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """Return the chance that an anomaly scores above a normal record."""
    return float((anomalous[:, None] > normal[None]).mean() + 0.5 * (anomalous[:, None] == normal[None]).mean())


@pytest.mark.parametrize(("wanted", "got"), [(7, 7), (16, 16), (29, 27), (30, 30)])
def test_all_blocks_get_as_many_exemplars(prepared, quick_fit, monkeypatch, wanted, got):
    monkeypatch.setattr(prior, "BLOCK", 8)
    vae = prepared.model(hidden=4)
    fitted = quick_fit(vae, prepared.values(vae), steps=1, exemplars=wanted)
    assert fitted.exemplars.shape[1] == got

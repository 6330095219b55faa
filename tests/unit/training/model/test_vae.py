from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, StudentT

from service.contract import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from training.fit import antithetic_noise
from training.model.likelihoods.numeric import DEGREES_OF_FREEDOM
from training.model.preprocessing import Values

pytestmark = pytest.mark.training
NOISE = antithetic_noise(4, 3, torch.Generator().manual_seed(0))
EXEMPLARS = torch.randn((7, 3), generator=torch.Generator().manual_seed(1))


def test_decoded_distributions_have_one_place_for_each_column_of_their_kind(prepared):
    vae = prepared.model()
    decoded = vae.decode(torch.zeros((4, 5, 3)))
    assert decoded.mean.shape == (4, 5, 2)
    assert decoded.true.shape == (4, 5, 1)
    assert decoded.categories.shape == (4, 5, 3 + 2 + 24 + 7)
    assert decoded.missing.shape == (4, 5, 6)


def test_each_column_has_its_own_likelihood_in_schema_order(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    with torch.no_grad():
        mu, logvar = vae.encode(values)
        decoded = vae.decode(mu + torch.exp(0.5 * logvar) * NOISE[:, None])
        terms, _ = vae.terms(values, EXEMPLARS, NOISE)
    numeric = -StudentT(DEGREES_OF_FREEDOM, decoded.mean, vae.numeric.scale).log_prob(values.numeric)
    boolean = -Bernoulli(decoded.true).log_prob(values.boolean)
    country, size, hour, weekday = decoded.categories.split([3, 2, 24, 7], dim=-1)

    def field(p: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        # Training saw every category, so the unseen share is the least probability, 1 / (records + 2).
        return -torch.log(torch.tensor(1 - vae.least)) - Categorical(p).log_prob(code.clamp(min=0))

    expected = {
        "country": field(country, values.codes[:, 0]),
        "amount": numeric[..., 0],
        "placed_at": field(hour, values.codes[:, 2]) + field(weekday, values.codes[:, 3]),
        "express": boolean[..., 0],
        "size": field(size, values.codes[:, 1]),
        "weight": numeric[..., 1],
    }
    for position, name in enumerate(prepared.schema.names):
        there = values.observed[:, position]
        torch.testing.assert_close(terms.value[there, position], expected[name].mean(0)[there], msg=name)
    missing = -Bernoulli(decoded.missing).log_prob((~values.observed).float()).mean(0)
    torch.testing.assert_close(terms.missingness, missing)


def test_a_null_has_no_value_term_and_its_stand_in_no_effect(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    odd = Values(
        numeric=torch.where(values.numeric == 0, 3.0, values.numeric),
        boolean=values.boolean,
        cyclic=values.cyclic,
        codes=values.codes,
        observed=values.observed,
    )
    with torch.no_grad():
        decoded = vae.decode(torch.zeros((len(values.observed), 3)))
        value, _ = vae.reconstruction(decoded, values)
        other, _ = vae.reconstruction(decoded, odd)
    assert (value[~values.observed] == 0).all()
    assert torch.equal(value[~values.observed], other[~values.observed])


def test_the_gradient_reaches_every_parameter(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    exemplars, _ = vae.encode(values)
    terms, _ = vae.terms(values, exemplars, NOISE)
    (terms.value.sum() + terms.missingness.sum() + terms.kl.sum()).backward()
    without = [name for name, p in vae.named_parameters() if p.grad is None or not (p.grad != 0).any()]
    assert without == []


@pytest.mark.parametrize("names", [("amount",), ("express",), ("placed_at",), ("country",)])
def test_the_gradient_reaches_every_parameter_of_a_model_of_one_column(new_records, names):
    prepared = new_records(50, names=names)
    vae = prepared.model()
    terms, _ = vae.terms(prepared.values(vae), EXEMPLARS, NOISE)
    (terms.value.sum() + terms.missingness.sum() + terms.kl.sum()).backward()
    without = [name for name, p in vae.named_parameters() if p.numel() and (p.grad is None or not (p.grad != 0).any())]
    assert without == []


def test_every_statistic_of_the_posterior_is_bounded(prepared):
    vae = prepared.model()
    with torch.no_grad():
        vae.logvar.bias.fill_(1e6)
        _, logvar = vae.encode(prepared.values(vae))
        assert torch.isfinite(torch.exp(logvar)).all()
        vae.logvar.bias.fill_(-1e6)
        _, logvar = vae.encode(prepared.values(vae))
        assert (torch.exp(logvar) > 0).all()


def test_hiding_a_cell_is_the_same_as_a_null_in_the_record(new_records):
    whole = new_records(40, missing_share=0.0)
    vae = whole.model()
    values = whole.values(vae)
    for position, column in enumerate(whole.schema.columns):
        hidden = torch.zeros_like(values.observed)
        hidden[:, position] = True
        blank = whole.columns.rows(slice(None))
        if isinstance(column, CategoricalColumn):
            at = whole.schema.string_positions.index(position)
            strings, observed = blank.strings.copy(), blank.strings_observed.copy()
            strings[:, at], observed[:, at] = "", False
            blank = type(blank)(blank.numbers, strings, observed)
        else:
            at = whole.schema.number_positions.index(position)
            numbers = blank.numbers.copy()
            numbers[:, at] = float("nan")
            blank = type(blank)(numbers, blank.strings, blank.strings_observed)
        expected = type(whole)(whole.schema, blank).values(vae)
        with torch.no_grad():
            torch.testing.assert_close(vae.encode(vae.hide(values, hidden)), vae.encode(expected), msg=column.name)


def test_hiding_nothing_changes_nothing(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    same = vae.hide(values, torch.zeros_like(values.observed))
    assert all(torch.equal(one, other) for one, other in zip(values, same, strict=True))


def test_the_encoder_tells_null_unseen_and_each_category_apart(new_records):
    prepared = new_records(20, names=("country",))
    vae = prepared.model()
    codes = torch.tensor([[-1], [0], [1], [2], [3]])
    with torch.no_grad():
        mu, _ = vae.encode(Values(*vae.preprocessing(torch.zeros((5, 0), dtype=torch.float64), codes)))
    assert len({tuple(row) for row in mu.tolist()}) == 5


def test_a_column_that_was_never_null_keeps_the_least_probability_of_it(prepared):
    vae = prepared.model()
    decoded = vae.decode(10.0 * torch.randn((20, 3), generator=torch.Generator().manual_seed(0)))
    size = prepared.schema.names.index("size")
    assert prepared.schema.columns[size].missing_share == 0
    torch.testing.assert_close(decoded.missing[:, size], torch.full((20,), vae.least))
    assert (decoded.missing >= vae.least * 0.999).all()


def test_an_expectation_over_more_draws_is_the_mean_over_its_parts(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    with torch.no_grad():
        parts = [vae.terms(values, EXEMPLARS, NOISE[at : at + 2])[0] for at in (0, 2)]
        whole, _ = vae.terms(values, EXEMPLARS, NOISE)
    torch.testing.assert_close(whole.value, (parts[0].value + parts[1].value) / 2)
    torch.testing.assert_close(whole.kl, parts[0].kl)


def test_kinds_are_laid_out_as_the_schema_has_them(prepared):
    kinds = (NumericColumn, BooleanColumn, CategoricalColumn, TimestampColumn)
    vae = prepared.model()
    for kind, positions in zip(kinds, vae.kind_positions, strict=True):
        assert positions == [i for i, column in enumerate(prepared.schema.columns) if isinstance(column, kind)]

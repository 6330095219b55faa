from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, StudentT

from vaegis.service.contract import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from vaegis.training.fit import antithetic_noise
from vaegis.training.model.likelihoods.numeric import DEGREES_OF_FREEDOM
from vaegis.training.model.preprocessing import rows
from vaegis.training.model.vae import Terms

pytestmark = pytest.mark.training
NOISE = antithetic_noise(4, 3, torch.Generator().manual_seed(0))
EXEMPLARS = torch.randn((1, 7, 3), generator=torch.Generator().manual_seed(1))


def test_decoded_distributions_have_one_place_for_each_column_of_their_kind(prepared):
    vae = prepared.model(members=2)
    decoded = vae.decode(torch.zeros((4, 2, 5, 3)))
    assert decoded.mean.shape == (4, 2, 5, 2)
    assert decoded.true.shape == (4, 2, 5, 1)
    assert decoded.categories.shape == (4, 2, 5, 3 + 2 + 24 + 7)
    nullable = sum(column.missing_share > 0 for column in prepared.schema.columns)
    assert decoded.missing.shape == (4, 2, 5, nullable)
    assert vae.null_probability(decoded).shape == (4, 2, 5, 6)


def test_a_known_category_is_never_less_likely_than_the_least_probability_however_sure_the_decoder(prepared):
    vae = prepared.model()
    slots = 1e6 * torch.randn((1, 50, 3 + 2 + 24 + 7), generator=torch.Generator().manual_seed(0))
    p = vae.categorical.probabilities(slots)
    for code in range(3):
        codes = torch.full((50, 4), code)
        country = torch.exp(-vae.categorical.nll(p, codes))[..., 0]
        assert float(country.min()) >= 0.999 * vae.least


def test_each_column_has_its_own_likelihood_in_schema_order(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    with torch.no_grad():
        mu, logvar = vae.encode(values)
        decoded = vae.decode(mu + torch.exp(0.5 * logvar) * NOISE[:, None, None])
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
        torch.testing.assert_close(terms.value[:, there, position], expected[name].mean(0)[:, there], msg=name)
    missing = -Bernoulli(vae.null_probability(decoded)).log_prob((~values.observed).float()).mean(0)
    torch.testing.assert_close(terms.missingness, missing)


def test_a_long_history_has_the_month_and_the_day_as_fields_of_their_column(new_records):
    prepared = new_records(60, names=("sent_at", "placed_at", "weight"))
    assert [column.calendar for column in prepared.schema.columns[:2]] == [("month", "day"), ()]
    vae = prepared.model()
    values = prepared.values(vae)
    with torch.no_grad():
        mu, logvar = vae.encode(values)
        decoded = vae.decode(mu + torch.exp(0.5 * logvar) * NOISE[:, None, None])
        terms, _ = vae.terms(values, EXEMPLARS, NOISE)
    fields = decoded.categories.split([24, 7, 24, 7, 12, 31], dim=-1)
    probability = torch.stack([Categorical(p).log_prob(code) for p, code in zip(fields, values.codes.T, strict=True)])
    seen = -probability - math.log(1 - vae.least)
    there = values.observed
    sent, placed = (seen[[0, 1, 4, 5]].sum(0).mean(0), seen[[2, 3]].sum(0).mean(0))
    torch.testing.assert_close(terms.value[:, there[:, 0], 0], sent[:, there[:, 0]])
    torch.testing.assert_close(terms.value[:, there[:, 1], 1], placed[:, there[:, 1]])
    hidden = vae.hide(values, torch.tensor([True, False, False]).expand(60, 3))
    assert (hidden.season == 0).all()
    assert torch.equal(vae.hide(values, torch.tensor([False, True, True]).expand(60, 3)).season, values.season)


def test_a_null_has_no_value_term_and_its_stand_in_no_effect(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    amount_and_weight = values.observed[:, vae.kind_positions[0]]
    odd = values._replace(numeric=torch.where(amount_and_weight, values.numeric, 3.0))
    with torch.no_grad():
        decoded = vae.decode(torch.zeros((1, 1, len(values.observed), 3)))
        value, _ = vae.reconstruction(decoded, values)
        other, _ = vae.reconstruction(decoded, odd)
    assert (value[:, ~values.observed] == 0).all()
    assert torch.equal(value, other)


def test_the_gradient_reaches_every_parameter_of_every_member(prepared):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    exemplars, _ = vae.encode(values)
    terms, _ = vae.terms(values, exemplars, NOISE)
    (terms.value.sum() + terms.missingness.sum() + terms.kl.sum()).backward()
    assert [name for name, p in vae.named_parameters() if p.shape[0] != 2 or not is_reached(p)] == []


@pytest.mark.parametrize("names", [("amount",), ("express",), ("placed_at",), ("country",)])
def test_the_gradient_reaches_every_parameter_of_a_model_of_one_column(new_records, names):
    prepared = new_records(50, names=names)
    vae = prepared.model()
    terms, _ = vae.terms(prepared.values(vae), EXEMPLARS, NOISE)
    (terms.value.sum() + terms.missingness.sum() + terms.kl.sum()).backward()
    assert [name for name, p in vae.named_parameters() if p.numel() and not is_reached(p)] == []


def is_reached(parameter: torch.nn.Parameter) -> bool:
    """Return whether a gradient other than zero came to each member."""
    return parameter.grad is not None and bool((parameter.grad != 0).flatten(1).any(1).all())


@given(st.integers(2, 4), st.integers(0, 2**32 - 1), st.booleans())
@settings(deadline=None, max_examples=25)
def test_each_member_gives_what_its_weights_alone_give(prepared, members, seed, own_records):
    vae = prepared.model(members=members, seed=seed)
    values = prepared.values(vae)
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, 200, (members, 40), generator=generator)
    exemplars = torch.randn((members, 5, 3), generator=generator)
    shared = rows(values, index[0])
    with torch.no_grad():
        together, decoded = vae.terms(rows(values, index) if own_records else shared, exemplars, NOISE)
        for member in range(members):
            judged = rows(values, index[member]) if own_records else shared
            alone, decoded_alone = vae.member(member).terms(judged, exemplars[member : member + 1], NOISE)
            for name, part, expected in zip(Terms._fields, together, alone, strict=True):
                torch.testing.assert_close(part[member], expected[0], msg=name)
            for part, expected in zip(decoded, decoded_alone, strict=True):
                torch.testing.assert_close(part[:, member], expected[:, 0])


def test_no_member_sends_a_gradient_to_another(prepared):
    vae = prepared.model(members=3)
    values = prepared.values(vae)
    exemplars, _ = vae.encode(values)
    terms, _ = vae.terms(values, exemplars, NOISE)
    (terms.value[1].sum() + terms.missingness[1].sum() + terms.kl[1].sum()).backward()
    for name, parameter in vae.named_parameters():
        assert (parameter.grad[[0, 2]] == 0).all(), name
        assert (parameter.grad[1] != 0).any(), name


def test_a_member_on_its_own_has_the_layout_of_a_model_of_one_and_shares_no_weights(prepared):
    vae = prepared.model(members=3)
    alone = vae.member(2)
    shapes = {name: part.shape for name, part in prepared.model().state_dict().items()}
    assert {name: part.shape for name, part in alone.state_dict().items()} == shapes
    before = [parameter.clone() for parameter in vae.parameters()]
    with torch.no_grad():
        for parameter in alone.parameters():
            parameter.zero_()
    assert all(torch.equal(one, other) for one, other in zip(before, vae.parameters(), strict=True))


def test_members_start_from_weights_of_their_own(prepared):
    vae = prepared.model(members=2)
    alike = {name for name, p in vae.named_parameters() if torch.equal(p[0], p[1])}
    assert alike == {"numeric.raw_scale", "prior.logvar"}


def test_every_statistic_of_the_posterior_is_bounded(prepared):
    vae = prepared.model()
    with torch.no_grad():
        vae.encoder[-1].bias[..., 3:] = 1e6
        _, logvar = vae.encode(prepared.values(vae))
        assert torch.isfinite(torch.exp(logvar)).all()
        vae.encoder[-1].bias[..., 3:] = -1e6
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


def test_the_encoder_distinguishes_categories_and_takes_an_unseen_one_for_a_null(new_records):
    prepared = new_records(20, names=("country",))
    vae = prepared.model()
    codes = torch.tensor([[-1], [0], [1], [2], [3]])
    with torch.no_grad():
        mu, _ = vae.encode(vae.preprocessing(torch.zeros((5, 0), dtype=torch.float64), codes))
    null, *known, unseen = mu[0]
    torch.testing.assert_close(null, unseen)
    assert (torch.pdist(torch.stack([null, *known])) > 1e-3).all()


def test_the_encoder_sees_a_number_outside_the_training_range_as_the_end_of_it(new_records):
    prepared = new_records(50, names=("amount", "weight"), missing_share=0.0)
    vae = prepared.model()
    amount, weight = prepared.schema.columns
    inside = [[amount.maximum, weight.minimum], [amount.minimum, weight.maximum]]
    outside = [[amount.maximum + 1.0, weight.minimum - 1e3], [-1e300, 1e300]]
    with torch.no_grad():
        at, beyond, between = (
            vae.encode(vae.preprocessing(torch.tensor(numbers, dtype=torch.float64)))
            for numbers in (inside, outside, [[amount.quantiles[3], weight.quantiles[3]]] * 2)
        )
    torch.testing.assert_close(at, beyond)
    assert (at[0] != between[0]).any()


def test_a_column_that_was_never_null_keeps_the_least_probability_of_it(prepared):
    vae = prepared.model()
    decoded = vae.decode(10.0 * torch.randn((1, 20, 3), generator=torch.Generator().manual_seed(0)))
    size = prepared.schema.names.index("size")
    assert prepared.schema.columns[size].missing_share == 0
    missing = vae.null_probability(decoded)
    torch.testing.assert_close(missing[0, :, size], torch.full((20,), vae.least))
    assert (missing >= vae.least * 0.999).all()


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


def test_a_placeholder_has_a_probability_and_other_numbers_a_density_beside_it(new_records):
    prepared = new_records(300, names=("depth", "placed_at", "weight"))
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    with torch.no_grad():
        mu, logvar = vae.encode(values)
        decoded = vae.decode(mu + torch.exp(0.5 * logvar) * NOISE[:, None, None])
        terms, _ = vae.terms(values, EXEMPLARS.expand(2, -1, -1), NOISE)
    is_code = values.placeholders[:, 0] == 1
    assert 0.05 < float(is_code.float().mean()) < 0.15
    assert (values.numeric[is_code, 0] == 0).all()
    p = (1 - vae.least) * decoded.categories[..., 24 + 7 :]
    density = StudentT(DEGREES_OF_FREEDOM, decoded.mean, vae.numeric.scale).log_prob(values.numeric)[..., 0]
    expected = -torch.where(is_code, p[..., 1].log(), p[..., 0].log() + density).mean(0)
    there = values.observed[:, 0]
    torch.testing.assert_close(terms.value[:, there, 0], expected[:, there])
    hidden = vae.hide(values, torch.tensor([True, False, False]).expand(300, 3))
    assert (hidden.placeholders == 0).all()
    assert torch.equal(
        vae.hide(values, torch.tensor([False, True, True]).expand(300, 3)).placeholders, values.placeholders
    )

from __future__ import annotations

import pytest
import torch

from training.data.schema import category_codes
from training.fit import antithetic_noise
from training.model.generator import GeneratorGraph
from training.model.preprocessing import center, rows, unit
from training.model.score import ScoringGraph, ScoringOutputs, typical_terms

pytestmark = pytest.mark.training
NOISE = antithetic_noise(4, 3, torch.Generator().manual_seed(0))
EXEMPLARS = torch.randn((7, 3), generator=torch.Generator().manual_seed(1))


def scoring_graph(prepared) -> ScoringGraph:
    vae = prepared.model().eval()
    typical = typical_terms(vae, prepared.values(vae), EXEMPLARS, NOISE)
    return ScoringGraph(vae, prepared.schema, EXEMPLARS, NOISE, typical).eval()


@torch.no_grad()
def scores(graph: ScoringGraph, prepared) -> ScoringOutputs:
    return graph(torch.from_numpy(prepared.columns.numbers), category_codes(prepared.columns, prepared.schema))


@pytest.fixture(scope="module")
def whole(new_records):
    """Records without a null."""
    return new_records(100, missing_share=0.0)


def test_contributions_sum_to_the_score_exactly(prepared):
    outputs = scores(scoring_graph(prepared), prepared)
    assert torch.equal(outputs.contributions.sum(1), outputs.score)
    assert {part.dtype for part in outputs} == {torch.float64}


def test_without_nulls_the_score_is_the_negative_elbo_less_a_constant(whole):
    outputs = scores(scoring_graph(whole), whole)
    difference = outputs.score - (outputs.reconstruction_error + outputs.kl)
    torch.testing.assert_close(difference, difference[:1].expand_as(difference), rtol=0.0, atol=1e-4)


def test_reconstruction_error_and_kl_are_the_terms_of_the_elbo(prepared):
    graph = scoring_graph(prepared)
    outputs = scores(graph, prepared)
    with torch.no_grad():
        terms, _ = graph.vae.terms(prepared.values(graph.vae), EXEMPLARS, NOISE)
    torch.testing.assert_close(outputs.reconstruction_error, (terms.value + terms.missingness).double().sum(1))
    torch.testing.assert_close(outputs.kl, terms.kl.double())


def test_over_the_records_that_are_typical_contributions_average_to_zero(whole):
    outputs = scores(scoring_graph(whole), whole)
    torch.testing.assert_close(outputs.contributions.mean(0), torch.zeros(7, dtype=torch.float64), rtol=0.0, atol=1e-4)


def test_a_null_contributes_only_how_unexpected_it_is(prepared):
    graph = scoring_graph(prepared)
    outputs, values = scores(graph, prepared), prepared.values(graph.vae)
    with torch.no_grad():
        terms, _ = graph.vae.terms(values, EXEMPLARS, NOISE)
    surprise = (terms.missingness - graph.typical_missingness).double()
    null = ~values.observed
    torch.testing.assert_close(outputs.contributions[:, :-1][null], surprise[null], rtol=0.0, atol=1e-5)


def test_typical_terms_are_means_over_the_records_that_hold_a_value(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    typical = typical_terms(vae, values, EXEMPLARS, NOISE)
    with torch.no_grad():
        terms, _ = vae.terms(values, EXEMPLARS, NOISE)
    for position in range(len(prepared.schema.columns)):
        there = values.observed[:, position]
        torch.testing.assert_close(typical.value[position], terms.value[there, position].mean())
    torch.testing.assert_close(typical.missingness, terms.missingness.mean(0))
    torch.testing.assert_close(typical.kl, terms.kl.mean())


def test_typical_terms_do_not_depend_on_how_records_are_batched(prepared):
    vae = prepared.model()
    many = rows(prepared.values(vae), torch.arange(200).repeat(25))  # more than one batch
    one = typical_terms(vae, prepared.values(vae), EXEMPLARS, NOISE)
    for given, expected in zip(typical_terms(vae, many, EXEMPLARS, NOISE), one, strict=True):
        torch.testing.assert_close(given, expected)


def test_a_column_without_any_value_has_a_finite_typical_term(prepared):
    vae = prepared.model()
    values = prepared.values(vae)
    typical = typical_terms(vae, vae.hide(values, torch.ones_like(values.observed)), EXEMPLARS, NOISE)
    assert (typical.value == 0).all()


def test_what_is_expected_stands_in_the_columns_own_units_and_codes(prepared):
    graph = scoring_graph(prepared)
    expected = scores(graph, prepared).expected
    with torch.no_grad():
        _, decoded = graph.vae.terms(prepared.values(graph.vae), EXEMPLARS, NOISE)
    country, size, hour, weekday = decoded.categories.mean(0).split([3, 2, 24, 7], dim=-1)
    amount, weight = (prepared.schema.columns[i] for i in (1, 5))
    numeric = decoded.mean.mean(0).double()
    by_name = {
        "country": country.argmax(1).double(),
        "amount": center(amount) + unit(amount) * numeric[:, 0],
        "placed_at": (weekday.argmax(1) * 24 + hour.argmax(1)).double(),
        "express": decoded.true.mean(0)[:, 0].double(),
        "size": size.argmax(1).double(),
        "weight": center(weight) + unit(weight) * numeric[:, 1],
    }
    for position, name in enumerate(prepared.schema.names):
        torch.testing.assert_close(expected[:, position], by_name[name], msg=name)


def test_the_generator_decodes_a_step_of_latent_noise_beside_an_exemplar(prepared):
    vae = prepared.model()
    with torch.no_grad():
        vae.prior.logvar.copy_(torch.tensor([0.3, -1.0, 2.0]))
    exemplar, noise = torch.tensor([0, 6, 6]), torch.randn((3, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = GeneratorGraph(vae, prepared.schema, EXEMPLARS)(exemplar, noise)
        decoded = vae.decode(EXEMPLARS[exemplar] + vae.prior.width * noise)
    country, size, hour, weekday = decoded.categories.split([3, 2, 24, 7], dim=-1)
    torch.testing.assert_close(outputs.categories, torch.cat([country, hour, weekday, size], dim=1))
    torch.testing.assert_close(outputs.missing, decoded.missing)
    amount = prepared.schema.columns[1]
    torch.testing.assert_close(outputs.location[:, 1], center(amount) + unit(amount) * decoded.mean[:, 0].double())
    torch.testing.assert_close(outputs.location[:, 3], decoded.true[:, 0].double())
    assert (outputs.location[:, [0, 2, 4]] == 0).all()


@pytest.mark.parametrize("names", [("amount",), ("express",), ("placed_at",), ("country",)])
def test_a_schema_of_one_column_scores_and_generates(new_records, names):
    prepared = new_records(30, names=names)
    graph = scoring_graph(prepared)
    outputs = scores(graph, prepared)
    assert outputs.contributions.shape == (30, 2)
    assert torch.isfinite(outputs.score).all()
    with torch.no_grad():
        drawn = GeneratorGraph(graph.vae, prepared.schema, EXEMPLARS)(torch.zeros(2).long(), torch.zeros(2, 3))
    assert drawn.location.shape == drawn.missing.shape == (2, 1)
    assert drawn.categories.shape == (2, {"placed_at": 31, "country": 3}.get(names[0], 0))

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.columns import Columns
from vaegis.service.contract import NumericColumn
from vaegis.training.calibration import LEAST_TIE_TOLERANCE
from vaegis.training.data.schema import category_codes
from vaegis.training.fit import antithetic_noise
from vaegis.training.model.generator import GeneratorGraph
from vaegis.training.model.neighbours import Neighbours, TypicalNearness, neighbours_of
from vaegis.training.model.pairs import Pairs, pairs_of
from vaegis.training.model.preprocessing import center, rows, unit
from vaegis.training.model.prior import BLOCK, Blocks
from vaegis.training.model.score import (
    _LEAST_SPREAD,
    _NEVER_NULL,
    DISTANCE_WEIGHT,
    LARGEST_WEIGHT,
    LATENT_BOUND,
    LATENT_WEIGHT,
    PAIRS_WEIGHT,
    ScoringGraph,
    ScoringOutputs,
    Typical,
    _excess_share,
    typical_terms,
    weighed,
)
from vaegis.training.model.typical import median_and_spread
from vaegis.training.model.vae import VAE

pytestmark = pytest.mark.training
MEMBERS = 3
ORDER = ("country", "amount", "placed_at", "express", "size", "weight")
NOISE = antithetic_noise(4, 3, torch.Generator().manual_seed(0))
EXEMPLARS = torch.randn((MEMBERS, 7, 3), generator=torch.Generator().manual_seed(1))
LEAST_OF_COLUMNS = -math.log(2.0) * (1.0 + DISTANCE_WEIGHT + PAIRS_WEIGHT)
LEAST = LEAST_OF_COLUMNS - math.log(2.0) * LATENT_WEIGHT


def everyone(prepared, members: int = MEMBERS) -> torch.Tensor:
    return torch.arange(len(prepared.columns)).expand(members, -1)


def typical_of(prepared, vae: VAE) -> Typical:
    """Return what is typical of all records, to which each member is taken to be fitted."""
    fitted = everyone(prepared, vae.members)
    return typical_terms(vae, prepared.schema, prepared.values(vae), fitted, EXEMPLARS[: vae.members], NOISE)


def known_to(prepared, vae: VAE) -> tuple[tuple[Neighbours, TypicalNearness], Pairs | None]:
    """Return the known records and the pairs of all records, to which each member is taken to be fitted."""
    generator, fitted = torch.Generator().manual_seed(0), everyone(prepared, vae.members)
    values = prepared.values(vae)
    return neighbours_of(prepared.schema, values, fitted, generator), pairs_of(prepared.schema, values, fitted)


def scoring_graph(prepared, members: int = MEMBERS) -> ScoringGraph:
    vae = prepared.model(members=members).eval()
    typical = typical_of(prepared, vae)
    return ScoringGraph(vae, prepared.schema, EXEMPLARS[:members], NOISE, typical, *known_to(prepared, vae)).eval()


def near_and_pairs_part(graph: ScoringGraph, prepared) -> torch.Tensor:
    """Return the parts of the distances to known records and of the pairs, (members, n)."""
    values = prepared.values(graph.vae)
    with torch.no_grad():
        median, spread = graph.usual_distance.T[..., None]
        distance = DISTANCE_WEIGHT * excess((graph.neighbours(values).distance - median) / spread)
        median, spread = graph.pairs.typical.T[..., None]
        return distance + PAIRS_WEIGHT * excess((graph.pairs(values).log_ratio - median) / spread)


@torch.no_grad()
def scores(graph: ScoringGraph, prepared, columns: Columns | None = None) -> ScoringOutputs:
    columns = columns or prepared.columns
    return graph(torch.from_numpy(columns.numbers), category_codes(columns, prepared.schema))


def excess(u: torch.Tensor) -> torch.Tensor:
    """Return log(1 + exp(u)) - log 2, by its definition, in float64."""
    return torch.logaddexp(u.double(), torch.zeros(1, dtype=torch.float64)) - math.log(2.0)


@pytest.fixture(scope="module")
def graph(prepared):
    """The scoring graph of three members that are not fitted."""
    return scoring_graph(prepared)


@given(st.floats(-1e30, 1e30))
@settings(deadline=None, max_examples=300)
def test_an_excess_is_its_argument_times_its_share_of_it(u):
    x = torch.tensor([u], dtype=torch.float32)
    share = _excess_share(x)
    assert 0.0 <= float(share) <= 1.0
    torch.testing.assert_close(x.double() * share.double(), excess(x), rtol=1e-4, atol=1e-6)


@given(st.floats(-50, 50), st.floats(0.01, 50))
@settings(deadline=None)
def test_an_excess_is_zero_at_the_typical_rises_and_never_falls_below_its_least(u, step):
    low, high, nothing = torch.tensor([u, u + step, 0.0])
    values = [float(x * _excess_share(x)) for x in (low, high)]
    assert float(nothing * _excess_share(nothing)) == 0.0
    assert values[0] <= values[1] + 1e-7  # the quotient is rounded to float32
    if step > 0.1 and u > -10:
        assert values[0] < values[1]
    assert values[0] >= -math.log(2.0) - 1e-6


@given(st.floats(-4, 4))
@settings(deadline=None)
def test_the_share_is_continuous_where_its_formula_changes(position):
    # Around zero, its quotient of two small numbers is replaced by a series.
    u = torch.tensor(position * 1e-3)
    assert float(_excess_share(u)) == pytest.approx(0.5 + position * 1e-3 / 8, abs=1e-4)


def test_members_contributions_sum_to_the_score_exactly(prepared, graph):
    outputs = scores(graph, prepared)
    assert torch.equal(outputs.contributions.sum(1), outputs.score)
    assert {part.dtype for part in outputs} == {torch.float64}
    assert outputs.fold_scores.shape == (200, MEMBERS)


@pytest.mark.parametrize(("times", "off"), [(1.0, 0.05), (1e6, 1e-6)])
def test_the_score_is_half_the_mean_of_the_members_and_half_the_largest(graph, times, off):
    # But where members differ by hardly more than a tie: these share the weight of the largest.
    contributions = times * torch.randn((MEMBERS, 200, 4), generator=torch.Generator().manual_seed(0)).double()
    by_member = contributions.sum(-1)
    expected = (1 - LARGEST_WEIGHT) * by_member.mean(0) + LARGEST_WEIGHT * by_member.amax(0)
    torch.testing.assert_close(graph._joined(contributions, by_member).sum(-1), expected, rtol=0.0, atol=off)


def test_members_that_agree_give_their_own_score(graph):
    contributions = torch.randn((1, 200, 4), generator=torch.Generator().manual_seed(0)).double()
    agreed = contributions.expand(MEMBERS, -1, -1)
    torch.testing.assert_close(graph._joined(agreed, agreed.sum(-1)), contributions[0])


def test_the_contributions_of_an_ensemble_move_no_more_than_the_scores_of_its_members_at_a_tie(prepared, graph):
    contributions = torch.randn((2, 1, 4), generator=torch.Generator().manual_seed(0)).double()
    contributions[1] += (contributions[0].sum() - contributions[1].sum()) / 4  # both members score the same
    nudged = contributions.clone()
    nudged[0, 0, 0] += 1e-6
    pair = scoring_graph(prepared, members=2)
    before, after = (pair._joined(each, each.sum(-1)) for each in (contributions, nudged))
    torch.testing.assert_close(before, after, rtol=0.0, atol=2e-5)


def test_each_member_scores_as_it_would_alone(prepared, graph):
    together = scores(graph, prepared)
    alone = []
    for member in range(MEMBERS):
        part = slice(member, member + 1)
        typical = Typical(*(statistic[part] for statistic in graph._typical()))
        vae = graph.vae.member(member)
        one = ScoringGraph(vae, prepared.schema, EXEMPLARS[part], NOISE, typical, *known_to(prepared, vae)).eval()
        alone.append(scores(one, prepared))
        torch.testing.assert_close(together.fold_scores[:, member], alone[-1].score, rtol=1e-5, atol=1e-4)
    for name in ("reconstruction_error", "kl", "expected"):
        mean = torch.stack([getattr(outputs, name) for outputs in alone]).mean(0)
        given = getattr(together, name)
        if name == "expected":  # the likeliest category of the mean, not the mean of categories
            mean, given = mean[:, [1, 3, 5]], given[:, [1, 3, 5]]
        torch.testing.assert_close(given, mean, rtol=1e-5, atol=1e-4)
    contributions, by_member = (torch.stack([getattr(each, of) for each in alone]) for of in ("contributions", "score"))
    torch.testing.assert_close(together.contributions, graph._joined(contributions, by_member), rtol=1e-5, atol=1e-4)


def test_a_score_is_the_excess_of_distances_and_reconstruction_and_a_part_of_that_of_the_kl(prepared, graph):
    values = prepared.values(graph.vae)
    typical = graph._typical()
    with torch.no_grad():
        terms, _ = graph.vae.terms(values, EXEMPLARS, NOISE)
    total = weighed(terms.value, terms.missingness, values.observed.float(), typical).sum(-1)
    u = (total - typical.reconstruction[:, :1]) / typical.reconstruction[:, 1:]
    v = (terms.kl - typical.kl[:, :1]) / typical.kl[:, 1:]
    outputs = scores(graph, prepared)
    latent = LATENT_WEIGHT * LATENT_BOUND * torch.tanh(excess(v) / LATENT_BOUND)
    by_member = near_and_pairs_part(graph, prepared) + excess(u) + latent
    torch.testing.assert_close(outputs.fold_scores, by_member.T, rtol=1e-4, atol=1e-4)
    expected = graph._joined(latent[..., None], by_member)[:, 0]
    torch.testing.assert_close(outputs.contributions[:, -1], expected, rtol=1e-4, atol=2e-4)


def test_reconstruction_error_and_kl_are_the_terms_of_the_elbo_averaged_over_members(prepared, graph):
    outputs = scores(graph, prepared)
    with torch.no_grad():
        terms, _ = graph.vae.terms(prepared.values(graph.vae), EXEMPLARS, NOISE)
    expected = (terms.value + terms.missingness).double().sum(-1).mean(0)
    torch.testing.assert_close(outputs.reconstruction_error, expected)
    torch.testing.assert_close(outputs.kl, terms.kl.double().mean(0))


def test_half_of_the_fit_records_are_beyond_what_is_typical_of_them_in_either_part(new_records):
    # An odd number, so that the median is one of the records.
    prepared = new_records(101)
    graph = scoring_graph(prepared, members=1)
    outputs = scores(graph, prepared)
    latent, columns = outputs.contributions[:, -1], outputs.contributions[:, :-1].sum(1)
    for part in (latent, columns - near_and_pairs_part(graph, prepared)[0]):
        assert float(part.median()) == pytest.approx(0.0, abs=1e-3)


@given(st.lists(st.one_of(st.just(math.nan), st.floats(allow_infinity=False)), min_size=4, max_size=4))
@settings(deadline=None, max_examples=200)
def test_any_record_has_a_finite_score_no_less_than_the_least(prepared, graph, numbers):
    # Schema order of the numbers: amount, placed_at, express, weight; a truth value is 0 or 1.
    numbers[2] = min(max(numbers[2], 0.0), 1.0)
    strange = Columns(
        np.array([numbers]),
        np.array([["never seen", ""]], dtype=object),
        np.array([[True, not math.isnan(numbers[0])]]),
    )
    outputs = scores(graph, prepared, strange)
    assert all(torch.isfinite(part).all() for part in outputs)
    assert (outputs.fold_scores >= LEAST - 1e-4).all()
    assert torch.equal(outputs.contributions.sum(1), outputs.score)


def test_no_part_of_a_score_falls_below_its_least(prepared, graph):
    outputs = scores(graph, prepared)
    assert (outputs.contributions[:, -1] >= -math.log(2.0) * LATENT_WEIGHT - 1e-5).all()
    assert (outputs.contributions[:, :-1].sum(1) >= LEAST_OF_COLUMNS - 1e-4).all()


@given(st.integers(0, 199), st.floats(0.0, 1e3), st.floats(1.001, 100.0))
@settings(deadline=None)
def test_the_further_a_number_lies_outside_the_training_range_the_higher_the_score(prepared, graph, at, beyond, times):
    # Of a whole record: neighbours are sought with nulls filled in, and distances to them taken without these columns.
    whole = np.flatnonzero(prepared.columns.strings_observed.all(1) & ~np.isnan(prepared.columns.numbers).any(1))
    at = whole[at % whole.size]
    amount = prepared.schema.columns[1]
    near = amount.maximum + (1.0 + beyond) * unit(amount)
    records = prepared.columns.rows(np.array([at, at]))
    records.numbers[:, 0] = [near, amount.maximum + (near - amount.maximum) * times]
    outputs = scores(graph, prepared, records)
    # The encoder sees the end of the range in both; so only this column's term grows. Of its contribution the same
    # cannot be said: other known records, farther off in other columns, may be the nearest now.
    assert (outputs.fold_scores[1] >= outputs.fold_scores[0] - 1e-4).all()
    if times > 1.1:
        assert (outputs.fold_scores[1] > outputs.fold_scores[0]).all()
    assert outputs.contributions[1, 1] > 0.0


def test_a_record_scores_the_same_alone_and_in_any_batch(prepared, graph):
    together = scores(graph, prepared)
    alone = [scores(graph, prepared, prepared.columns.rows(slice(i, i + 1))) for i in range(0, 200, 20)]
    for name, part in zip(ScoringOutputs._fields, together, strict=True):
        each = torch.cat([getattr(outputs, name) for outputs in alone])
        torch.testing.assert_close(part[::20], each, rtol=1e-4, atol=1e-4, msg=name)


def test_a_null_weighs_by_how_unexpected_it_is_and_by_no_value(prepared, graph):
    values = prepared.values(graph.vae)
    typical = graph._typical()
    with torch.no_grad():
        terms, _ = graph.vae.terms(values, EXEMPLARS, NOISE)
    null = ~values.observed
    surprise = (terms.missingness - typical.missingness) * typical.missingness_weight
    any_value = torch.randn(terms.value.shape, generator=torch.Generator().manual_seed(0))
    given = weighed(any_value, terms.missingness, values.observed.float(), typical)
    assert torch.equal(given[:, null], surprise[:, null])
    assert not torch.equal(given[:, ~null], surprise[:, ~null])


def test_typical_terms_are_means_over_the_records_that_hold_a_value(prepared):
    vae = prepared.model(members=MEMBERS)
    values, typical = prepared.values(vae), typical_of(prepared, vae)
    with torch.no_grad():
        terms, _ = vae.terms(values, EXEMPLARS, NOISE)
    for position in range(len(prepared.schema.columns)):
        there = values.observed[:, position]
        torch.testing.assert_close(typical.value[:, 0, position], terms.value[:, there, position].mean(1))
    torch.testing.assert_close(typical.missingness, terms.missingness.mean(1, keepdim=True))
    low, median, high = np.quantile(terms.kl.numpy(), (0.16, 0.5, 0.84), axis=1)
    spread = np.maximum((high - low) / 2, _LEAST_SPREAD)
    torch.testing.assert_close(typical.kl, torch.from_numpy(np.stack([median, spread], axis=1)).float())


def test_a_typical_kl_has_its_middle_by_blocks_of_exemplars_and_its_spread_in_their_whole_mixture(prepared):
    vae, values = prepared.model(members=1).eval(), prepared.values(prepared.model(members=1))
    exemplars = torch.randn((1, 2 * BLOCK, 3), generator=torch.Generator().manual_seed(1))
    typical = typical_terms(vae, prepared.schema, values, everyone(prepared, 1), exemplars, NOISE)
    with torch.no_grad():
        mu, logvar = vae.encode(values)
        by_block, whole = (
            vae.prior.kl(mu, logvar, exemplars, blocks=blocks).double() for blocks in (Blocks(2, BLOCK), None)
        )
    expected = torch.stack(
        [median_and_spread(by_block, least=_LEAST_SPREAD)[:, 0], median_and_spread(whole, least=_LEAST_SPREAD)[:, 1]],
        dim=1,
    )
    torch.testing.assert_close(typical.kl, expected.float())


@pytest.mark.parametrize("raw_scale", [-3.0, 10.0])
def test_weights_make_terms_of_one_spread_but_for_numbers_that_hardly_vary(prepared, raw_scale):
    vae = prepared.model(members=MEMBERS)
    with torch.no_grad():
        vae.numeric.raw_scale.fill_(raw_scale)  # a wide kernel sees little difference
    values, typical = prepared.values(vae), typical_of(prepared, vae)
    with torch.no_grad():
        terms, _ = vae.terms(values, EXEMPLARS, NOISE)
    for position, column in enumerate(prepared.schema.columns):
        there = values.observed[:, position]
        spread = terms.value[:, there, position].double().std(1, correction=0)
        deviation = (spread**2 + 1 / 200).sqrt()  # as with one record more, off by one nat
        if isinstance(column, NumericColumn):
            assert (deviation < 0.5).all() == (raw_scale > 0)
            deviation = deviation.clamp(min=0.5)
        torch.testing.assert_close(typical.value_weight[:, 0, position], (1 / deviation).float(), msg=column.name)
    spread = terms.missingness.double().std(1, correction=0, keepdim=True)
    expected = (spread**2 + 1 / 200).rsqrt().float()
    was_null = torch.tensor([column.missing_share > 0 for column in prepared.schema.columns])
    torch.testing.assert_close(typical.missingness_weight[..., was_null], expected[..., was_null])
    # A null where none ever was adds the same number of spreads to the sum, or more.
    added = -math.log(vae.least) * typical.missingness_weight / typical.reconstruction[:, None, 1:]
    assert (added[..., ~was_null] >= 0.999 * _NEVER_NULL).all()


def test_what_is_typical_of_a_member_depends_on_the_records_that_it_was_fitted_to_alone(prepared, new_records):
    vae = prepared.model(members=2)
    other = dataclasses.replace(new_records(200, seed=9), schema=prepared.schema)
    fitted = torch.stack([torch.arange(150), torch.arange(50, 200)])
    mixed = [
        torch.cat([one[:150], two[150:]]) for one, two in zip(prepared.values(vae), other.values(vae), strict=True)
    ]
    known, altered = prepared.values(vae), type(prepared.values(vae))(*mixed)
    before, after = (
        typical_terms(vae, prepared.schema, records, fitted, EXEMPLARS[:2], NOISE) for records in (known, altered)
    )
    for name, one, two in zip(Typical._fields, before, after, strict=True):
        assert torch.equal(one[0], two[0]), name
    assert not torch.equal(before.kl[1], after.kl[1])
    assert not torch.equal(before.value[1], after.value[1])


def test_typical_terms_do_not_depend_on_how_records_are_batched_nor_ordered(prepared):
    vae = prepared.model(members=MEMBERS)
    values = prepared.values(vae)
    whole = torch.arange(200).repeat(25)  # several batches
    shuffled = whole[torch.randperm(5000, generator=torch.Generator().manual_seed(0))]
    given, expected = (
        typical_terms(vae, prepared.schema, values, index.expand(MEMBERS, -1), EXEMPLARS, NOISE)
        for index in (shuffled, whole)
    )
    for name, one, other in zip(Typical._fields, given, expected, strict=True):
        torch.testing.assert_close(one, other, msg=name)
    one_batch = typical_of(prepared, vae)
    torch.testing.assert_close(expected.value, one_batch.value)
    torch.testing.assert_close(expected.missingness, one_batch.missingness)


def test_a_column_without_any_value_has_a_finite_typical_term(prepared):
    vae = prepared.model(members=MEMBERS)
    values = prepared.values(vae)
    blank = vae.hide(values, torch.ones_like(values.observed))
    typical = typical_terms(vae, prepared.schema, blank, everyone(prepared), EXEMPLARS, NOISE)
    assert (typical.value == 0).all()
    assert all(torch.isfinite(part).all() for part in typical)


@pytest.mark.parametrize("names", [("amount",), ("express",), ("placed_at",), ("country",), ORDER])
def test_records_that_are_all_the_same_score_about_zero_the_same_in_any_batch(new_records, names):
    several = new_records(60, names=names, missing_share=0.0)
    same = dataclasses.replace(several, columns=several.columns.rows(np.zeros(60, dtype=np.int64)))
    graph = scoring_graph(same)
    # Rounding differs from one batch size to the next, and must not be taken for a deviation.
    expected = scores(graph, same).score
    for size in (1, 2, 7, 60):
        score = scores(graph, same, same.columns.rows(slice(0, size))).score
        torch.testing.assert_close(score, expected[:size], rtol=0.0, atol=LEAST_TIE_TOLERANCE / 2)
    assert float(expected.abs().max()) < 0.01  # typical pairs are counted without the record itself
    others = scores(graph, same, several.columns)
    assert torch.isfinite(others.contributions).all()
    assert torch.isfinite(others.score).all()


@given(st.floats(-1e4, 1e4), st.integers(1, 20))
@settings(deadline=None)
def test_the_spread_of_a_constant_is_not_zero(constant, n):
    ((median, spread),) = median_and_spread(
        torch.full((1, n), constant, dtype=torch.float64), least=_LEAST_SPREAD
    ).tolist()
    assert median == pytest.approx(constant)
    assert spread > 0


def test_the_spread_of_normal_draws_is_their_standard_deviation():
    draws = 5.0 + 3.0 * torch.randn((2, 20_000), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for median, spread in median_and_spread(draws, least=_LEAST_SPREAD).tolist():
        assert median == pytest.approx(5.0, abs=0.1)
        assert spread == pytest.approx(3.0, rel=0.03)


def test_what_is_expected_stands_in_the_columns_own_units_and_codes(prepared, graph):
    expected = scores(graph, prepared).expected
    with torch.no_grad():
        _, decoded = graph.vae.terms(prepared.values(graph.vae), EXEMPLARS, NOISE)
    country, size, hour, weekday = decoded.categories.mean((0, 1)).split([3, 2, 24, 7], dim=-1)
    amount, weight = (prepared.schema.columns[i] for i in (1, 5))
    numeric = decoded.mean.mean((0, 1)).double()
    by_name = {
        "country": country.argmax(1).double(),
        "amount": center(amount) + unit(amount) * numeric[:, 0],
        "placed_at": (weekday.argmax(1) * 24 + hour.argmax(1)).double(),
        "express": decoded.true.mean((0, 1))[:, 0].double(),
        "size": size.argmax(1).double(),
        "weight": center(weight) + unit(weight) * numeric[:, 1],
    }
    for position, name in enumerate(prepared.schema.names):
        torch.testing.assert_close(expected[:, position], by_name[name], msg=name)


def test_the_generator_decodes_a_step_of_latent_noise_beside_an_exemplar_of_the_first_member(prepared):
    vae = prepared.model(members=2)
    with torch.no_grad():
        vae.prior.logvar.copy_(torch.tensor([[[0.3, -1.0, 2.0]], [[9.0, 9.0, 9.0]]]))
    exemplar, noise = torch.tensor([0, 6, 6]), torch.randn((3, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = GeneratorGraph(vae, prepared.schema, EXEMPLARS[:2])(exemplar, noise)
        width = torch.exp(0.5 * torch.tensor([0.3, -1.0, 2.0]))
        z = EXEMPLARS[0, exemplar] + width * noise
        decoded = vae.decode(z.expand(2, -1, -1))
    country, size, hour, weekday = decoded.categories[0].split([3, 2, 24, 7], dim=-1)
    torch.testing.assert_close(outputs.categories, torch.cat([country, hour, weekday, size], dim=1))
    torch.testing.assert_close(outputs.missing, vae.null_probability(decoded)[0])
    amount = prepared.schema.columns[1]
    torch.testing.assert_close(outputs.location[:, 1], center(amount) + unit(amount) * decoded.mean[0, :, 0].double())
    torch.testing.assert_close(outputs.location[:, 3], decoded.true[0, :, 0].double())
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


def test_rows_of_the_index_matrix_give_each_member_its_own_records(prepared):
    vae = prepared.model(members=2)
    values = prepared.values(vae)
    index = torch.stack([torch.arange(100), torch.arange(100, 200)])
    typical = typical_terms(vae, prepared.schema, values, index, EXEMPLARS[:2], NOISE)
    for member in range(2):
        part = slice(member, member + 1)
        alone = typical_terms(
            vae.member(member),
            prepared.schema,
            rows(values, index[member]),
            torch.arange(100)[None],
            EXEMPLARS[part],
            NOISE,
        )
        for name, one, other in zip(Typical._fields, typical, alone, strict=True):
            torch.testing.assert_close(one[part], other, msg=name)

"""The nearest known records: found exactly, their distance shared among columns, nothing learned of other records."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from vaegis.training.model.neighbours import (
    _CLASSES,
    _FAR,
    NEAREST,
    Neighbours,
    Plain,
    Ranks,
    _chosen,
    _columns_of_few_values,
    _half_whitening,
    _knots,
    _number_known,
    neighbours_of,
)
from vaegis.training.model.preprocessing import Values

pytestmark = pytest.mark.training
RECORDS = 200


@pytest.fixture(scope="module", params=[1, 3])
def made(request, prepared):
    """Both spaces of all records, as one member and as three know them."""
    values = prepared.values(prepared.model())
    fitted = torch.arange(RECORDS).expand(request.param, -1)
    made = neighbours_of(prepared.schema, values, fitted, torch.Generator().manual_seed(0))
    return values, made


def numbers(x: torch.Tensor) -> Values:
    """Return records of numeric columns alone, (members, n, d)."""
    nothing = torch.zeros((*x.shape[:-1], 0))
    observed = torch.ones(x.shape, dtype=torch.bool)
    return Values(x, nothing, nothing, nothing, nothing.long(), observed, nothing, nothing)


def space_of_numbers(x: torch.Tensor, space: str = "ranks") -> Neighbours:
    columns = x.shape[-1]
    positions: list[list[int]] = [list(range(columns)), [], [], []]
    made = Ranks(numbers(x[None]), positions) if space == "ranks" else Plain(numbers(x[None]), positions, [])
    return Neighbours(made, made.features(numbers(x[None])), columns).eval()


def test_there_are_two_spaces_and_one_where_every_column_is_a_category(made, prepared, new_records):
    assert [type(near.space) for near, _ in made[1]] == [Ranks, Plain]
    alone = new_records(60, names=("country",))
    fitted = torch.arange(60)[None]
    spaces = neighbours_of(alone.schema, alone.values(alone.model()), fitted, torch.Generator())
    assert [type(near.space) for near, _ in spaces] == [Plain]


def test_the_nearest_are_those_of_a_search_through_all_known_records(made):
    values, spaces = made
    for near, _ in spaces:
        assert near.class_size >= NEAREST
        features = near.space.features(values)
        found = near.nearest(features)
        searched, known = (near.space.searched(each).double() for each in (features, near.known))
        everything = torch.cdist(searched, known).sort(-1).values[..., :NEAREST]
        chosen = torch.gather(torch.cdist(searched, known), -1, found.expand(*everything.shape))
        torch.testing.assert_close(chosen.sort(-1).values, everything, atol=2e-2, rtol=1e-2)


def test_what_columns_add_sums_to_the_distance(made):
    values, spaces = made
    for near, _ in spaces:
        distance, shares = near(values)
        torch.testing.assert_close(shares.sum(-1), distance, rtol=1e-4, atol=1e-5)


def test_a_null_has_no_part_in_the_distance_whatever_stands_in_its_place(made):
    values, spaces = made
    for near, _ in spaces:
        features = near.space.features(values)
        nothing = torch.zeros_like(values.observed)
        distance, shares = near.nearness(features, near.nearest(features), nothing)
        at_no_distance = near.softening.sqrt().flatten()[:, None]
        torch.testing.assert_close(distance, at_no_distance.expand(-1, RECORDS).reshape(distance.shape))
        assert float(shares.max() - shares.min()) < 1e-6 + float(at_no_distance.max() - at_no_distance.min())


def test_a_record_is_left_out_of_the_known_ones_by_its_place_and_not_by_its_values():
    same = torch.zeros((4, 1)) + torch.tensor([[0.0], [0.0], [5.0], [9.0]])
    near = space_of_numbers(same, "plain")
    nearest = near.nearest(near.known[0][None], own=torch.arange(4)[None])
    assert nearest[0, 0, 0] == 1  # its double, and not itself
    assert nearest[0, 1, 0] == 0
    assert not (nearest[0] == torch.arange(4)[:, None]).any()


def test_records_that_a_member_was_not_fitted_to_change_nothing(prepared):
    values = prepared.values(prepared.model())
    fitted = torch.arange(0, RECORDS, 2)[None]
    others = torch.arange(1, RECORDS, 2)
    changed = values._replace(numeric=values.numeric.clone())
    changed.numeric[others] += 7.0
    before, after = (
        neighbours_of(prepared.schema, each, fitted, torch.Generator().manual_seed(0)) for each in (values, changed)
    )
    for (near, typical), (also, as_typical) in zip(before, after, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(near.buffers(), also.buffers(), strict=True))
        assert all(torch.equal(a, b) for a, b in zip(typical, as_typical, strict=True))


@pytest.mark.parametrize("members", [1, 3])
def test_half_of_the_known_records_are_farther_from_the_others_than_is_typical(new_records, members):
    whole = new_records(RECORDS, missing_share=0.0)
    fitted = torch.arange(RECORDS).expand(members, -1)
    spaces = neighbours_of(whole.schema, whole.values(whole.model()), fitted, torch.Generator().manual_seed(0))
    for near, typical in spaces:
        own = torch.arange(near.known.shape[1]).expand(members, -1)
        everything = torch.ones((*own.shape, near.columns), dtype=torch.bool)
        distance = near.nearness(near.known, near.nearest(near.known, own), everything).distance
        assert float((distance > typical.distance[:, :1]).float().mean()) == pytest.approx(0.5, abs=0.01)
        torch.testing.assert_close(typical.shares.sum(-1)[:, 0], typical.distance[:, 0], rtol=1e-4, atol=1e-5)


def test_known_records_are_more_where_features_are_few_and_whole_classes():
    assert [_number_known(20_000, features) for features in (3, 7, 15, 30, 500)] == [8192, 8192, 4096, 2048, 2048]
    assert [_number_known(records, 30) for records in (20, 63, 100, 2000)] == [20, 63, 96, 1984]


@pytest.fixture(scope="module")
def dense_and_sparse() -> torch.Tensor:
    """9,900 records in one place and 100 scattered ones, (10000, 2), in random order."""
    generator = torch.Generator().manual_seed(0)
    dense = 0.01 * torch.randn((9_900, 2), generator=generator)
    sparse = 10.0 * torch.randn((100, 2), generator=generator)
    return torch.cat([dense, sparse])[torch.randperm(10_000, generator=generator)]


def test_more_of_the_rare_records_are_known_than_of_those_in_dense_places(dense_and_sparse):
    known = _chosen(dense_and_sparse, 2048, torch.Generator().manual_seed(0))
    assert len(set(known.tolist())) == 2048
    is_rare = dense_and_sparse.norm(dim=1) > 1.0
    assert float(is_rare[known].sum() / is_rare.sum()) > 0.9  # 2,048 of 10,000 at random would be a fifth
    assert 0.15 < float((~is_rare)[known].sum() / (~is_rare).sum()) < 0.25


def test_equal_records_can_all_be_known():
    assert len(set(_chosen(torch.ones((300, 2)), 64, torch.Generator().manual_seed(0)).tolist())) == 64


def test_a_typical_distance_is_that_of_fitted_records_that_are_not_known(new_records):
    whole = new_records(10_000, missing_share=0.0, names=("amount", "weight"))
    values = whole.values(whole.model())
    fitted = torch.arange(10_000)[None]
    for near, typical in neighbours_of(whole.schema, values, fitted, torch.Generator().manual_seed(0)):
        nearest = torch.cdist(near.space.features(values)[None], near.known).amin(-1)[0]
        others = near(values).distance[nearest > 0.0]  # those with an equal among the known ones are left out as well
        assert float((others > typical.distance[0, 0]).float().mean()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("values", [torch.randn(500), torch.arange(6.0).repeat(40), torch.ones(30), torch.zeros(0)])
def test_normal_scores_rise_with_the_value_and_go_on_beyond_the_known_range(values):
    positions, scores = _knots(values)
    assert (np.diff(positions) > 0).all()
    assert (np.diff(scores) > 0).all()
    if values.numel():
        assert positions[0] < float(values.min()) <= float(values.max()) < positions[-1]


def test_normal_scores_are_quantiles_of_the_normal_distribution_at_mid_ranks():
    values = torch.tensor([1.0] * 50 + [2.0] * 30 + [4.0] * 20)
    positions, scores = _knots(values)
    known = dict(zip(positions, scores, strict=True))
    expected = torch.special.ndtri(torch.tensor([0.25, 0.65, 0.9], dtype=torch.float64))
    assert [known[1.0], known[2.0], known[4.0]] == pytest.approx(expected.tolist())


def test_ranks_do_not_depend_on_the_shape_of_a_column():
    x = torch.randn((400, 2), generator=torch.Generator().manual_seed(0))
    stretched = torch.stack([x[:, 0].exp(), x[:, 1] ** 3], dim=1)
    plain, other = (space_of_numbers(each) for each in (x, stretched))
    torch.testing.assert_close(plain.known, other.known, atol=0.15, rtol=0.0)


def test_half_whitening_is_the_inverse_fourth_root_of_the_covariance_as_ledoit_and_wolf_shrink_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    whitening = _half_whitening(torch.from_numpy(x)).numpy()
    metric = whitening @ whitening.T
    np.testing.assert_allclose(metric @ metric @ LedoitWolf().fit(x).covariance_, np.eye(5), atol=1e-6)


def test_columns_of_few_values_are_those_of_fewest_while_there_are_slots():
    assert _columns_of_few_values([2, 500, 20, 21, 3], 1000) == [0, 2, 4]
    assert _columns_of_few_values([2, 20, 20], 100) == [0]  # 100 records say little of 20 values
    assert len(_columns_of_few_values([20] * 10, 10_000)) == 6


def test_of_few_values_each_is_as_far_from_every_other_and_one_never_seen_is_farther():
    x = torch.arange(4.0).repeat(50)[:, None]
    near = space_of_numbers(x, "plain")
    at = {value: near.space.features(numbers(torch.tensor([[value]])))[0] for value in (0.0, 1.0, 3.0, 1.5)}
    assert float(torch.dist(at[0.0], at[1.0])) == pytest.approx(math.sqrt(2.0))
    assert float(torch.dist(at[0.0], at[3.0])) == pytest.approx(math.sqrt(2.0))
    assert float(torch.dist(at[0.0], at[1.5])) == pytest.approx(2.0)


def test_a_far_number_is_far_and_its_column_adds_nearly_all_of_it():
    x = torch.randn((2 * _CLASSES, 3), generator=torch.Generator().manual_seed(0))
    near = space_of_numbers(x, "plain")
    distance, shares = near(numbers(torch.tensor([[0.0, 1e6, 0.0]])))
    assert float(distance) == pytest.approx(_FAR * (1.0 + math.log(1e6 / _FAR)), abs=3.0)
    assert float(shares[0, 1] / distance[0]) > 0.99


def test_the_nearest_are_found_among_records_that_are_all_a_million_units_away():
    x = torch.randn((20 * _CLASSES, 3), generator=torch.Generator().manual_seed(0))
    x[: 10 * _CLASSES, 0] = 1e6  # the likes of -999 in a column of small numbers
    near = space_of_numbers(x, "plain")
    features = near.known[0]
    nearest = near.nearest(features, own=torch.arange(len(x))[None])[0]
    distance = torch.cdist(features.double(), features.double()).fill_diagonal_(math.inf)
    chosen = torch.gather(distance, 1, nearest).mean(1)
    assert float((chosen / distance.topk(NEAREST, largest=False).values.mean(1)).max()) < 1.05


def test_a_value_that_was_rounded_to_float32_and_back_is_the_same_value():
    x = torch.arange(4.0).repeat(50)[:, None] / 3.0
    near = space_of_numbers(x, "plain")
    at, rounded = (near.space.features(numbers(torch.tensor([[value]]))) for value in (1.0, 1.0 + 1e-5))
    torch.testing.assert_close(at, rounded)

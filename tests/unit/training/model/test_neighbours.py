"""The nearest known records: found exactly, their distance shared among columns, nothing learned of other records."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vaegis.training.model.neighbours import (
    _CLASSES,
    MOST_WEIGHTED,
    NEAREST,
    Neighbours,
    Space,
    _chosen,
    _columns_of_few_values,
    _knots,
    _number_known,
    _weights_of,
    neighbours_of,
)

pytestmark = pytest.mark.training
RECORDS = 200


@pytest.fixture(scope="module", params=[1, 3])
def made(request, prepared):
    """The known records of all records, as one member and as three know them."""
    values = prepared.values(prepared.model())
    fitted = torch.arange(RECORDS).expand(request.param, -1)
    made = neighbours_of(prepared.schema, values, fitted, torch.Generator().manual_seed(0))
    return values, made


@pytest.fixture
def known_numbers(numeric_values) -> Callable[[torch.Tensor], Neighbours]:
    """Make records of numeric columns alone, (n, d), the known ones."""

    def make(x: torch.Tensor) -> Neighbours:
        columns = x.shape[-1]
        values = numeric_values(x[None])
        space = Space(values, [list(range(columns)), [], [], []], [])
        features = space.features(values)
        return Neighbours(space, features, _weights_of(features), columns).eval()

    return make


@pytest.mark.parametrize("members", [1, 2])
def test_a_table_of_categories_alone_has_distances(new_records, members):
    alone = new_records(60, names=("country",))
    values, fitted = alone.values(alone.model()), torch.arange(60).expand(members, -1)
    near, _ = neighbours_of(alone.schema, values, fitted, torch.Generator())
    assert torch.isfinite(near(values).distance).all()


def test_the_nearest_are_those_of_a_search_through_all_known_records(made):
    values, (near, _) = made
    assert near.class_size >= NEAREST
    features = near.space.features(values)
    found = near.nearest(features)
    root = torch.linalg.cholesky(near.weights[:, 0].double())  # distances by W are those of the features times its root
    distance = torch.cdist(features.double() @ root, near.known.double() @ root)
    everything = distance.sort(-1).values[..., :NEAREST]
    chosen = torch.gather(distance, -1, found.expand(*everything.shape))
    torch.testing.assert_close(chosen.sort(-1).values, everything, atol=2e-2, rtol=1e-2)


def test_columns_that_do_not_vary_leave_the_precision_of_distances(numeric_values):
    x = torch.linspace(0.0, 1.0, RECORDS)[None, :, None]
    numbers, always = torch.cat([x, torch.full_like(x, 7.0)], dim=-1), torch.ones_like(x)
    values = numeric_values(numbers)._replace(boolean=always, observed=torch.ones((1, RECORDS, 3), dtype=torch.bool))
    space = Space(values, [[0, 1], [2], [], []], [])
    raw = space.features(values)
    known = space.move_center(raw)
    torch.testing.assert_close(torch.cdist(known, known), torch.cdist(raw, raw), atol=1e-2, rtol=0.0)
    torch.testing.assert_close(space.features(values), known)
    # The nearest ones are found by float32 sums of such squares.
    assert float((torch.matmul(known, _weights_of(known)[:, 0]) * known).sum(-1).max()) < 20.0


def test_what_columns_add_sums_to_the_distance(made):
    values, (near, _) = made
    distance, shares = near(values)
    torch.testing.assert_close(shares.sum(-1), distance, rtol=1e-4, atol=1e-5)


def test_a_null_has_no_part_in_the_distance_whatever_stands_in_its_place(made):
    values, (near, _) = made
    features = near.space.features(values)
    nothing = torch.zeros_like(values.observed)
    distance, shares = near.nearness(features, near.nearest(features), nothing)
    at_no_distance = near.softening.sqrt().flatten()[:, None]
    torch.testing.assert_close(distance, at_no_distance.expand(-1, RECORDS).reshape(distance.shape))
    assert float(shares.max() - shares.min()) < 1e-6 + float(at_no_distance.max() - at_no_distance.min())


def test_a_record_is_left_out_of_the_known_ones_by_its_place_and_not_by_its_values(known_numbers):
    same = torch.zeros((4, 1)) + torch.tensor([[0.0], [0.0], [5.0], [9.0]])
    near = known_numbers(same)
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
    (near, typical), (also, as_typical) = before, after
    assert all(torch.equal(a, b) for a, b in zip(near.buffers(), also.buffers(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(typical, as_typical, strict=True))


@pytest.mark.parametrize("members", [1, 3])
def test_half_of_the_known_records_are_farther_from_the_others_than_is_typical(new_records, members):
    whole = new_records(RECORDS, missing_share=0.0)
    fitted = torch.arange(RECORDS).expand(members, -1)
    values, generator = whole.values(whole.model()), torch.Generator().manual_seed(0)
    near, typical = neighbours_of(whole.schema, values, fitted, generator)
    own = torch.arange(near.known.shape[1]).expand(members, -1)
    everything = torch.ones((*own.shape, near.columns), dtype=torch.bool)
    distance = near.nearness(near.known, near.nearest(near.known, own), everything).distance
    assert float((distance > typical.distance[:, :1]).float().mean()) == pytest.approx(0.5, abs=0.01)
    torch.testing.assert_close(typical.shares.sum(-1)[:, 0], typical.distance[:, 0], rtol=1e-4, atol=1e-5)


def test_known_records_are_more_where_features_are_few_and_whole_classes():
    assert [_number_known(20_000, features) for features in (3, 7, 15, 30, 500)] == [8192, 8192, 6144, 3072, 2048]
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
    near, typical = neighbours_of(whole.schema, values, fitted, torch.Generator().manual_seed(0))
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


def test_ranks_do_not_depend_on_the_shape_of_a_column(known_numbers):
    x = torch.randn((400, 2), generator=torch.Generator().manual_seed(0))
    stretched = torch.stack([x[:, 0].exp(), x[:, 1] ** 3], dim=1)
    plain, other = (known_numbers(each) for each in (x, stretched))
    torch.testing.assert_close(plain.known, other.known, atol=0.15, rtol=0.0)


def test_columns_of_few_values_are_those_of_fewest_while_there_are_slots():
    assert _columns_of_few_values([2, 500, 20, 21, 3], 1000) == [0, 2, 4]
    assert _columns_of_few_values([2, 20, 20], 100) == [0]  # 100 records say little of 20 values
    assert len(_columns_of_few_values([20] * 10, 10_000)) == 6


def test_of_few_values_each_is_a_feature_and_one_never_seen_is_farther(known_numbers, numeric_values):
    x = torch.arange(4.0).repeat(50)[:, None]
    near = known_numbers(x)
    at = {value: near.space.features(numeric_values(torch.tensor([[value]])))[0, 1:] for value in (0.0, 1.0, 3.0, 1.5)}
    assert float(torch.dist(at[0.0], at[1.0])) == pytest.approx(math.sqrt(2.0))
    assert float(torch.dist(at[0.0], at[3.0])) == pytest.approx(math.sqrt(2.0))
    assert float(torch.dist(at[0.0], at[1.5])) == pytest.approx(2.0)


def test_the_farther_a_number_lies_beyond_the_known_range_the_farther_it_is(known_numbers, numeric_values):
    x = torch.randn((2 * _CLASSES, 3), generator=torch.Generator().manual_seed(0))
    near = known_numbers(x)
    far = torch.tensor([[0.0, times, 0.0] for times in (4.0, 20.0, 200.0, 2000.0, 1e6)])
    distance, shares = near(numeric_values(far))
    assert (distance.diff() > 2.0).all()
    assert (distance < 200.0).all()  # float32 tells the known records apart from there
    assert (shares[1:, 1] / distance[1:] > 0.9).all()


def test_a_value_that_was_rounded_to_float32_and_back_is_the_same_value(known_numbers, numeric_values):
    x = torch.arange(4.0).repeat(50)[:, None] / 3.0
    near = known_numbers(x)
    at, rounded = (near.space.features(numeric_values(torch.tensor([[value]])))[:, 1:] for value in (1.0, 1.0 + 1e-5))
    torch.testing.assert_close(at, rounded)


def test_a_record_against_the_dependence_of_columns_is_farther_than_one_that_follows_it(known_numbers, numeric_values):
    first = torch.randn(2 * _CLASSES, generator=torch.Generator().manual_seed(0))
    near = known_numbers(torch.stack([first, first + 0.1 * first.flip(0)], dim=1))
    following, against = near(numeric_values(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))).distance.flatten().tolist()
    unweighted = Neighbours(near.space, near.known, None, near.columns).eval()
    _, against_unweighted = unweighted(numeric_values(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))).distance.flatten()
    assert following < against
    assert against > 1.2 * float(against_unweighted)


def test_a_difference_in_one_column_is_its_alone_however_columns_depend_on_each_other(known_numbers, numeric_values):
    first = torch.randn(2 * _CLASSES, generator=torch.Generator().manual_seed(0))
    near = known_numbers(torch.stack([first, first, torch.randn(2 * _CLASSES)], dim=1))
    record = near.known[:, :1].clone()
    record[..., 1] += 3.0
    _, shares = near.nearness(
        record[0], torch.zeros((1, NEAREST), dtype=torch.int64), torch.ones((1, 3), dtype=torch.bool)
    )
    softened = shares[..., 0].flatten()
    torch.testing.assert_close(shares[..., 2].flatten(), softened)
    assert float(shares[..., 1] / softened) > 50.0


@pytest.mark.parametrize("features", [torch.randn(300, 6), torch.randn(20, 30), torch.zeros(50, 3), torch.ones(1, 2)])
def test_weights_are_finite_and_leave_differences_as_large_on_average(features):
    weights = _weights_of(features[None])
    assert torch.isfinite(weights).all()
    assert float(torch.linalg.eigvalsh(weights).min()) >= 0.5 - 1e-3
    if len(features) > 100:
        centred = features - features.mean(0)
        mean = (centred * (centred @ weights[0, 0])).sum(1).mean()
        torch.testing.assert_close(mean, centred.square().sum(1).mean(), rtol=0.05, atol=0.0)


def test_very_wide_spaces_have_no_weights():
    assert _weights_of(torch.randn(1, 10, MOST_WEIGHTED + 1)) is None

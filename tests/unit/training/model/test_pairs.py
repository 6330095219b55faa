"""Tables of pairs: combinations that never came are surprising, and no record counts for itself."""

from __future__ import annotations

import math

import pytest
import torch

from vaegis.service.contract import Schema
from vaegis.training.model.pairs import MOST_PAIRS, ChosenPairs, NextPairs, _chosen_pairs, _edges, _next_pairs, pairs_of

pytestmark = pytest.mark.training
RECORDS = 200


def correlated(records: int, seed: int = 0) -> torch.Tensor:
    """Return two numbers that are nearly equal, and one of its own, (records, 3)."""
    x = torch.randn((records, 3), generator=torch.Generator().manual_seed(seed))
    return torch.stack([x[:, 0], x[:, 0] + 0.1 * x[:, 1], x[:, 2]], dim=1)


@pytest.fixture(scope="module")
def three_numbers(new_records, numeric_values):
    """The tables of 4,000 records of `correlated`."""
    schema = new_records(50, names=("amount", "weight", "size")).schema
    numeric = [column for column in schema.columns if column.name in ("amount", "weight", "size")]
    schema = schema.model_copy(update={"columns": tuple(numeric)})
    return pairs_of(schema, numeric_values(correlated(4_000)), torch.arange(4_000)[None])


def test_values_that_never_came_together_are_more_surprising_than_those_that_did(three_numbers, numeric_values):
    together, apart = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, -1.0, 0.0]])
    usual, unusual = (three_numbers(numeric_values(each)) for each in (together, apart))
    assert float(unusual.log_ratio) > float(usual.log_ratio) + 3.0
    assert unusual.shares[0].tolist() == pytest.approx([0.5, 0.5, 0.0], abs=0.02)


def test_columns_share_all_of_the_mean(three_numbers, numeric_values):
    log_ratio, shares = three_numbers(numeric_values(correlated(100, seed=1)))
    assert torch.isfinite(log_ratio).all()
    torch.testing.assert_close(shares.sum(-1), torch.ones(100))


def test_what_is_typical_of_fitted_records_is_typical_of_new_ones(three_numbers, numeric_values):
    log_ratio, _ = three_numbers(numeric_values(correlated(20_000, seed=3)))
    median, spread = three_numbers.typical[0].tolist()
    assert float((log_ratio > median).float().mean()) == pytest.approx(0.5, abs=0.05)
    assert float((log_ratio > median + spread).float().mean()) == pytest.approx(0.16, abs=0.04)


@pytest.mark.parametrize("far", [-1e6, -10.0, 10.0, 1e6])
def test_a_number_beyond_the_known_ones_is_surprising_beside_any_other(three_numbers, numeric_values, far):
    inside, beyond = (three_numbers(numeric_values(torch.tensor([[0.0, 0.0, x]]))) for x in (0.0, far))
    assert float(beyond.log_ratio) > float(inside.log_ratio) + 3.0
    assert int(beyond.shares[0].argmax()) == 2


@pytest.mark.parametrize("members", [1, 3])
def test_a_null_where_there_was_none_is_surprising(new_records, members):
    whole = new_records(RECORDS, missing_share=0.0)
    values = whole.values(whole.model())
    tables = pairs_of(whole.schema, values, torch.arange(RECORDS).expand(members, -1))
    missing = values._replace(observed=values.observed.clone())
    missing.observed[:, 1] = False
    assert (tables(missing).log_ratio.mean(-1) > tables(values).log_ratio.mean(-1) + 1.0).all()


def test_records_that_a_member_was_not_fitted_to_change_nothing(prepared):
    values = prepared.values(prepared.model())
    fitted = torch.arange(0, RECORDS, 2)[None]
    changed = values._replace(numeric=values.numeric.clone())
    changed.numeric[1::2] += 7.0
    before, after = (pairs_of(prepared.schema, each, fitted) for each in (values, changed))
    assert all(torch.equal(a, b) for a, b in zip(before.buffers(), after.buffers(), strict=True))


def test_members_have_the_tables_that_each_would_have_alone(prepared):
    values = prepared.values(prepared.model())
    fitted = torch.stack([torch.arange(0, 100), torch.arange(100, 200)])
    together = pairs_of(prepared.schema, values, fitted)(values)
    for member in range(2):
        alone = pairs_of(prepared.schema, values, fitted[member : member + 1])(values)
        torch.testing.assert_close(together.log_ratio[member], alone.log_ratio)
        torch.testing.assert_close(together.shares[member], alone.shares)


def test_a_single_column_has_no_pairs(new_records):
    alone = new_records(60, names=("country",))
    assert pairs_of(alone.schema, alone.values(alone.model()), torch.arange(60)[None]) is None


def test_a_timestamp_alone_has_pairs_of_its_place_hour_and_weekday(new_records):
    alone = new_records(60, names=("placed_at",))
    tables = pairs_of(alone.schema, alone.values(alone.model()), torch.arange(60)[None])
    assert tables is not None
    assert tables.number == 3


def test_of_many_columns_those_are_paired_that_depend_on_each_other():
    generator = torch.Generator().manual_seed(0)
    bins = torch.randint(0, 8, (2_000, 60), generator=generator)
    bins[:, 59] = bins[:, 0]
    pairs = {tuple(pair) for pair in _chosen_pairs(bins, 11).tolist()}
    assert len(pairs) == MOST_PAIRS
    assert (0, 59) in pairs
    assert {at for pair in pairs for at in pair} == set(range(60))


def test_of_very_many_columns_each_is_paired_with_the_next():
    assert _next_pairs(300).tolist() == [[at, (at + 1) % 300] for at in range(300)]


def test_pairs_with_the_next_field_are_found_without_matrices():
    columns = [0, 1, 2, 0, 2, 2]
    pair = _next_pairs(6)
    chosen, following = ChosenPairs(pair.expand(2, 6, 2), columns, of=3, size=11), NextPairs(columns, of=3, size=11)
    bins = torch.randint(0, 11, (2, 50, 6), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(following.place(bins), chosen.place(bins))
    torch.testing.assert_close(following.of_columns(bins), chosen.of_columns(bins))


def test_tables_grow_with_the_number_of_very_many_columns_and_not_with_its_square(new_records, numeric_values):
    (amount,) = new_records(50, names=("amount",)).schema.columns
    sizes = []
    for columns in (150, 300):
        schema = Schema(columns=tuple(amount.model_copy(update={"name": f"x{at}"}) for at in range(columns)))
        values = numeric_values(torch.randn((50, columns), generator=torch.Generator().manual_seed(0)))
        tables = pairs_of(schema, values, torch.arange(50)[None])
        assert isinstance(tables.paired, NextPairs)
        sizes.append(sum(each.numel() for each in tables.buffers()))
    assert sizes[1] < 2.01 * sizes[0]


def test_each_of_few_values_has_a_bin_and_a_value_of_many_records_has_one_for_itself():
    few = _edges(torch.tensor([0.0, 1.0, 5.0] * 10), 8)
    assert torch.searchsorted(few, torch.tensor([-1.0, 0.0, 1.0, 5.0, 6.0])).tolist() == [0, 1, 2, 3, 4]
    spike = torch.cat([torch.zeros(700), torch.linspace(0.1, 1.0, 300)])
    edges = _edges(spike, 8)
    assert 0.0 < float(edges[1]) < 0.1
    assert _edges(torch.zeros(0), 8).isfinite().all()
    assert math.isclose(float(edges[edges < 1e38][-1]), 1.001, abs_tol=1e-5)

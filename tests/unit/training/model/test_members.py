from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.training.model.members import MemberEmbedding, MemberLinear, perceptron

pytestmark = pytest.mark.training
SIZES = st.integers(1, 5)


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(SIZES, SIZES, SIZES, SIZES, st.booleans())
@settings(deadline=None)
def test_a_linear_layer_is_one_of_torchs_for_each_member(members, width, outputs, records, bias):
    layer = MemberLinear(members, width, outputs, bias=bias)
    x = draws(members, records, width)
    with torch.no_grad():
        together = layer(x)
        for member in range(members):
            shift = layer.bias[member, 0] if bias else None
            expected = torch.nn.functional.linear(x[member], layer.weight[member].T, shift)
            torch.testing.assert_close(together[member], expected)


@given(SIZES, SIZES, SIZES, st.booleans())
@settings(deadline=None)
def test_records_that_are_shared_and_draws_that_lead_go_to_every_member(members, width, records, with_draws):
    layer = MemberLinear(members, width, 2)
    shared = draws(records, width)
    with torch.no_grad():
        each = layer(shared.expand(members, -1, -1))
        torch.testing.assert_close(layer(shared), each)
        if with_draws:
            drawn = draws(3, members, records, width)
            torch.testing.assert_close(layer(drawn), torch.stack([layer(draw) for draw in drawn]))


def test_initial_weights_are_uniform_as_those_of_a_linear_layer_of_torch():
    torch.manual_seed(0)
    given, expected = MemberLinear(1, 100, 200).weight, torch.nn.Linear(100, 200).weight
    assert float(given.abs().max().detach()) == pytest.approx(0.1, rel=1e-3)
    assert float(given.std().detach()) == pytest.approx(float(expected.std().detach()), rel=0.02)


def test_a_layer_without_inputs_gives_its_bias():
    layer = MemberLinear(2, 0, 3)
    assert torch.equal(layer(torch.zeros((4, 0))), layer.bias.expand(2, 4, 3))


@given(st.integers(1, 4), st.lists(st.lists(st.integers(0, 5), min_size=2, max_size=2), min_size=1, max_size=4))
@settings(deadline=None)
def test_an_embedding_looks_up_each_member_in_its_own_table_side_by_side(members, slots):
    table = MemberEmbedding(members, 6, 3, columns=2)
    slot = torch.tensor(slots)  # of records that all members share, two columns
    expected = torch.stack([torch.cat([rows[slot[:, 0]], rows[slot[:, 1]]], dim=1) for rows in table.weight])
    assert torch.equal(table(slot), expected)
    assert torch.equal(table(slot.expand(members, -1, -1)), expected)


def test_a_perceptron_takes_the_shapes_it_says():
    assert perceptron(3, 4, 8, 2)(draws(5, 4)).shape == (3, 5, 2)

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli

from vaegis.training.model.likelihoods import boolean

pytestmark = pytest.mark.training
LEAST = 0.01
LOGITS = torch.tensor([[[-1e4, -3.0, 0.0, 0.5, 1e4]], [[1.0, 2.0, -2.0, 0.1, -1.0]]])  # of two members


def test_the_probability_is_a_sigmoid_between_its_least_and_its_greatest():
    p = boolean.probability(LOGITS, LEAST)
    torch.testing.assert_close(p, LEAST + (1 - 2 * LEAST) * torch.sigmoid(LOGITS))
    assert p[0, 0, 0] == pytest.approx(LEAST)
    assert p[0, 0, -1] == pytest.approx(1 - LEAST)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_it_is_the_negative_log_probability_of_a_bernoulli(value):
    p, x = boolean.probability(LOGITS, LEAST), torch.full_like(LOGITS, value)
    torch.testing.assert_close(boolean.nll(p, x, LEAST), -Bernoulli(p).log_prob(x))


def test_true_and_false_are_all_there_is():
    p = boolean.probability(LOGITS, LEAST)
    both = torch.exp(-boolean.nll(p, torch.ones_like(p), LEAST)) + torch.exp(
        -boolean.nll(p, torch.zeros_like(p), LEAST)
    )
    torch.testing.assert_close(both, torch.ones_like(p))


def test_members_share_the_values_that_all_of_them_judge():
    p, shared = boolean.probability(LOGITS, LEAST), torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]])
    assert torch.equal(boolean.nll(p, shared, LEAST), boolean.nll(p, shared.expand_as(p), LEAST))


def test_no_value_costs_more_than_the_least_probability_allows():
    p = boolean.probability(LOGITS, LEAST)
    for x in (torch.zeros_like(p), torch.ones_like(p)):
        assert float(boolean.nll(p, x, LEAST).max()) <= -math.log(LEAST) * (1 + 1e-6)


def test_a_surprise_is_finite_where_float32_cannot_distinguish_the_probability_from_one():
    least = 1e-9
    p = boolean.probability(torch.tensor([[[30.0]]]), least)
    assert float(p) == 1.0
    assert float(boolean.nll(p, torch.zeros(1, 1), least)) == pytest.approx(-math.log(least))


def test_a_number_that_is_neither_0_nor_1_is_as_unlikely_as_anything():
    p = torch.tensor([[[0.01, 0.5, 0.99]]])
    neither = boolean.value_nll(p, torch.full((1, 3), boolean.NEITHER), 0.001)
    torch.testing.assert_close(neither, torch.full((1, 1, 3), math.log(1000.0)))
    for truth in (0.0, 1.0):
        x = torch.full((1, 3), truth)
        torch.testing.assert_close(boolean.value_nll(p, x, 0.001), boolean.nll(p, x, 0.001))

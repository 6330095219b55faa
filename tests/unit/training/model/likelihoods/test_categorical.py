from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical

from vaegis.training.model.likelihoods.categorical import CategoricalLikelihood

pytestmark = pytest.mark.training
SIZES, UNSEEN, SMOOTHING = [3, 1, 4], [0.1, 0.001, 0.25], [0.01, 0.02, 0.1]
BOUND = 15.0


def likelihood() -> CategoricalLikelihood:
    return CategoricalLikelihood(SIZES, UNSEEN, SMOOTHING)


def logits(scale: float = 2.0, seed: int = 0) -> torch.Tensor:
    """Return the logits of five records by two members."""
    return scale * torch.randn((2, 5, sum(SIZES)), generator=torch.Generator().manual_seed(seed))


def chances(model: CategoricalLikelihood, p: torch.Tensor, code: int) -> torch.Tensor:
    """Return P(code) of each field, by the likelihood."""
    return torch.exp(-model.nll(p, torch.full((p.shape[-2], len(SIZES)), code)))


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.floats(1e-4, 0.5),
    st.floats(1e-4, 0.1),
    st.floats(0.0, 1e3),
    st.integers(0, 100),
)
@settings(deadline=None)
def test_the_known_categories_and_the_unseen_share_sum_to_one(sizes, unseen, smoothing, scale, seed):
    model = CategoricalLikelihood(sizes, [unseen] * len(sizes), [smoothing] * len(sizes))
    p = model.probabilities(scale * torch.randn((1, 2, sum(sizes)), generator=torch.Generator().manual_seed(seed)))
    for field, size in enumerate(sizes):
        total = torch.zeros(1, 2)
        for code in range(size + 1):  # the last is the code of an unseen value
            total += torch.exp(-model.nll(p, torch.full((2, len(sizes)), code)))[..., field]
        torch.testing.assert_close(total, torch.ones(1, 2))


def test_it_is_the_negative_log_probability_of_a_smoothed_softmax_within_the_known_share():
    model, x = likelihood(), logits()
    p = model.probabilities(x)
    for field, part in enumerate(x.split(SIZES, dim=-1)):
        softmax = Categorical(logits=BOUND * torch.tanh(part / BOUND)).probs
        known = (1 - UNSEEN[field]) * ((1 - SMOOTHING[field]) * softmax + SMOOTHING[field] / SIZES[field])
        for code in range(SIZES[field]):
            torch.testing.assert_close(chances(model, p, code)[..., field], known[..., code])


@pytest.mark.parametrize("code", [-1, 4, 99])
def test_a_value_outside_the_list_has_the_unseen_share(code):
    model = likelihood()
    expected = torch.tensor(UNSEEN).expand(2, 5, 3)
    torch.testing.assert_close(chances(model, model.probabilities(logits()), code), expected)


def test_no_category_is_impossible_however_sure_the_decoder():
    model = likelihood()
    p = model.probabilities(logits(scale=1e6))
    assert torch.isfinite(p).all()
    least = [share / size for share, size in zip(SMOOTHING, SIZES, strict=True) for _ in range(size)]
    assert (p >= 0.99 * torch.tensor(least)).all()


def test_draws_lead_then_members_and_all_judge_the_same_records():
    model, x = likelihood(), torch.stack([logits(seed=seed) for seed in range(3)])
    code = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 1, 3], [-1, 5, 9], [3, 0, 4]])
    together = model.nll(model.probabilities(x), code)
    assert together.shape == (3, 2, 5, 3)
    for draw in range(3):
        torch.testing.assert_close(together[draw], model.nll(model.probabilities(x[draw]), code))


def test_each_member_can_have_records_of_its_own():
    model, p = likelihood(), likelihood().probabilities(logits())
    code = torch.stack([torch.zeros((5, 3), dtype=torch.int64), torch.full((5, 3), 2)])
    together = model.nll(p, code)
    for member in range(2):
        torch.testing.assert_close(together[member], model.nll(p[member : member + 1], code[member])[0])


def test_the_likeliest_category_is_that_of_the_greatest_logit_of_its_field():
    x = logits()
    expected = torch.stack([part.argmax(dim=1) for part in x[1].split(SIZES, dim=1)], dim=1)
    model = likelihood()
    assert torch.equal(model.likeliest(model.probabilities(x)[1]), expected)


def test_its_gradient_reaches_every_slot_of_a_field():
    x = logits().requires_grad_()
    model = likelihood()
    model.nll(model.probabilities(x), torch.zeros((5, 3), dtype=torch.int64)).sum().backward()
    assert x.grad is not None
    several = [slot for slot in range(sum(SIZES)) if slot != 3]  # a field of one category has nothing to learn
    assert (x.grad[..., several] != 0).all()


def test_a_value_that_was_never_unseen_costs_its_least_share():
    model = likelihood()
    cost = model.nll(model.probabilities(logits()), torch.full((5, 3), 99))
    assert cost[0, 0, 1].item() == pytest.approx(-math.log(0.001))

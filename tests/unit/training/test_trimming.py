from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaegis.training.trimming import Trimming

pytestmark = pytest.mark.training


def kept(trimming: Trimming, losses: list[list[float]], batch: list[list[int]]) -> list[list[bool]]:
    found: list[list[bool]] = trimming.kept(torch.tensor(losses), torch.tensor(batch)).tolist()
    return found


def test_the_highest_losses_of_each_member_are_left_out():
    trimming = Trimming(2, 10, 0.25)
    assert kept(trimming, [[1.0, 9.0, 2.0, 3.0], [5.0, 0.0, 4.0, 6.0]], [[0, 1, 2, 3], [4, 5, 6, 7]]) == [
        [True, False, True, True],
        [True, True, True, False],
    ]


def test_losses_of_the_batches_before_are_compared_with():
    trimming = Trimming(1, 4, 0.25)
    assert kept(trimming, [[8.0, 9.0]], [[0, 1]]) == [[True, True]]  # a quarter of two is rounded to none
    assert kept(trimming, [[1.0, 7.0]], [[2, 3]]) == [[True, True]]
    assert kept(trimming, [[1.0, 9.5]], [[0, 1]]) == [[True, False]]


@pytest.mark.parametrize("size", [1, 8, 128, 1000])
def test_about_the_share_is_left_out_whatever_the_size_of_batches(size):
    generator = torch.Generator().manual_seed(0)
    trimming, batch = Trimming(1, size, 0.02), torch.arange(size)[None]
    left_out = [(~trimming.kept(torch.randn((1, size), generator=generator), batch)).sum() for _ in range(4000 // size)]
    assert 0.01 < float(torch.stack(left_out).sum()) / (4000 // size * size) < 0.03


def test_records_left_out_of_most_of_their_batches_are_left_out():
    trimming = Trimming(1, 50, 0.04)
    for _ in range(5):
        for first in range(0, 50, 10):
            batch = torch.arange(first, first + 10)[None]
            trimming.kept((batch == 17).float(), batch)
    assert trimming.left_out() == [17]


@pytest.mark.parametrize(("batches", "aside"), [(1, []), (2, []), (3, [0])])
def test_a_record_met_less_than_three_times_is_not_left_out(batches, aside):
    trimming = Trimming(1, 4, 0.25)
    for _ in range(batches):
        trimming.kept(torch.tensor([[9.0, 0.0, 0.0, 0.0]]), torch.arange(4)[None])
    assert trimming.left_out() == aside


def test_nothing_is_left_out_before_the_first_batch():
    assert Trimming(1, 3, 0.5).left_out() == []


@given(share=st.floats(0.0, 0.5), size=st.integers(1, 40), seed=st.integers(0, 1000))
def test_no_loss_left_out_is_below_one_that_is_kept(share, size, seed):
    losses = torch.rand((3, size), generator=torch.Generator().manual_seed(seed))
    is_kept = Trimming(3, size, share).kept(losses, torch.arange(size).expand(3, -1))
    for loss, stays in zip(losses, is_kept, strict=True):
        assert int((~stays).sum()) == round(share * size)
        assert loss[stays].max() <= loss[~stays].min() if (~stays).any() else True

from __future__ import annotations

import pytest
import torch

from training.trimming import Trimming

pytestmark = pytest.mark.training


def test_the_highest_losses_of_each_member_are_left_out():
    losses = torch.tensor([[1.0, 9.0, 2.0, 3.0], [5.0, 0.0, 4.0, 6.0]])
    kept = Trimming(10, 0.25).kept(losses, torch.tensor([[0, 1, 2, 3], [4, 5, 6, 7]]))
    assert kept.sort(dim=1).values.tolist() == [[1.0, 2.0, 3.0], [0.0, 4.0, 5.0]]


@pytest.mark.parametrize(("share", "kept"), [(0.0, 7), (0.1, 7), (0.15, 6), (0.5, 4)])
def test_the_share_left_out_is_rounded_down(share, kept):
    losses, batch = torch.arange(7.0)[None], torch.arange(7)[None]
    assert Trimming(7, share).kept(losses, batch).shape == (1, kept)


def test_records_left_out_of_most_of_their_batches_are_set_aside():
    trimming = Trimming(6, 0.5)
    trimming.kept(torch.tensor([[0.0, 5.0]]), torch.tensor([[0, 5]]))
    trimming.kept(torch.tensor([[1.0, 5.0]]), torch.tensor([[1, 3]]))
    trimming.kept(torch.tensor([[5.0, 1.0]]), torch.tensor([[1, 5]]))  # now 1 and 5 were left out every second time
    assert trimming.set_aside() == [3]
    trimming.kept(torch.tensor([[1.0, 5.0]]), torch.tensor([[0, 5]]))
    assert trimming.set_aside() == [3, 5]


def test_the_gradient_passes_through_the_losses_that_are_kept_alone():
    losses = torch.tensor([[1.0, 9.0, 2.0, 3.0]], requires_grad=True)
    Trimming(4, 0.25).kept(losses, torch.arange(4)[None]).sum().backward()
    assert losses.grad.tolist() == [[1.0, 0.0, 1.0, 1.0]]


def test_nothing_is_set_aside_before_the_first_batch():
    assert Trimming(3, 0.5).set_aside() == []

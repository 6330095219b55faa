from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.trimming import Trimming

pytestmark = pytest.mark.training


def met(trimming: Trimming, losses: list[list[float]], batch: list[list[int]]) -> list[list[bool]]:
    kept: list[list[bool]] = trimming.kept(torch.tensor(losses), torch.tensor(batch)).tolist()
    return kept


def test_all_records_stay_until_they_are_ranked():
    trimming = Trimming(torch.tensor([[0, 1, 2, 3]]), 0.25)
    assert met(trimming, [[1.0, 9.0, 2.0, 3.0]], [[0, 1, 2, 3]]) == [[True] * 4]
    trimming.rank()
    assert met(trimming, [[1.0, 9.0, 2.0, 3.0]], [[0, 1, 2, 3]]) == [[True, False, True, True]]


def test_each_member_ranks_its_own_records():
    trimming = Trimming(torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), 0.25)
    batch = [[0, 1, 2, 3], [1, 2, 3, 4]]
    met(trimming, [[1.0, 9.0, 2.0, 3.0], [0.0, 8.0, 2.0, 3.0]], batch)
    trimming.rank()
    assert met(trimming, [[1.0, 9.0, 2.0, 3.0], [0.0, 8.0, 2.0, 3.0]], batch) == [
        [True, False, True, True],
        [True, False, True, True],
    ]
    assert trimming.rest().tolist() == [[0, 2, 3], [1, 3, 4]]


def test_one_high_loss_among_many_low_ones_is_forgiven():
    trimming = Trimming(torch.tensor([[0, 1]]), 0.5)
    for loss in (9.0, 1.0, 1.0, 1.0):
        met(trimming, [[loss, 4.0]], [[0, 1]])
    assert trimming.rest().tolist() == [[0]]


def test_small_batches_lose_the_share_of_all_records():
    trimming = Trimming(torch.arange(50)[None], 0.02)
    for record in range(50):
        met(trimming, [[float(record == 17)]], [[record]])
    assert trimming.set_aside() == [17]


def test_a_record_is_set_aside_when_most_members_fitted_to_it_leave_it_out():
    trimming = Trimming(torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2]]), 0.34)
    met(trimming, [[9.0, 1.0, 1.0], [9.0, 1.0, 1.0], [1.0, 9.0, 1.0]], [[0, 1, 2]] * 3)
    assert trimming.set_aside() == [0]


def test_the_share_is_one_of_the_records_met():
    trimming = Trimming(torch.arange(100)[None], 0.1)
    met(trimming, [[float(record) for record in range(20)]], [[*range(20)]])
    assert trimming.set_aside() == [18, 19]


def test_nothing_is_set_aside_before_the_first_batch():
    trimming = Trimming(torch.tensor([[0, 1, 2]]), 0.5)
    trimming.rank()
    assert trimming.rest().tolist() == [[0, 1, 2]]
    assert trimming.set_aside() == []


@given(share=st.floats(0.0, 0.5), seed=st.integers(0, 1000), members=st.integers(1, 4))
def test_members_keep_equally_many_of_their_own_records_and_none_above_one_left_out(share, seed, members):
    generator = torch.Generator().manual_seed(seed)
    index = torch.stack([torch.randperm(30, generator=generator)[:20] for _ in range(members)])
    losses = torch.rand((members, 20), generator=generator)
    trimming = Trimming(index, share)
    trimming.kept(losses, index)
    for own, loss, rest in zip(index.tolist(), losses.tolist(), trimming.rest().tolist(), strict=True):
        by_record = dict(zip(own, loss, strict=True))
        left_out = set(own) - set(rest)
        assert len(left_out) == round(share * 20)
        assert set(rest) <= set(own)
        assert max((by_record[r] for r in rest), default=0.0) <= min((by_record[r] for r in left_out), default=1.0)

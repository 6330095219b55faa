from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vaegis.training.schedule import batch_size_for, batches, learning_rate_share, steps_for

pytestmark = pytest.mark.training


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 10**7), st.integers(2, 10**6), st.integers(1, 10**7))
def test_no_set_gets_more_than_the_most_steps_nor_too_few_nor_a_batch_larger_than_itself(records, wanted, most):
    size = batch_size_for(records, wanted)
    assert 1 <= size <= min(records, wanted)
    assert min(most, 200) <= steps_for(records, size, most) <= most


@given(st.integers(1, 3), st.integers(2, 60), st.data())
@examples(deadline=None)
def test_a_pass_shows_each_member_its_own_records_once_each_in_an_order_of_its_own(members, n, data):
    size = data.draw(st.integers(1, n))
    own = torch.stack([1000 * member + torch.randperm(500, generator=seeded(n))[:n] for member in range(members)])
    shuffled = batches(own, size, seeded())
    for _ in range(2):
        shown = torch.cat([next(shuffled) for _ in range(n // size)], dim=1)
        assert shown.shape == (members, n // size * size)
        for member in range(members):
            assert len(set(shown[member].tolist())) == shown.shape[1]
            assert set(shown[member].tolist()) <= set(own[member].tolist())


@given(st.integers(1, 3000), st.data())
def test_the_learning_rate_stays_within_its_highest_and_above_zero(total, data):
    step = data.draw(st.integers(0, total - 1))
    assert 0.0 < learning_rate_share(step, total) <= 1.0

"""How a fit goes through its records: in which batches, how many steps, at which learning rates."""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

_PASSES = 60  # over a small set; a larger one reaches the most steps before
_FEWEST_STEPS = 200
_WARM_UP_STEPS = 50
_LAST_LEARNING_RATE = 0.02  # as a share of the first


def batch_size_for(records: int, wanted: int) -> int:
    """Return the batch size: smaller for small sets, so that a pass still takes several steps."""
    return min(wanted, max(16, records // 4), records)


def steps_for(records: int, batch_size: int, most: int) -> int:
    """Return how many steps to take: a number of passes over small sets, so that they are not learned by heart."""
    return min(most, max(_FEWEST_STEPS, _PASSES * (records // batch_size)))


def learning_rate_share(step: int, total: int) -> float:
    """Return the learning rate as a share of the first: a short linear rise, then half a cosine."""
    rise = min(1.0, (step + 1) / _WARM_UP_STEPS)
    fall = _LAST_LEARNING_RATE + (1.0 - _LAST_LEARNING_RATE) * 0.5 * (1.0 + math.cos(math.pi * step / total))
    return rise * fall


def batches(members: Int[Tensor, "e n"], size: int, generator: torch.Generator) -> Iterator[Int[Tensor, "e b"]]:
    """Yield record indices for each member, pass after pass in a new order; what does not fill a batch is left out."""
    n = members.shape[1]
    while True:
        order = torch.stack([row[torch.randperm(n, generator=generator)] for row in members])
        for at in range(0, n - size + 1, size):
            yield order[:, at : at + size]

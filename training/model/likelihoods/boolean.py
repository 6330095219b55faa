"""The likelihood of a truth value: Bernoulli."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

NEITHER = 2.0
"""Stands for a number that is neither 0 nor 1."""


def probability(logits: Float[Tensor, "*k e n d"], least: float) -> Float[Tensor, "*k e n d"]:
    """Return P(true | z), kept within [least, 1 - least] so that no value is impossible."""
    return least + (1.0 - 2.0 * least) * torch.sigmoid(logits)


def value_nll(p: Float[Tensor, "*k e n d"], x: Float[Tensor, "*e n d"], least: float) -> Float[Tensor, "*k e n d"]:
    """Return `nll` of 0 and 1, and for `NEITHER` that of the least probability there is."""
    return torch.where(x > 1.0, -math.log(least), nll(p, x, least))


def nll(p: Float[Tensor, "*k e n d"], x: Float[Tensor, "*e n d"], least: float) -> Float[Tensor, "*k e n d"]:
    """Return -log P(x | z), nats, for values x in {0, 1} and p = P(true | z), which `probability` gave."""
    # With tens of millions of records, float32 has no number between the greatest p and 1.
    return -torch.log(torch.where(x > 0.5, p, 1.0 - p).clamp(min=least))  # noqa: PLR2004 - between 0 and 1

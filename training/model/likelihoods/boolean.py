"""The likelihood of a truth value: Bernoulli."""

import torch
from jaxtyping import Float
from torch import Tensor


def probability(logits: Float[Tensor, "*k e n d"], least: float) -> Float[Tensor, "*k e n d"]:
    """Return P(true | z), kept within [least, 1 - least] so that no value is impossible."""
    return least + (1.0 - 2.0 * least) * torch.sigmoid(logits)


def nll(p: Float[Tensor, "*k e n d"], x: Float[Tensor, "*e n d"]) -> Float[Tensor, "*k e n d"]:
    """Return -log P(x | z), nats, for values x in {0, 1} and p = P(true | z)."""
    return -torch.log(torch.where(x > 0.5, p, 1.0 - p))  # noqa: PLR2004 - between 0 and 1

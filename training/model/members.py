"""Layers of an ensemble: its members stand side by side in one tensor and are fitted and run together.

A tensor that belongs to members has them as the dimension before the records: (members, n, width), or with draws
(draws, members, n, width). One without it, (n, width), is shared by all. No member's weights meet another's.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def without_single_member(x: Tensor) -> Tensor:
    """Drop the first dimension, that of members, if there is only one: fewer dimensions are faster in the runtime."""
    return x if x.shape[0] > 1 else x[0]


class MemberLinear(nn.Module):
    """x @ weight + bias, with weights of each member's own."""

    def __init__(self, members: int, width: int, outputs: int, *, bias: bool = True) -> None:
        """Draw initial weights and biases from U(-1/sqrt(width), 1/sqrt(width)), as `torch.nn.Linear` does."""
        super().__init__()
        bound = 1.0 / math.sqrt(max(1, width))
        self.weight = nn.Parameter(torch.empty(members, width, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Float[Tensor, "*e n i"]) -> Float[Tensor, "*k e n o"]:
        """Return the layer's outputs, one set a member."""
        if self.weight.shape[0] > 1:
            y = torch.matmul(x, self.weight)
            return y if self.bias is None else y + self.bias
        # Weights in two dimensions are packed once by onnxruntime, and not anew in each run.
        y = torch.matmul(x, self.weight[0])
        y = y if self.bias is None else y + self.bias[0, 0]
        return y if x.dim() > 2 else y[None]  # noqa: PLR2004 - records and their entries


class MemberEmbedding(nn.Module):
    """A table of vectors for each member."""

    first_row: Tensor

    def __init__(self, members: int, slots: int, width: int, *, columns: int) -> None:
        """Draw the vectors from N(0, 1), as `torch.nn.Embedding` does.

        Args:
            members: Number of members.
            slots: Vectors of each.
            width: Of a vector.
            columns: Vectors looked up for a record.
        """
        super().__init__()
        self._looked_up = columns * width
        self.weight = nn.Parameter(torch.randn(members, slots, width))
        self.register_buffer("first_row", torch.arange(members)[:, None, None] * slots)

    def forward(self, slot: Int[Tensor, "*e n c"]) -> Float[Tensor, "e n cw"]:
        """Return the vectors at ``slot``, those of one record side by side."""
        vectors = nn.functional.embedding(slot + self.first_row, self.weight.flatten(0, 1))  # (e, n, columns, width)
        # Not by flatten(): of no records onnxruntime cannot tell a width.
        return vectors.reshape(*vectors.shape[:-2], self._looked_up)


def perceptron(members: int, width: int, hidden: int, outputs: int) -> nn.Sequential:
    """Return two hidden layers with SiLU and a linear one."""
    return nn.Sequential(
        MemberLinear(members, width, hidden),
        nn.SiLU(),
        MemberLinear(members, hidden, hidden),
        nn.SiLU(),
        MemberLinear(members, hidden, outputs),
    )

"""Tensor operations written so that torch's ONNX exporter emits few and correct nodes."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class IndexSelect(nn.Module):
    """Selects fixed entries of the last dimension: one Gather node, or none if it selects all in order."""

    index: Tensor

    if TYPE_CHECKING:

        def __call__(self, x: Tensor) -> Tensor:
            """Call `forward`; torch's own declaration says nothing of what it returns."""

    def __init__(self, index: Sequence[int], *, of: int) -> None:
        """Select the entries at ``index``, out of ``of``."""
        super().__init__()
        # As a slice no part of the graph needs a tensor without entries, which the exporter gives a wrong type.
        self._is_first = list(index) == list(range(len(index)))
        self._are_all = self._is_first and len(index) == of
        self.register_buffer("index", torch.tensor(index, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Return the entries of ``x``."""
        if self._are_all:
            return x
        return x[..., : len(self.index)] if self._is_first else pick(x, self.index)

    def __len__(self) -> int:
        return len(self.index)


def pick(x: Tensor, index: Int[Tensor, " i"]) -> Tensor:
    """Return the entries of the last dimension at ``index``: one Gather, where ``x[..., index]`` takes three nodes."""
    return torch.index_select(x, -1, index)


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Return features side by side; parts without any are left out: the exporter gives those a wrong type."""
    there = [part for part in parts if part.shape[-1]] or parts[:1]
    return torch.cat(list(there), dim=-1) if len(there) > 1 else there[0]


def unflatten(x: Tensor, *sizes: int) -> Tensor:
    """Return ``x`` with its last dimension split into ``sizes``."""
    return x.reshape(*x.shape[:-1], *sizes)


def half_power(x: Float[Tensor, "*n"], twice: int) -> Float[Tensor, "*n"]:
    """Return x^(twice / 2) for x >= 0 by repeated squaring: for small exponents far cheaper than a Pow.

    >>> half_power(torch.tensor([4.0]), 5)
    tensor([32.])
    """
    factors = [torch.sqrt(x)] if twice % 2 else []
    exponent = twice // 2
    while exponent:
        if exponent % 2:
            factors.append(x)
        exponent //= 2
        x = x * x
    return math.prod(factors[1:], start=factors[0])

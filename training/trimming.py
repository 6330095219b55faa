"""Trimming: records of the highest loss stay out of each batch, so gross anomalies in the history pull at nothing."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Trimming:
    """Leaves a share of each batch out, and remembers which records these were."""

    def __init__(self, records: int, share: float) -> None:
        """Begin.

        Args:
            records: Number of records that batches are drawn from.
            share: Of each batch, by highest loss, that is left out, rounded down.
        """
        self._share = share
        self._met = torch.zeros(records)
        self._left_out = torch.zeros(records)

    def kept(self, losses: Float[Tensor, "e b"], batch: Int[Tensor, "e b"]) -> Float[Tensor, "e k"]:
        """Return the losses of the records that stay, for each member.

        Args:
            losses: Of the records of a batch.
            batch: Which records these are.
        """
        size = losses.shape[1]
        left_out = math.floor(self._share * size)
        order = losses.detach().argsort(dim=1)
        self._met.index_add_(0, batch.flatten(), torch.ones(batch.numel()))
        high = torch.gather(batch, 1, order[:, size - left_out :]).flatten()
        self._left_out.index_add_(0, high, torch.ones(high.numel()))
        return torch.gather(losses, 1, order[:, : size - left_out])

    def set_aside(self) -> list[int]:
        """Return the records that were left out of most batches that they were in, ascending."""
        is_aside = self._left_out > 0.5 * self._met
        return [int(record) for record in torch.nonzero(is_aside).flatten()]

"""Trimming: each step leaves out the records of the highest loss, so gross anomalies do not affect the fit."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_COMPARED = 512  # latest losses of a member, among which the share of the highest is left out
_FEWEST_BATCHES = 3  # fewer say nothing: by chance alone, a record may be left out of the one that it was in


class Trimming:
    """Leaves out the share of the highest among a member's latest losses, and remembers which records had them.

    A share of each batch would be rounded to nothing in small ones.
    """

    def __init__(self, members: int, records: int, share: float) -> None:
        """Begin.

        Args:
            members: Number of members, each with losses of its own.
            records: Number of records that batches are drawn from.
            share: Of the losses, the highest, that is left out.
        """
        self._share = share
        self._latest = torch.zeros((members, 0))
        self._met = torch.zeros(records)
        self._left_out = torch.zeros(records)

    def kept(self, losses: Float[Tensor, "e b"], batch: Int[Tensor, "e b"]) -> Bool[Tensor, "e b"]:
        """Return which records of a batch are kept, for each member.

        Args:
            losses: Of the records of the batch.
            batch: Which records these are.
        """
        losses = losses.detach()
        self._latest = torch.cat([losses, self._latest], dim=1)[:, : max(_COMPARED, losses.shape[1])]
        left_out = round(self._share * self._latest.shape[1])
        limit = self._latest.sort(dim=1).values[:, self._latest.shape[1] - left_out - 1 :][:, :1]
        is_kept = losses <= limit
        self._met.index_add_(0, batch.flatten(), torch.ones(batch.numel()))
        self._left_out.index_add_(0, batch.flatten(), (~is_kept).flatten().float())
        return is_kept

    def left_out(self) -> list[int]:
        """Return the records that were left out of most batches that they were in, at least 3, ascending."""
        is_left_out = (self._left_out > 0.5 * self._met) & (self._met >= _FEWEST_BATCHES)
        return [int(record) for record in torch.nonzero(is_left_out).flatten()]

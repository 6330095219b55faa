"""Trimming: records of the highest loss stay out of the fit, so that anomalies in the history pull at nothing."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LEAST_RATE = 0.1  # of a new loss in a record's mean, so that what the model made of it long ago is forgotten


class Trimming:
    """Follows the mean loss of each record under each member, and leaves out the share where it is highest.

    Means over many batches tell odd records from those of which a batch hid much; and a share of all records, unlike
    one of a batch, is not rounded to nothing in small batches.
    """

    def __init__(self, members: Int[Tensor, "e n"], share: float) -> None:
        """Begin with no record left out.

        Args:
            members: Which records each member is fitted to.
            share: Of these, that is left out; rounded to whole records.
        """
        self._members = members
        self._share = share
        shape = (members.shape[0], int(members.max()) + 1)
        self._met = torch.zeros(shape)
        self._mean = torch.zeros(shape)
        self._limit = torch.full((members.shape[0], 1), torch.inf)

    def kept(self, losses: Float[Tensor, "e b"], batch: Int[Tensor, "e b"]) -> Bool[Tensor, "e b"]:
        """Note the losses of a batch, and tell which of its records stay.

        Args:
            losses: Of the records of the batch, each record at most once a member.
            batch: Which records these are.
        """
        met = self._met.gather(1, batch) + 1.0
        mean = self._mean.gather(1, batch)
        mean = mean + (losses.detach() - mean) * (1.0 / met).clamp(min=_LEAST_RATE)
        self._met.scatter_(1, batch, met)
        self._mean.scatter_(1, batch, mean)
        return mean <= self._limit

    def rank(self) -> None:
        """Set the limit above which records are left out, by the records met so far."""
        for member, (met, mean) in enumerate(zip(self._met, self._mean, strict=True)):
            seen = mean[met > 0]
            left_out = round(self._share * seen.numel())
            if left_out:
                self._limit[member, 0] = seen.sort().values[-left_out - 1]

    def rest(self) -> Int[Tensor, "e r"]:
        """Return the records of each member without those of the highest mean loss, ascending.

        The share is one of the records met, as many for each member: of a very large set most are never met.
        """
        left_out = round(self._share * int((self._met > 0).sum(1).min()))
        order = self._mean.gather(1, self._members).argsort(dim=1)
        return self._members.gather(1, order[:, : self._members.shape[1] - left_out].sort(dim=1).values)

    def set_aside(self) -> list[int]:
        """Return the records that at least half of the members fitted to them leave out, ascending."""
        fitted, left = (
            torch.bincount(rows.flatten(), minlength=self._met.shape[1]) for rows in (self._members, self.rest())
        )
        is_aside = 2 * left < fitted
        return [int(record) for record in torch.nonzero(is_aside).flatten()]

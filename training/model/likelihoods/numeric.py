"""The likelihood of a quantity: Student-t, with one learned scale a column."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from vaegis.service.contract import NumericColumn

DEGREES_OF_FREEDOM = 4.0
"""Heavy enough tails that gross values in the history widen no scale, finite variance all the same."""

_LEAST_SCALE = 0.05
"""In standardised units: a smaller scale would let one column outweigh all others."""


class NumericLikelihood(nn.Module):
    """p(x|z) = Student-t(x; mean(z), scale, degrees of freedom 4), in standardised units.

    The scale is learned per column and not per record, so that the decoder cannot excuse an anomaly by widening it.
    It stays above the width of the column's grid: a density must not reward integers for being integers.
    """

    floor: Tensor

    def __init__(self, columns: Sequence[NumericColumn], unit: Float[Tensor, " d"], members: int) -> None:
        """Start with a scale of one.

        Args:
            columns: The numeric columns.
            unit: Value of one standardised unit in the column's own unit.
            members: Number of members, each with scales of its own.
        """
        super().__init__()
        # A constant column gains nothing from its grid, and any other value in it should stand out.
        steps = [column.step if column.minimum < column.maximum else 0.0 for column in columns]
        step = torch.tensor(steps, dtype=torch.float64)
        grid_deviation = (step / unit / math.sqrt(12.0)).float()  # of a uniform over one step
        self.register_buffer("floor", torch.clamp(grid_deviation, min=_LEAST_SCALE))
        self.raw_scale = nn.Parameter(torch.full((members, 1, len(columns)), math.log(math.expm1(1.0))))
        nu = DEGREES_OF_FREEDOM
        self._log_normaliser = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)

    @property
    def scale(self) -> Float[Tensor, "e 1 d"]:
        """Scale of each column, standardised units."""
        return self.floor + softplus(self.raw_scale)

    def nll(self, mean: Float[Tensor, "*k e n d"], x: Float[Tensor, "*e n d"]) -> Float[Tensor, "*k e n d"]:
        """Return -log p(x|z), nats."""
        nu, scale = DEGREES_OF_FREEDOM, self.scale
        distance = (x - mean) / (scale * math.sqrt(nu))
        return torch.log(scale) - self._log_normaliser + 0.5 * (nu + 1) * torch.log1p(distance * distance)

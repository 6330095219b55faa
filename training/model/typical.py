"""What is typical of a quantity over the records that each member was fitted to."""

import torch
from jaxtyping import Float
from torch import Tensor

_QUANTILES = (0.16, 0.5, 0.84)  # of a normal distribution: its mean, and one standard deviation to each side


def median_and_spread(x: Float[Tensor, "e n"], *, least: float, least_share: float = 0.0) -> Float[Tensor, "e 2"]:
    """Return the median, and half the distance from the 16% to the 84% quantile.

    Args:
        x: Values by member.
        least: Least spread.
        least_share: Least spread as a share of the median.
    """
    low, median, high = torch.quantile(x, torch.tensor(_QUANTILES, dtype=x.dtype), dim=1)
    spread = torch.maximum((high - low) / 2.0, (least_share * median).clamp(min=least))
    return torch.stack([median, spread], dim=1)

"""The prior: an equal mixture of Student-t kernels around the encoder's codes of training records, the exemplars.

The mixture of posteriors is the prior that maximises the ELBO (Tomczak & Welling 2018, VampPrior); taking it at
training records with one learned width is the Exemplar VAE (Norouzi et al. 2020). It makes the KL term a local
density in latent space, and drawing from it is drawing an exemplar and stepping a little aside. Kernels with heavy
tails keep that term from growing with the square of the distance, which would drown what the columns say.

A few anomalies among the exemplars make that density high where they lie. Scores therefore take most of its logarithm
as the mean over blocks of exemplars, each a mixture of its own: a place is likely that most blocks know of.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vaegis.training.model.exportable import half_power, unflatten

DEGREES_OF_FREEDOM = 4
"""Of the kernels; as heavy as those of the numeric likelihood."""

BLOCK = 256
"""Exemplars of a block, at least, where there are as many."""
BLOCKS_WEIGHT = 0.75
"""Of the mean over blocks in log p(z), beside the mixture of all exemplars."""

_LOG_2_PI = math.log(2.0 * math.pi)
_NEVER = 1e30  # distance of an exemplar left out
_FAR = 100.0  # widths from the middle of the exemplars


class Blocks(NamedTuple):
    """How exemplars are dealt into blocks: the first make the first one, and so on."""

    number: int
    size: int
    """Exemplars of each."""


def blocks_of(exemplars: int) -> Blocks:
    """Return the number of blocks for a number of exemplars; a few may be left over."""
    number = max(1, exemplars // BLOCK)
    return Blocks(number, exemplars // number)


class ExemplarPrior(nn.Module):
    """p(z) = 1/M * sum over m of t(z; exemplar_m, diag(width^2)), with a width learned per latent dimension."""

    def __init__(self, latent_dim: int, members: int) -> None:
        """Start with log(width^2) = -1 in every latent dimension."""
        super().__init__()
        self.logvar = nn.Parameter(torch.full((members, 1, latent_dim), -1.0))
        self._in_float64 = False
        nu, d = DEGREES_OF_FREEDOM, latent_dim
        self._twice_p = nu + d
        self._log_normaliser = math.lgamma((nu + d) / 2) - math.lgamma(nu / 2) - 0.5 * d * math.log(nu * math.pi)

    @torch.no_grad()
    def settle_precision(self, exemplars: Float[Tensor, "e m l"]) -> None:
        """Take distances in float64 from now on if exemplars lie so far out that float32 would not tell them apart.

        Float32 leaves the KL of a record beside an exemplar within about a thousandth of a nat up to `_FAR` widths
        from the middle, and takes a quarter less time to score a record.
        """
        out = ((exemplars - exemplars.mean(-2, keepdim=True)) / self.width).square().sum(-1).amax()
        self._in_float64 = bool(out > _FAR**2)

    @property
    def width(self) -> Float[Tensor, "e 1 l"]:
        """Width of the kernels in each latent dimension."""
        return torch.exp(0.5 * self.logvar)

    def kl(
        self,
        mu: Float[Tensor, "e n l"],
        logvar: Float[Tensor, "e n l"],
        exemplars: Float[Tensor, "e m l"],
        own: Bool[Tensor, "e n m"] | None = None,
        blocks: Blocks | None = None,
    ) -> Float[Tensor, "e n"]:
        """Return a variational bound on KL(N(mu, exp(logvar)) || p), nats, one a record.

        With d_m the squared distance to exemplar m in widths, nu the degrees of freedom and L the latent dimensions:

            E_q[log p(z)] >= log 1/M sum_m exp(E_q[log t_m(z)])                         (Hershey & Olsen 2007)
            E_q[log t_m(z)] >= log t_m(0) - (nu + L)/2 * log(1 + E_q[d_m]/nu)           (Jensen: log is concave)

        E_q[d_m] is in closed form, so the bound needs no draw. It is never below the KL: the ELBO made with it is a
        lower bound on log p(x) still. With d the least distance, the sum is taken as

            log 1/M sum_m (1 + d_m/nu)^-p = -p log((nu + d)/nu) + log 1/M sum_m ((nu + d)/(nu + d_m))^p,  p = (nu + L)/2

        which takes a few products an exemplar in place of a logarithm and an exponential. With several blocks it is
        `BLOCKS_WEIGHT` of the mean of the bounds on the KL to each block alone, and the rest of that to all. It
        is a bound on the KL to p still: the mean of logarithms is no more than the logarithm of the mean.

        Args:
            mu: Posterior means.
            logvar: Posterior log-variances.
            exemplars: Centres of the prior's kernels.
            own: Where an exemplar is the record itself, which training must leave out.
            blocks: What the exemplars are dealt into; none: all are one mixture.
        """
        distance = self.kernel_distance(mu, logvar, exemplars)
        if own is not None:
            distance = torch.where(own, _NEVER, distance)  # (e, n, m)
        if blocks is None or blocks.number == 1:
            log_mixture = self._log_mixture(distance)
        else:
            by_block = self._log_mixture(unflatten(distance, *blocks))  # (e, n, blocks)
            together = torch.logsumexp(by_block, dim=-1) - math.log(blocks.number)
            log_mixture = BLOCKS_WEIGHT * by_block.mean(-1) + (1.0 - BLOCKS_WEIGHT) * together
        log_peak = self._log_normaliser - 0.5 * self.logvar.sum(-1)
        negative_entropy = -0.5 * (logvar + 1.0 + _LOG_2_PI).sum(-1)
        return negative_entropy - (log_peak + log_mixture)

    def kernel_distance(
        self, mu: Float[Tensor, "e n l"], logvar: Float[Tensor, "e n l"], exemplars: Float[Tensor, "e m l"]
    ) -> Float[Tensor, "e n m"]:
        """Return nu + E_q[d_m], with d_m the squared distance between z and exemplar m in widths.

        It is multiplied out, |a|^2 - 2 a.b + |b|^2, all of it in one matrix product. These terms cancel: taken from the
        middle of the exemplars they are small, and `settle_precision` sees to exemplars for which they are not: what
        rounding leaves is then far below nu. While fitting, exemplars may lie anywhere, so a bound is set.
        """
        inverse_width = torch.exp(-0.5 * self.logvar)
        middle = exemplars.mean(-2, keepdim=True)
        z, known = (mu - middle) * inverse_width, (exemplars - middle) * inverse_width
        if self._in_float64:
            z, known = z.double(), known.double()
        spread = torch.exp(logvar - self.logvar).sum(-1, keepdim=True).to(z.dtype)
        z_squared, known_squared = ((x * x).sum(-1, keepdim=True) for x in (z, known))
        left = torch.cat([z, z_squared + spread, torch.ones_like(z_squared)], dim=-1)
        right = torch.cat([-2.0 * known, torch.ones_like(known_squared), known_squared + DEGREES_OF_FREEDOM], dim=-1)
        right = right.transpose(-1, -2)  # (e, l + 2, m)
        # As in `members`: one member's factor has two dimensions, which onnxruntime packs once.
        distance = torch.matmul(left, right if self.logvar.shape[0] > 1 else right[0]).to(mu.dtype)
        return distance.clamp(min=DEGREES_OF_FREEDOM) if self.training else distance

    def _log_mixture(self, distance: Float[Tensor, "*n m"]) -> Float[Tensor, "*n"]:
        """Return log 1/M sum_m (1 + d_m/nu)^-p of `kernel_distance`."""
        least = distance.amin(-1, keepdim=True).detach()  # the mixture does not depend on it
        ratio = half_power(least / distance, self._twice_p)
        return torch.log(ratio.mean(-1)) - 0.5 * self._twice_p * torch.log(least.squeeze(-1) / DEGREES_OF_FREEDOM)

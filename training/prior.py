"""The prior: an equal mixture of Gaussians around the encoder's codes of training records, the exemplars.

The mixture of posteriors is the prior that maximises the ELBO (Tomczak & Welling 2018, VampPrior); taking it at
training records with one learned width is the Exemplar VAE (Norouzi et al. 2020). It makes the KL term a local
density in latent space, and drawing from it is drawing an exemplar and stepping a little aside.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_LOG_2_PI = math.log(2.0 * math.pi)
_NEVER = -1e9  # log-weight of an exemplar left out


class ExemplarPrior(nn.Module):
    """p(z) = 1/M * sum over m of N(z; exemplar_m, diag(width^2)), with a width learned per latent dimension."""

    def __init__(self, latent_dim: int) -> None:
        """Start with a log-variance of -1 in every latent dimension."""
        super().__init__()
        self.logvar = nn.Parameter(torch.full((latent_dim,), -1.0))

    def kl(
        self,
        mu: Float[Tensor, "n l"],
        logvar: Float[Tensor, "n l"],
        exemplars: Float[Tensor, "m l"],
        own: Bool[Tensor, "n m"] | None = None,
    ) -> Float[Tensor, " n"]:
        """Return the variational bound on KL(N(mu, exp(logvar)) || p), nats, one a record.

        E_q[log p(z)] >= log 1/M sum_m exp(E_q[log N(z; exemplar_m, width^2)]) (Hershey & Olsen 2007), with each
        expectation in closed form. The bound is never below the KL, so the ELBO made with it is a lower bound on
        log p(x) still; it needs no draw, and with one exemplar it is the exact KL of two Gaussians.

        Args:
            mu: Posterior means.
            logvar: Posterior log-variances.
            exemplars: Means of the prior's components.
            own: Where an exemplar is the record itself, which training must leave out.
        """
        precision = torch.exp(-self.logvar)
        # (z - e)^2 / width^2 in expectation over q, multiplied out: the cross term is one matrix product.
        distance = (
            ((mu * mu + torch.exp(logvar)) * precision).sum(1, keepdim=True)
            - 2.0 * (mu * precision) @ exemplars.T
            + (exemplars * exemplars * precision).sum(1)
        )  # (n, m)
        log_component = -0.5 * (distance + self.logvar.sum() + mu.shape[1] * _LOG_2_PI)
        if own is not None:
            log_component = torch.where(own, _NEVER, log_component)
        largest = log_component.amax(1, keepdim=True)
        log_mixture = torch.log(torch.exp(log_component - largest).sum(1)) + largest.squeeze(1)
        negative_entropy = -0.5 * (logvar + 1.0 + _LOG_2_PI).sum(1)
        return negative_entropy - (log_mixture - math.log(exemplars.shape[0]))

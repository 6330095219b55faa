from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_t
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaegis.training.model import prior as prior_module
from vaegis.training.model.prior import BLOCK, BLOCKS_WEIGHT, DEGREES_OF_FREEDOM, Blocks, ExemplarPrior, blocks_of

pytestmark = pytest.mark.training
FAR = 1e4


def new_prior(latent_dim: int, seed: int = 0, members: int = 1) -> ExemplarPrior:
    prior = ExemplarPrior(latent_dim, members).double()
    with torch.no_grad():
        prior.logvar.copy_(torch.randn(prior.logvar.shape, generator=torch.Generator().manual_seed(seed)) - 0.5)
    return prior


def posteriors(n: int, latent_dim: int, seed: int, *, members: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mu = 1.5 * torch.randn((members, n, latent_dim), generator=generator, dtype=torch.float64)
    spread = torch.randn((members, n, latent_dim), generator=generator, dtype=torch.float64)
    return mu, -1.0 + 0.5 * spread


def exemplars_of(m: int, latent_dim: int, seed: int, *, members: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn((members, m, latent_dim), generator=generator, dtype=torch.float64)


def log_density(prior: ExemplarPrior, exemplars: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Return log p(z) of the mixture of the only member, by scipy's multivariate Student-t."""
    shape = np.diag(prior.width.detach().numpy()[0, 0] ** 2)
    (centres,) = exemplars.numpy()
    kernels = [multivariate_t(centre, shape, df=DEGREES_OF_FREEDOM).logpdf(z.numpy()) for centre in centres]
    by_kernel = torch.stack([torch.as_tensor(kernel).reshape(z.shape[:-1]) for kernel in kernels])
    return torch.logsumexp(by_kernel, 0) - math.log(len(centres))


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_with_kernels_of_light_tails_and_one_exemplar_it_is_the_closed_form_of_two_gaussians(latent_dim, monkeypatch):
    monkeypatch.setattr(prior_module, "DEGREES_OF_FREEDOM", 10**9)  # a Student-t is then a Gaussian
    prior, (mu, logvar) = new_prior(latent_dim), posteriors(20, latent_dim, 0)
    exemplar = exemplars_of(1, latent_dim, 0)
    expected = kl_divergence(
        Independent(Normal(mu, torch.exp(0.5 * logvar)), 1), Independent(Normal(exemplar, prior.width), 1)
    )
    torch.testing.assert_close(prior.kl(mu, logvar, exemplar), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("latent_dim", [1, 2, 6])
@pytest.mark.parametrize("m", [1, 7])
def test_a_narrow_posterior_has_the_kl_of_its_log_density(latent_dim, m):
    # KL = -entropy - E_q[log p], and a narrow q sees p at mu alone: both bounds are tight there.
    prior, (mu, _) = new_prior(latent_dim), posteriors(20, latent_dim, 1)
    logvar, exemplars = torch.full_like(mu, -20.0), exemplars_of(m, latent_dim, 1)
    entropy = Independent(Normal(mu, torch.exp(0.5 * logvar)), 1).entropy()
    torch.testing.assert_close(prior.kl(mu, logvar, exemplars), -entropy - log_density(prior, exemplars, mu))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("latent_dim", "m"), [(1, 1), (2, 5), (5, 20)])
def test_it_is_never_below_the_kl(latent_dim, m, seed):
    prior, (mu, logvar) = new_prior(latent_dim, seed), posteriors(6, latent_dim, seed)
    exemplars = exemplars_of(m, latent_dim, seed)
    q = MultivariateNormal(mu, torch.diag_embed(torch.exp(logvar)))
    torch.manual_seed(seed)
    z = q.sample((4000,))
    terms = q.log_prob(z) - log_density(prior, exemplars, z)
    standard_error = terms.std(0) / math.sqrt(len(z))
    assert (prior.kl(mu, logvar, exemplars) >= terms.mean(0) - 4.0 * standard_error).all()


def test_a_posterior_like_the_only_kernel_has_a_small_kl_and_one_beside_it_a_larger():
    prior = new_prior(2)
    at = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [3.0, 3.0]]], dtype=torch.float64)
    (kl,) = prior.kl(at, prior.logvar.expand(1, 3, 2), torch.zeros(1, 1, 2).double()).tolist()
    assert 0.0 < kl[0] < 0.5
    assert kl[0] < kl[1] < kl[2]


def test_its_gradient_reaches_posterior_exemplars_and_widths():
    prior, (mu, logvar) = new_prior(3), posteriors(4, 3, 0)
    exemplars = exemplars_of(5, 3, 0)
    for tensor in (mu, logvar, exemplars):
        tensor.requires_grad_()
    prior.kl(mu, logvar, exemplars).sum().backward()
    for tensor in (mu, logvar, exemplars, prior.logvar):
        assert tensor.grad is not None
        assert (tensor.grad != 0).all()


def test_leaving_an_exemplar_out_is_as_if_it_were_not_there():
    prior, (mu, logvar) = new_prior(3), posteriors(4, 3, 0)
    exemplars = exemplars_of(5, 3, 0)
    own = torch.zeros((1, 4, 5), dtype=torch.bool)
    own[..., 2] = True
    without = prior.kl(mu, logvar, exemplars[:, [0, 1, 3, 4]])
    # The weight of the one left out is not given to the others.
    torch.testing.assert_close(prior.kl(mu, logvar, exemplars, own), without + math.log(5 / 4))


def test_the_order_of_the_exemplars_does_not_matter():
    prior, (mu, logvar) = new_prior(3), posteriors(4, 3, 0)
    exemplars = exemplars_of(5, 3, 0)
    torch.testing.assert_close(prior.kl(mu, logvar, exemplars), prior.kl(mu, logvar, exemplars.flip(1)))


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_by_blocks_it_lies_between_the_bound_with_all_and_the_mean_of_those_with_each_block_alone(blocks):
    prior, (mu, logvar) = new_prior(3), posteriors(6, 3, 0)
    exemplars = exemplars_of(6, 3, 0)
    alone = torch.stack([prior.kl(mu, logvar, block) for block in exemplars.chunk(blocks, dim=1)]).mean(0)
    together = prior.kl(mu, logvar, exemplars)
    by_blocks = prior.kl(mu, logvar, exemplars, blocks=Blocks(blocks, 6 // blocks))
    torch.testing.assert_close(by_blocks, BLOCKS_WEIGHT * alone + (1 - BLOCKS_WEIGHT) * together)
    assert (by_blocks >= together - 1e-9).all()


def test_a_place_that_one_block_alone_knows_of_is_not_likely():
    prior = ExemplarPrior(2, 1)
    exemplars = torch.zeros((1, 4 * BLOCK, 2))
    exemplars[0, 0] = 1000.0  # an anomaly in the history
    at = torch.tensor([[[0.0, 0.0], [1000.0, 1000.0]]])
    posterior = at, torch.full_like(at, -2.0)
    ((_, known),) = prior.kl(*posterior, exemplars).tolist()
    ((usual, by_blocks),) = prior.kl(*posterior, exemplars, blocks=blocks_of(4 * BLOCK)).tolist()
    assert known - usual == pytest.approx(math.log(4 * BLOCK), abs=0.3)
    assert by_blocks - usual > 3 * (known - usual)


def test_exemplars_make_blocks_of_a_size_and_more():
    found = [blocks_of(m) for m in (1, 2 * BLOCK - 1, 2 * BLOCK, 8 * BLOCK + 9)]
    assert found == [(1, 1), (1, 2 * BLOCK - 1), (2, BLOCK), (8, BLOCK + 1)]


def test_it_grows_with_the_logarithm_of_the_distance_only():
    prior, exemplars = ExemplarPrior(2, 1), torch.zeros(1, 1, 2)
    at = torch.tensor([[[1.0, 0.0], [FAR, 0.0], [100 * FAR, 0.0]]])
    ((near, far, further),) = prior.kl(at, torch.full_like(at, -2.0), exemplars).tolist()
    assert near < far < further
    assert further - far == pytest.approx((DEGREES_OF_FREEDOM + 2) * math.log(100), rel=1e-3)


@pytest.mark.parametrize("reach", [1e3, 1e6])
def test_a_distance_is_never_negative_though_rounding_could_make_it(reach):
    prior = ExemplarPrior(4, 1)
    mu = reach * torch.randn((1, 50, 4), generator=torch.Generator().manual_seed(0))
    for fitting in (True, False):
        prior.train(fitting)
        if not fitting:
            prior.settle_precision(mu)
        assert (prior.kernel_distance(mu, torch.full_like(mu, -8.0), mu) >= 0.9 * DEGREES_OF_FREEDOM).all()
        assert torch.isfinite(prior.kl(mu, torch.full_like(mu, -8.0), mu)).all()


def test_each_member_has_widths_and_exemplars_of_its_own():
    prior, (mu, logvar) = new_prior(3, members=2), posteriors(4, 3, 0, members=2)
    exemplars = exemplars_of(5, 3, 0, members=2)
    together = prior.kl(mu, logvar, exemplars)
    for member in range(2):
        alone = new_prior(3)
        part = slice(member, member + 1)
        with torch.no_grad():
            alone.logvar.copy_(prior.logvar[part])
        torch.testing.assert_close(together[part], alone.kl(mu[part], logvar[part], exemplars[part]))


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("reach", [1.0, 10.0, 30.0, 300.0])
def test_in_float32_it_is_right_to_a_few_thousandths_of_a_nat_wherever_the_codes_lie(offset, reach):
    prior = ExemplarPrior(8, 1).double()
    exemplars = offset + reach * exemplars_of(200, 8, 0)
    logvar = torch.full((1, 100, 8), -3.0, dtype=torch.float64)
    mu = exemplars[:, :100] + 0.3 * posteriors(100, 8, 0)[0]
    mu, exemplars = mu.float(), exemplars.float()  # both precisions are told the same
    expected = prior.kl(mu.double(), logvar, exemplars.double())
    prior = prior.float()
    prior.settle_precision(exemplars)
    given = prior.kl(mu, logvar.float(), exemplars)
    torch.testing.assert_close(given.double(), expected, rtol=0.0, atol=3e-3)

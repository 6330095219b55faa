"""Fit the VAE by stochastic gradient ascent on the ELBO, all members of an ensemble together."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vaegis.training.config import FitSettings
from vaegis.training.errors import FitError
from vaegis.training.interruption import interruption
from vaegis.training.model.preprocessing import Values, rows
from vaegis.training.model.prior import blocks_of
from vaegis.training.model.vae import VAE
from vaegis.training.schedule import batch_size_for, batches, learning_rate_share, steps_for
from vaegis.training.trimming import Trimming

_MOST_STEPS_PER_EPOCH = 150
_WARM_UP = 0.2  # share of all steps in which the KL weight rises and no record is left out yet
_LARGEST_GRADIENT_NORM = 5.0
_SCALE_RATE = 3.0  # learning rate of scales, as a multiple of that of weights
_BATCH_EXEMPLARS = 1024


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one epoch ended: a pass over the fit split, or 150 steps where a pass takes more.

    Attributes:
        number: From 1.
        total: Number of epochs planned.
        loss: Mean loss, nats a record.
    """

    number: int
    total: int
    loss: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model.

    Attributes:
        vae: The model, in evaluation mode.
        exemplars: Centres of the prior's kernels, shape (members, m, latent_dim).
        noise: Fixed antithetic draws for the expectation over q, shape (draws, latent_dim).
        epochs: Number of epochs ended.
        loss: Mean loss of the last, nats a record.
        left_out: Records that trimming left out of most of the batches that they were in, at least 3, ascending.
        interrupted: Whether Ctrl-C ended the fit.
    """

    vae: VAE
    exemplars: Float[Tensor, "e m l"]
    noise: Float[Tensor, "k l"]
    epochs: int
    loss: float
    left_out: list[int]
    interrupted: bool


def fit(
    vae: VAE,
    records: Values,
    members: Int[Tensor, "e n"],
    settings: FitSettings,
    generator: torch.Generator,
    on_epoch: Callable[[Epoch], None],
) -> Fitted:
    """Fit each member of ``vae`` to the records at its row of ``members``.

    The loss of a record is sum over columns of -E_q[log p(x|z)] + beta * KL, in nats, averaged over records. The
    ``trim_share`` of the highest loss are left out of each step: gross anomalies in the history pull at nothing.

    Args:
        vae: A model with initial weights; it is changed in place.
        records: All records.
        members: Which of them each member is fitted to.
        settings: Section `[fit]` of the settings.
        generator: Source of all randomness.
        on_epoch: Called after each epoch. Ctrl-C ends the fit after the step that it falls into.

    Raises:
        FitError: the loss of an epoch is not finite, also of one that Ctrl-C cut short.
        KeyboardInterrupt: Ctrl-C came before the first epoch ended, or twice.
    """
    n = members.shape[1]
    batch_size = batch_size_for(n, settings.batch_size)
    per_epoch = min(n // batch_size, _MOST_STEPS_PER_EPOCH)
    total = math.ceil(steps_for(n, batch_size, settings.steps) / per_epoch)
    noise = antithetic_noise(settings.draws, vae.latent_dim, generator)
    exemplar_rows = members[:, torch.randperm(n, generator=generator)[: _exemplar_count(n, settings)]]
    trimming = Trimming(members.shape[0], len(records.observed), settings.trim_share)
    steps = _steps(vae, records, members, settings, generator, batch_size, total * per_epoch, trimming)
    epoch, loss = 0, math.inf
    with interruption() as interrupted:
        while epoch < total:
            losses = [next(steps) for _ in range(per_epoch) if not interrupted.is_set()]
            total_loss = sum(losses)
            if not math.isfinite(total_loss):
                raise FitError(f"epoch {epoch + 1}: the loss is {total_loss}; try a lower fit.learning_rate")
            if interrupted.is_set():
                break
            loss = total_loss / per_epoch
            epoch += 1
            on_epoch(Epoch(epoch, total, loss))
    if epoch == 0:  # there is no model to keep yet
        raise KeyboardInterrupt
    vae.eval()
    with torch.no_grad():
        exemplars, _ = vae.encode(rows(records, exemplar_rows))
    vae.prior.settle_precision(exemplars)
    return Fitted(vae, exemplars, noise, epoch, loss, trimming.left_out(), interrupted.is_set())


def antithetic_noise(draws: int, latent_dim: int, generator: torch.Generator) -> Float[Tensor, "k l"]:
    """Return standard normal draws in pairs of opposite sign, so that their mean is exactly zero."""
    half = torch.randn((max(1, draws // 2), latent_dim), generator=generator)
    return torch.cat([half, -half])


def clip_gradients(model: nn.Module) -> None:
    """Bound the norm of each member's gradient; all parameters have the members as first dimension."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    squared = torch.stack([(gradient**2).flatten(1).sum(1) for gradient in gradients]).sum(0)
    factor = (_LARGEST_GRADIENT_NORM / (squared.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.dim() - 1)))


def _steps(
    vae: VAE,
    records: Values,
    members: Int[Tensor, "e n"],
    settings: FitSettings,
    generator: torch.Generator,
    batch_size: int,
    total: int,
    trimming: Trimming,
) -> Iterator[float]:
    """Take one optimiser step at a time and yield its loss, the mean over members."""
    optimiser = _optimiser(vae, settings)
    shown = batches(members, batch_size, generator)
    for step in range(total):
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * learning_rate_share(step, total)
        progress = step / (_WARM_UP * total)
        beta = settings.beta * min(1.0, progress + 0.05)
        batch = next(shown)
        losses = _losses(vae, records, members, batch, beta, settings, generator)
        kept = trimming.kept(losses, batch).float() if progress >= 1.0 else torch.ones_like(losses)
        loss = (losses * kept).sum(1) / kept.sum(1).clamp(min=1.0)
        optimiser.zero_grad()
        (loss.sum() / records.observed.shape[1]).backward()  # type: ignore[no-untyped-call]
        clip_gradients(vae)
        optimiser.step()
        yield float(loss.detach().mean())


def _optimiser(vae: VAE, settings: FitSettings) -> torch.optim.Optimizer:
    """Return AdamW, with a higher rate and no decay for the few parameters of scales and widths.

    A step of Adam is about as long as the learning rate: at the weights' own rate a scale could not shrink from one to
    the size of the residuals within a whole fit, and the noise it starts with would stay in the model.
    """
    scales = [vae.numeric.raw_scale, vae.prior.logvar]
    weights = [parameter for parameter in vae.parameters() if all(parameter is not scale for scale in scales)]
    return torch.optim.AdamW(
        [
            {"params": weights, "highest": settings.learning_rate, "weight_decay": settings.weight_decay},
            {"params": scales, "highest": _SCALE_RATE * settings.learning_rate, "weight_decay": 0.0},
        ]
    )


def _losses(
    vae: VAE,
    records: Values,
    members: Int[Tensor, "e n"],
    batch: Int[Tensor, "e b"],
    beta: float,
    settings: FitSettings,
    generator: torch.Generator,
) -> Float[Tensor, "e b"]:
    """Return the loss of each record of a batch, nats, with one draw from q by the reparameterisation trick."""
    values = rows(records, batch)
    mu, logvar = vae.encode(_corrupted(vae, values, settings, generator))
    z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=generator)
    value, missingness = vae.reconstruction(vae.decode(z[None]), values)
    chosen = _exemplars_for(members, generator)
    # In large sets the gradient moves records towards exemplars, not these towards records: far less to do.
    with torch.set_grad_enabled(members.shape[1] <= _BATCH_EXEMPLARS):
        exemplars, _ = vae.encode(rows(records, chosen))
    kl = vae.prior.kl(mu, logvar, exemplars, own=batch[:, :, None] == chosen[:, None])
    return value.sum(-1) + missingness.sum(-1) + beta * kl


def _corrupted(vae: VAE, values: Values, settings: FitSettings, generator: torch.Generator) -> Values:
    """Return the encoder's input in fitting: noisy numbers, and hidden values, in a share of the records any number.

    What is hidden or shaken must be told from the other columns, so the model learns how these depend on each other
    rather than to copy.
    """
    shape = values.observed.shape
    share = torch.rand((*shape[:-1], 1), generator=generator)
    masked = torch.rand((*shape[:-1], 1), generator=generator) < settings.masked_share
    rate = torch.where(masked, settings.most_masked * share, settings.missing_rate)
    noise = settings.input_noise * torch.randn(values.numeric.shape, generator=generator)
    there = values.observed[..., vae.kind_positions[0]]
    shaken = values._replace(numeric=values.numeric + noise * there)
    return vae.hide(shaken, torch.rand(shape, generator=generator) < rate)


def _exemplar_count(records: int, settings: FitSettings) -> int:
    """Return how many exemplars there are to be, so that all blocks of them get as many."""
    return math.prod(blocks_of(min(records, settings.exemplars)))


def _exemplars_for(members: Int[Tensor, "e n"], generator: torch.Generator) -> Int[Tensor, "e m"]:
    n = members.shape[1]
    if n <= _BATCH_EXEMPLARS:
        return members
    return members[:, torch.randint(0, n, (_BATCH_EXEMPLARS,), generator=generator)]

"""Fitting the VAE by stochastic gradient ascent on the ELBO."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from training.config import FitSettings
from training.errors import FitError
from training.model.preprocessing import Values, rows
from training.model.vae import VAE

_MOST_STEPS_PER_EPOCH = 150
_WARM_UP = 0.2  # share of all steps in which the KL weight rises and no record is set aside yet
_LEARNING_RATE_WARM_UP_STEPS = 50
_LAST_LEARNING_RATE = 0.02  # as a share of the first
_LARGEST_GRADIENT_NORM = 5.0
_SCALE_RATE = 10.0  # learning rate of scales, as a multiple of that of weights
_EVALUATION_BATCH = 2048
_BATCH_EXEMPLARS = 1024


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one epoch ended: a pass over the fit split, or 150 steps where a pass takes more.

    Attributes:
        number: From 1.
        total: Number of epochs planned.
        fit_loss: Mean training loss, nats a record.
        validation_loss: Loss of the validation split, nats a record.
        is_best: Whether no earlier epoch had a lower validation loss.
    """

    number: int
    total: int
    fit_loss: float
    validation_loss: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model.

    Attributes:
        vae: The model of the best epoch, in evaluation mode.
        exemplars: Centres of the prior's kernels, shape (m, latent_dim).
        noise: Fixed antithetic draws for the expectation over q, shape (draws, latent_dim).
        epochs: Number of epochs begun.
        best_epoch: The one that was kept.
        validation_loss: Its loss on the validation split, nats a record.
        interrupted: Whether Ctrl-C ended the fit.
    """

    vae: VAE
    exemplars: Float[Tensor, "m l"]
    noise: Float[Tensor, "k l"]
    epochs: int
    best_epoch: int
    validation_loss: float
    interrupted: bool


def fit(
    vae: VAE,
    records: Values,
    validation: Values,
    settings: FitSettings,
    generator: torch.Generator,
    on_epoch: Callable[[Epoch], None],
) -> Fitted:
    """Fit ``vae`` and keep the epoch with the lowest validation loss.

    The loss of a record is sum over columns of -E_q[log p(x|z)] + beta * KL, in nats, averaged over records, of which
    the highest ``trim_share`` in each batch are left out: gross anomalies in the history pull at nothing.

    Args:
        vae: A model with initial weights; it is changed in place.
        records: The fit split.
        validation: The validation split.
        settings: Section `[fit]` of the settings.
        generator: Source of all randomness.
        on_epoch: Called after each epoch. KeyboardInterrupt ends the fit after at least one epoch.

    Raises:
        FitError: the loss of an epoch is not finite.
        KeyboardInterrupt: it came before the first epoch ended.
    """
    n = len(records.observed)
    batch_size = _batch_size(n, settings.batch_size)
    per_epoch = min(math.ceil(n / batch_size), _MOST_STEPS_PER_EPOCH)
    total = math.ceil(settings.steps / per_epoch)
    exemplar_rows = torch.randperm(n, generator=generator)[: settings.exemplars]
    noise = antithetic_noise(settings.draws, vae.mu.out_features, generator)
    best, best_loss, best_epoch, epoch, interrupted = _weights(vae), math.inf, 0, 0, False
    steps = _steps(vae, records, settings, generator, batch_size, total * per_epoch)
    try:
        for epoch in range(1, total + 1):
            fit_loss = sum(next(steps) for _ in range(per_epoch)) / per_epoch
            exemplars = _encode_means(vae, records, exemplar_rows)
            loss = _validation_loss(vae, validation, exemplars, noise, settings.beta)
            if not math.isfinite(fit_loss + loss):
                raise FitError(f"epoch {epoch}: expected a finite loss, got {fit_loss} and {loss} in validation")
            if loss < best_loss:
                best, best_loss, best_epoch = _weights(vae), loss, epoch
            on_epoch(Epoch(epoch, total, fit_loss, loss, is_best=best_epoch == epoch))
            if (epoch - best_epoch) * per_epoch >= settings.patience_steps:
                break
    except KeyboardInterrupt:
        if best_epoch == 0:  # there is no model to keep yet
            raise
        interrupted = True
    vae.load_state_dict(best)
    vae.eval()
    exemplars = _encode_means(vae, records, exemplar_rows)
    return Fitted(vae, exemplars, noise, epoch, best_epoch, best_loss, interrupted)


def antithetic_noise(draws: int, latent_dim: int, generator: torch.Generator) -> Float[Tensor, "k l"]:
    """Return standard normal draws in pairs of opposite sign, so that their mean is exactly zero."""
    half = torch.randn((max(1, draws // 2), latent_dim), generator=generator)
    return torch.cat([half, -half])


def _steps(
    vae: VAE, records: Values, settings: FitSettings, generator: torch.Generator, batch_size: int, total: int
) -> Iterator[float]:
    """Take one optimiser step at a time and yield its loss."""
    n = len(records.observed)
    optimiser = _optimiser(vae, settings)
    order = torch.randperm(n, generator=generator)
    at = 0
    for step in range(total):
        for group in optimiser.param_groups:
            group["lr"] = group["highest"] * _schedule(step, total)
        if at + batch_size > n:
            order, at = torch.randperm(n, generator=generator), 0
        batch = order[at : at + batch_size]
        at += batch_size
        exemplar_rows = torch.randint(0, n, (min(n, _BATCH_EXEMPLARS),), generator=generator)
        if n <= _BATCH_EXEMPLARS:
            exemplar_rows = torch.arange(n)
        progress = step / (_WARM_UP * total)
        losses = _losses(
            vae, records, batch, exemplar_rows, settings.beta * min(1.0, progress + 0.05), settings, generator
        )
        if progress >= 1.0 and settings.trim_share > 0:
            kept = len(losses) - math.floor(settings.trim_share * len(losses))
            losses = losses.topk(kept, largest=False).values
        loss = losses.mean()
        optimiser.zero_grad()
        (loss / records.observed.shape[1]).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(vae.parameters(), _LARGEST_GRADIENT_NORM)
        optimiser.step()
        yield float(loss.detach())


def _optimiser(vae: VAE, settings: FitSettings) -> torch.optim.Optimizer:
    """Return AdamW with a higher rate, and no decay, for the few parameters that scales and widths are made of.

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
    batch: Int[Tensor, " b"],
    exemplar_rows: Int[Tensor, " m"],
    beta: float,
    settings: FitSettings,
    generator: torch.Generator,
) -> Float[Tensor, " b"]:
    """Return the loss of each record of a batch, nats, with one draw from q by the reparameterisation trick."""
    values = rows(records, batch)
    seen = vae.hide(values, torch.rand(values.observed.shape, generator=generator) < settings.missing_rate)
    mu, logvar = vae.encode(seen)
    z = mu + torch.exp(0.5 * logvar) * torch.randn(mu.shape, generator=generator)
    value, missingness = vae.reconstruction(vae.decode(z), values)
    exemplars, _ = vae.encode(rows(records, exemplar_rows))
    kl = vae.prior.kl(mu, logvar, exemplars, own=batch[:, None] == exemplar_rows[None])
    return value.sum(1) + missingness.sum(1) + beta * kl


@torch.no_grad()
def _validation_loss(
    vae: VAE, values: Values, exemplars: Float[Tensor, "m l"], noise: Float[Tensor, "k l"], beta: float
) -> float:
    n = len(values.observed)
    total = 0.0
    for at in range(0, n, _EVALUATION_BATCH):
        terms, _ = vae.terms(rows(values, slice(at, at + _EVALUATION_BATCH)), exemplars, noise)
        total += float(terms.value.sum() + terms.missingness.sum() + beta * terms.kl.sum())
    return total / n


@torch.no_grad()
def _encode_means(vae: VAE, records: Values, index: Int[Tensor, " m"]) -> Float[Tensor, "m l"]:
    return vae.encode(rows(records, index))[0]


def _batch_size(records: int, wanted: int) -> int:
    """Return the batch size: smaller for small sets, so that a pass still takes several steps."""
    return min(wanted, max(16, records // 4), records)


def _schedule(step: int, total: int) -> float:
    """Return the learning rate as a share of the first: a short linear rise, then half a cosine."""
    rise = min(1.0, (step + 1) / _LEARNING_RATE_WARM_UP_STEPS)
    fall = _LAST_LEARNING_RATE + (1.0 - _LAST_LEARNING_RATE) * 0.5 * (1.0 + math.cos(math.pi * step / total))
    return rise * fall


def _weights(vae: VAE) -> dict[str, Tensor]:
    return copy.deepcopy(vae.state_dict())

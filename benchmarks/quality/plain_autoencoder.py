"""A plain autoencoder of the model's size: no noise in its code, no prior, no likelihoods; scored by squared errors.

It has the model's ensemble, network, optimiser and steps, so that what separates their figures is what makes the model
a variational autoencoder of mixed likelihoods; but for one thing: no record is trimmed from a step. Every column is a
number here, standardised by the training half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vaegis.training.config import FitSettings, TrainConfig
from vaegis.training.data.splits import split_at_random
from vaegis.training.fit import clip_gradients
from vaegis.training.model.members import MemberLinear, perceptron
from vaegis.training.schedule import batch_size_for, batches, learning_rate_share, steps_for

_REACH = 30.0  # standardised units that anything is seen far, at the most
_SCORED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Variant:
    """One of the autoencoders.

    Attributes:
        name: In the results.
        corrupted: Whether fitting shakes and hides values as the model's fit does, by the same settings.
        widest_code: Width of the code, or the number of columns where that is less.
    """

    name: str
    corrupted: bool
    widest_code: int


VARIANTS = (
    Variant("plain", corrupted=False, widest_code=32),
    Variant("noise and masking", corrupted=True, widest_code=32),
    Variant("code of 4", corrupted=False, widest_code=4),
)


def autoencoder_scores(
    training: NDArray[np.float64], test: NDArray[np.float64], variant: Variant, config: TrainConfig, seed: int
) -> NDArray[np.float64]:
    """Fit an autoencoder to the training half and score the test half by the mean of its members' squared errors.

    Args:
        training: Shape (m, d), as many records at least as `training.data.splits` asks for.
        test: Shape (n, d).
        variant: Which autoencoder.
        config: The model's settings: of its splits, network and fit, what an autoencoder has.
        seed: Of weights, batches and folds.

    Returns:
        Scores of shape (n,); higher is more anomalous.
    """
    mean, deviation = training.mean(axis=0), training.std(axis=0)
    deviation[deviation < 1e-12] = 1.0  # noqa: PLR2004 - a constant column
    known, records = (
        torch.from_numpy(((x - mean) / deviation).clip(-_REACH, _REACH).astype(np.float32)) for x in (training, test)
    )
    most = config.calibration.max_records
    splits = split_at_random(len(known), config.splits, np.random.default_rng(seed), most_calibrating=most)
    members = torch.from_numpy(splits.fit)
    torch.manual_seed(seed)  # the initial weights
    code = min(variant.widest_code, max(2, known.shape[1]))
    model = Autoencoder(len(members), known, code=code, hidden=config.model.hidden)
    _fit(model, known, members, variant, config.fit, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        errors = [model.squared_errors(part).sum(-1).mean(0) for part in torch.split(records, _SCORED_AT_ONCE)]
    return torch.cat(errors).double().numpy()


class Autoencoder(nn.Module):
    """Encoder and decoder with two hidden layers each, beside a linear skip, for members side by side."""

    def __init__(self, members: int, known: Tensor, *, code: int, hidden: int) -> None:
        """Draw initial weights.

        Args:
            members: Of the ensemble.
            known: The training records, shape (m, d), which bound what the encoder sees.
            code: Width of the code.
            hidden: Width of the hidden layers.
        """
        super().__init__()
        columns = known.shape[1]
        self.lowest, self.highest = known.amin(0), known.amax(0)
        self.encoder = perceptron(members, 2 * columns, hidden, code)
        self.encoder_skip = MemberLinear(members, 2 * columns, code, bias=False)
        self.decoder = perceptron(members, code, hidden, columns)
        self.decoder_skip = MemberLinear(members, code, columns, bias=False)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return what is made of records of shape (e, n, d) whose values are hidden where ``hidden`` says so."""
        shown = torch.minimum(torch.maximum(x, self.lowest), self.highest) * ~hidden
        features = torch.cat([shown, hidden.float()], dim=-1)
        code = self.encoder(features) + self.encoder_skip(features)
        made: Tensor = self.decoder(code) + self.decoder_skip(code)
        return made

    def squared_errors(self, x: Tensor) -> Tensor:
        """Return those of each member on records of shape (n, d) that it sees whole, shape (e, n, d)."""
        made: Tensor = self(x[None], torch.zeros_like(x[None], dtype=torch.bool))
        return (made - x) ** 2


def _fit(
    model: Autoencoder,
    known: Tensor,
    members: Tensor,
    variant: Variant,
    settings: FitSettings,
    generator: torch.Generator,
) -> None:
    size = batch_size_for(members.shape[1], settings.batch_size)
    total = steps_for(members.shape[1], size, settings.steps)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for step, x in zip(range(total), _shown(known, members, size, generator), strict=False):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * learning_rate_share(step, total)
        shaken, hidden = _corrupted(x, settings, generator) if variant.corrupted else (x, torch.zeros_like(x).bool())
        loss = ((model(shaken, hidden) - x) ** 2).mean((1, 2)).sum()
        optimiser.zero_grad()
        loss.backward()
        clip_gradients(model)
        optimiser.step()


def _shown(known: Tensor, members: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of records, shape (e, b, d)."""
    for batch in batches(members, size, generator):
        yield known[batch]


def _corrupted(x: Tensor, settings: FitSettings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return records with noise, and which of their values are hidden: few, and in some records many."""
    share, chosen = (torch.rand((*x.shape[:-1], 1), generator=generator) for _ in range(2))
    rate = torch.where(chosen < settings.masked_share, settings.most_masked * share, settings.missing_rate)
    noise = settings.input_noise * torch.randn(x.shape, generator=generator)
    return x + noise, torch.rand(x.shape, generator=generator) < rate

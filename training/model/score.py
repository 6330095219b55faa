"""The score: the ELBO's terms, set against what is typical, as the graph that is exported."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from service.contract import HOURS_PER_DAY, Schema
from training.model.exportable import pick, unflatten
from training.model.preprocessing import Values, rows
from training.model.vae import VAE, Terms

_BATCH = 2048  # records whose distances to all exemplars are held at once


class ScoringOutputs(NamedTuple):
    """Outputs of the scoring graph, float64, as `service.scorer.Scores` describes them."""

    score: Float[Tensor, " n"]
    reconstruction_error: Float[Tensor, " n"]
    kl: Float[Tensor, " n"]
    contributions: Float[Tensor, "n d1"]
    expected: Float[Tensor, "n d"]


class ScoringGraph(nn.Module):
    """Raw columns in, statistics out.

    score = sum over columns of (term - typical term) + (KL - typical KL), in nats. A column's term is its
    -E_q[log p(value|z)] where there is a value, and its -E_q[log P(null or not|z)]. The typical terms are means over
    the validation split. Subtracting them leaves the ranking by the ELBO as it is for records without nulls, makes a
    null weigh as a typical value would rather than as one of density one, and lets contributions be compared.
    """

    exemplars: Tensor
    noise: Tensor
    typical_value: Tensor
    typical_missingness: Tensor
    typical_kl: Tensor

    def __init__(
        self, vae: VAE, schema: Schema, exemplars: Float[Tensor, "m l"], noise: Float[Tensor, "k l"], typical: Terms
    ) -> None:
        """Wrap a fitted model; `typical` holds one row."""
        super().__init__()
        self.vae = vae
        self.schema = schema
        self.register_buffer("exemplars", exemplars)
        self.register_buffer("noise", noise)
        self.register_buffer("typical_value", typical.value)
        self.register_buffer("typical_missingness", typical.missingness)
        self.register_buffer("typical_kl", typical.kl)

    def forward(self, numbers: Float[Tensor, "n dn"], codes: Int[Tensor, "n ds"] | None = None) -> ScoringOutputs:
        """Return the statistics of each record; inputs as for `Preprocessing`."""
        values = self.vae.preprocessing(numbers, codes)
        (value, missingness, kl), decoded = self.vae.terms(values, self.exemplars, self.noise)
        columns = (value - self.typical_value) * values.observed.float() + missingness - self.typical_missingness
        # float32 terms add up in float64 without rounding, so the contributions sum exactly to the score.
        contributions = torch.cat([columns, (kl - self.typical_kl)[:, None]], dim=1).double()
        return ScoringOutputs(
            score=contributions.sum(1),
            reconstruction_error=(value.double() + missingness.double()).sum(1),
            kl=kl.double(),
            contributions=contributions,
            expected=self._expected(decoded.mean.mean(0), decoded.true.mean(0), decoded.categories.mean(0)),
        )

    def _expected(
        self, mean: Float[Tensor, "n numeric"], true: Float[Tensor, "n boolean"], categories: Float[Tensor, "n slots"]
    ) -> Float[Tensor, "n d"]:
        """Return what each column was expected to hold, in schema order, float64."""
        preprocessing = self.vae.preprocessing
        parts = [preprocessing.center + preprocessing.unit * mean.double(), true.double()]
        if self.vae.categorical is not None:
            likeliest = self.vae.categorical.likeliest(categories).double()
            columns = self.vae.categorical_columns
            instants = unflatten(likeliest[:, columns:], self.vae.timestamps, 2)
            parts += [likeliest[:, :columns], instants[:, :, 1] * HOURS_PER_DAY + instants[:, :, 0]]
        return pick(torch.cat(parts, dim=1), self.vae.columns_of_kind)


@torch.no_grad()
def typical_terms(vae: VAE, values: Values, exemplars: Float[Tensor, "m l"], noise: Float[Tensor, "k l"]) -> Terms:
    """Return the mean of each term over records: of a column's value over those that hold one, in one row."""
    n = len(values.observed)
    batches = [rows(values, slice(at, at + _BATCH)) for at in range(0, n, _BATCH)]
    terms = [vae.terms(batch, exemplars, noise)[0] for batch in batches]
    value, missingness, kl = (sum(part.double().sum(0) for part in parts) for parts in zip(*terms, strict=True))
    holding = values.observed.sum(0).clamp(min=1)
    return Terms((value / holding).float(), (missingness / n).float(), (kl / n).float())

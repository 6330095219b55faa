"""The two graphs that are exported: one scores records, one decodes draws from the prior."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from service.contract import HOURS_PER_DAY, BooleanColumn, CategoricalColumn, NumericColumn, Schema, TimestampColumn
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


class GeneratorOutputs(NamedTuple):
    """Outputs of the generator graph."""

    location: Float[Tensor, "n d"]
    """Numeric: mean in the column's own unit; boolean: P(true); others 0. float64."""
    missing: Float[Tensor, "n d"]
    """P(null)."""
    categories: Float[Tensor, "n slots"]
    """Probabilities over the categories of each categorical column, then 24 hours and 7 weekdays of each timestamp,
    in schema order."""


class GeneratorGraph(nn.Module):
    """A draw from the prior in, the distribution of every column out."""

    exemplars: Tensor
    slots: Tensor

    def __init__(self, vae: VAE, schema: Schema, exemplars: Float[Tensor, "m l"]) -> None:
        """Wrap a fitted model."""
        super().__init__()
        self.vae = vae
        self.register_buffer("exemplars", exemplars)
        self.register_buffer("slots", _slots_in_schema_order(vae, schema))
        numeric = [isinstance(column, NumericColumn) for column in schema.columns]
        boolean = [isinstance(column, BooleanColumn) for column in schema.columns]
        self.others = len(schema.columns) - sum(numeric) - sum(boolean)

    def forward(self, exemplar: Int[Tensor, " n"], latent_noise: Float[Tensor, "n l"]) -> GeneratorOutputs:
        """Decode z = exemplars[exemplar] + width * latent_noise.

        Args:
            exemplar: Component of the prior, uniform in 0 .. M - 1.
            latent_noise: Draws from the kernel at width one: each record's normal draws over sqrt(chi2(nu) / nu).
        """
        vae = self.vae
        z = self.exemplars[exemplar] + vae.prior.width * latent_noise
        decoded = vae.decode(z)
        mean = vae.preprocessing.center + vae.preprocessing.unit * decoded.mean.double()
        nothing = torch.zeros_like(mean[:, :1]) if mean.shape[1] else decoded.missing[:, :1].double() * 0.0
        by_kind = torch.cat([mean, decoded.true.double(), nothing.expand(-1, self.others)], dim=1)
        return GeneratorOutputs(
            pick(by_kind, vae.columns_of_kind), decoded.missing, pick(decoded.categories, self.slots)
        )


@torch.no_grad()
def typical_terms(vae: VAE, values: Values, exemplars: Float[Tensor, "m l"], noise: Float[Tensor, "k l"]) -> Terms:
    """Return the mean of each term over records: of a column's value over those that hold one, in one row."""
    n = len(values.observed)
    batches = [rows(values, slice(at, at + _BATCH)) for at in range(0, n, _BATCH)]
    terms = [vae.terms(batch, exemplars, noise)[0] for batch in batches]
    value, missingness, kl = (sum(part.double().sum(0) for part in parts) for parts in zip(*terms, strict=True))
    holding = values.observed.sum(0).clamp(min=1)
    return Terms((value / holding).float(), (missingness / n).float(), (kl / n).float())


def _slots_in_schema_order(vae: VAE, schema: Schema) -> Int[Tensor, " slots"]:
    """Return which slot of the decoder each slot of the output `categories` is."""
    if vae.categorical is None:
        return torch.zeros(0, dtype=torch.int64)
    first, sizes = vae.categorical.first_slot.tolist(), vae.categorical.sizes.tolist()
    categorical = [c.name for c in schema.columns if isinstance(c, CategoricalColumn)]
    instants = [c.name for c in schema.columns if isinstance(c, TimestampColumn)]
    order: list[int] = []
    for column in schema.columns:
        if column.name in categorical:
            fields = [categorical.index(column.name)]
        elif column.name in instants:
            hour = len(categorical) + 2 * instants.index(column.name)
            fields = [hour, hour + 1]
        else:
            continue
        for field in fields:
            order.extend(range(first[field], first[field] + sizes[field]))
    return torch.tensor(order, dtype=torch.int64)

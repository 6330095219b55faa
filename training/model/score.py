"""The score: reconstruction error, KL divergence, distance to known records and pairs of columns, as excesses."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import softplus

from vaegis.service.contract import HOURS_PER_DAY, Schema
from vaegis.training.model.exportable import unflatten
from vaegis.training.model.likelihoods.timestamp import FIELDS
from vaegis.training.model.neighbours import Neighbours, TypicalNearness
from vaegis.training.model.pairs import Pairs
from vaegis.training.model.preprocessing import Values, rows
from vaegis.training.model.prior import blocks_of
from vaegis.training.model.typical import median_and_spread
from vaegis.training.model.vae import VAE, Terms

LATENT_WEIGHT = 0.5
"""Weight of the KL divergence's part of the score. That of the reconstruction error has weight 1."""

LATENT_BOUND = 24.0
"""Bound of that part before its weight. In small wide tables, new normal records can lie tens of spreads out."""

DISTANCE_WEIGHT = 2.0
"""Weight of the part of the distance to known records."""

PAIRS_WEIGHT = 0.5
"""Weight of the part of the pairs of columns."""

LARGEST_WEIGHT = 0.5
"""Weight of the largest of the members' scores; the rest is the weight of their mean."""

_BATCH = 2048  # records whose distances to all exemplars are held at once
_LOG_2 = math.log(2.0)
_NEAR_ZERO = 1e-3
_LEAST_DEVIATION = 0.5  # nats; dividing by less would raise the noise of quantities that hardly vary
# Members whose scores differ by less share the weight of the largest, so that rounding does not choose between them.
# With more than ten members, one that rises to just below the largest may lower the score, by some hundredths at most.
_TIE = 0.1
_NEVER_NULL = 200.0  # spreads of the reconstruction error that a null adds to it in a column that never held one
_LEAST_SPREAD = 0.1  # nats, or weighted; far above the rounding of equal records


class ScoringOutputs(NamedTuple):
    """Outputs of the scoring graph, float64, as `vaegis.service.scorer.Scores` describes them."""

    score: Float[Tensor, " n"]
    fold_scores: Float[Tensor, "n e"]
    reconstruction_error: Float[Tensor, " n"]
    kl: Float[Tensor, " n"]
    contributions: Float[Tensor, "n d1"]
    expected: Float[Tensor, "n d"]


class Typical(NamedTuple):
    """What is typical of the records that each member was fitted to."""

    value: Float[Tensor, "e 1 d"]
    """Mean of each column's `Terms.value` over the records that hold one, nats."""
    missingness: Float[Tensor, "e 1 d"]
    """Mean of each column's `Terms.missingness`, nats."""
    value_weight: Float[Tensor, "e 1 d"]
    """1 / standard deviation of the term; that of a number that varies counts as at least `_LEAST_DEVIATION`."""
    missingness_weight: Float[Tensor, "e 1 d"]
    """1 / standard deviation of the term; larger for columns without nulls, so that one adds at least `_NEVER_NULL`."""
    reconstruction: Float[Tensor, "e 2"]
    """Median and spread of the sum of the weighted terms."""
    kl: Float[Tensor, "e 2"]
    """Median of the KL divergence with blocks of exemplars, and spread of that without blocks, nats."""


class ScoringGraph(nn.Module):
    """Raw columns in, statistics out.

    Let u be the sum of the weighted terms of the columns, v the KL divergence, d the distance to the nearest known
    records, and r the log ratio of the pairs of columns. Each is taken as its difference from the median over the
    fitted records, in units of their spread. The score of a member is

        excess(u) + LATENT_WEIGHT * bounded(excess(v)) + DISTANCE_WEIGHT * excess(d) + PAIRS_WEIGHT * excess(r)
        excess(u) = log(1 + exp(u)) - log 2,  bounded(x) = b tanh(x / b)

    So a very typical part lowers the score little and cannot cancel an unusual one. Each column gets a share of
    excess(u) in proportion to its part of u, likewise of excess(d) and excess(r). The score of an
    ensemble is half the mean of its members' scores and half the largest, because a record like an anomaly in the
    history is unusual only to the member that was fitted without that anomaly.
    """

    exemplars: Tensor
    noise: Tensor
    value: Tensor
    missingness: Tensor
    value_weight: Tensor
    missingness_weight: Tensor
    reconstruction: Tensor
    kl: Tensor
    usual_distance: Tensor
    usual_shares: Tensor

    def __init__(
        self,
        vae: VAE,
        schema: Schema,
        exemplars: Float[Tensor, "e m l"],
        noise: Float[Tensor, "k l"],
        typical: Typical,
        neighbours: tuple[Neighbours, TypicalNearness],
        pairs: Pairs | None,
    ) -> None:
        """Wrap a fitted model."""
        super().__init__()
        self.vae = vae
        self.schema = schema
        self._blocks = blocks_of(exemplars.shape[1])
        self.register_buffer("exemplars", exemplars)
        self.register_buffer("noise", noise)
        for name, part in typical._asdict().items():
            self.register_buffer(name, part)
        self.neighbours, usual = neighbours
        for name, part in usual._asdict().items():
            self.register_buffer(f"usual_{name}", part)
        self.pairs = pairs

    def forward(self, numbers: Float[Tensor, "n dn"], codes: Int[Tensor, "n ds"] | None = None) -> ScoringOutputs:
        """Return the statistics of each record; inputs as for `Preprocessing`."""
        values = self.vae.preprocessing(numbers, codes)
        (value, missingness, kl), decoded = self.vae.terms(values, self.exemplars, self.noise, self._blocks)
        observed = values.observed.float()
        columns = weighed(value, missingness, observed, self._typical())
        median, spread = self.reconstruction[:, :1], self.reconstruction[:, 1:]
        centred = (columns - median[..., None] / len(self.schema.columns)) / spread[..., None]
        latent = (kl - self.kl[:, :1]) / self.kl[:, 1:]
        columns = centred * _excess_share(centred.sum(-1, keepdim=True))
        columns = columns + DISTANCE_WEIGHT * self._distance_part(self.neighbours(values).shares)
        if self.pairs is not None:
            columns = columns + PAIRS_WEIGHT * self._pairs_part(self.pairs, values)
        latent = LATENT_WEIGHT * LATENT_BOUND * torch.tanh(latent * _excess_share(latent) / LATENT_BOUND)
        # float32 terms add up in float64 without rounding, so the contributions sum exactly to each member's score.
        contributions = torch.cat([columns, latent[..., None]], dim=-1).double()  # (e, n, d + 1)
        fold_scores = contributions.sum(-1)
        contributions = self._joined(contributions, fold_scores)
        return ScoringOutputs(
            score=contributions.sum(1),
            fold_scores=fold_scores.transpose(0, 1),
            reconstruction_error=self._over_members((value.double() + missingness.double()).sum(-1)),
            kl=self._over_members(kl.double()),
            contributions=contributions,
            expected=self._expected(*(part.mean((0, 1)) for part in decoded[:3])),
        )

    def _over_members(self, x: Float[Tensor, "e n ..."]) -> Float[Tensor, "n ..."]:
        return x[0] if self.vae.members == 1 else x.mean(0)

    def _joined(self, contributions: Float[Tensor, "e n d1"], scores: Float[Tensor, "e n"]) -> Float[Tensor, "n d1"]:
        """Return the contributions to the ensemble's score, given those to each member's."""
        if self.vae.members == 1:
            return contributions[0]
        largest = torch.softmax(scores / _TIE, dim=0)
        weight = (1.0 - LARGEST_WEIGHT) / self.vae.members + LARGEST_WEIGHT * largest
        return (weight[..., None] * contributions).sum(0)

    def _distance_part(self, shares: Float[Tensor, "*k n d"]) -> Float[Tensor, "e n d"]:
        """Return each column's part of the excess of the distance to known records."""
        centred = (shares - self.usual_shares) / self.usual_distance[:, None, 1:]
        return centred * _excess_share(centred.sum(-1, keepdim=True))

    def _pairs_part(self, pairs: Pairs, values: Values) -> Float[Tensor, "e n d"]:
        """Return each column's part of the excess of the log ratio of pairs."""
        log_ratio, shares = pairs(values)
        centred = (log_ratio - pairs.typical[:, :1]) / pairs.typical[:, 1:]
        part: Tensor = (softplus(centred) - _LOG_2)[..., None] * shares
        return part

    def _typical(self) -> Typical:
        return Typical(*(getattr(self, name) for name in Typical._fields))

    def _expected(
        self, mean: Float[Tensor, "n numeric"], true: Float[Tensor, "n boolean"], categories: Float[Tensor, "n slots"]
    ) -> Float[Tensor, "n d"]:
        """Return what each column was expected to hold, in schema order, float64."""
        vae, preprocessing = self.vae, self.vae.preprocessing
        numbers = preprocessing.center + preprocessing.unit * mean.double()
        if vae.with_placeholders:
            numbers = preprocessing.with_likely_placeholders(numbers, vae.of_placeholder_slots(categories))
        parts = [numbers, true.double()]
        if vae.categorical is not None and (vae.categorical_columns or vae.timestamps):
            likeliest = vae.categorical.likeliest(categories).double()
            parts.append(likeliest[:, : vae.categorical_columns])
            if vae.timestamps:
                end = vae.categorical_columns + vae.timestamps * len(FIELDS)
                instants = unflatten(likeliest[:, vae.categorical_columns : end], vae.timestamps, len(FIELDS))
                parts.append(instants[:, :, 1] * HOURS_PER_DAY + instants[:, :, 0])
        return vae.from_kinds(torch.cat(parts, dim=1))


def weighed(
    value: Float[Tensor, "e n d"],
    missingness: Float[Tensor, "e n d"],
    observed: Float[Tensor, "*e n d"],
    typical: Typical,
) -> Float[Tensor, "e n d"]:
    """Return each column's weighted terms above their typical value. A null has no value term."""
    values = (value - typical.value) * typical.value_weight * observed
    return values + (missingness - typical.missingness) * typical.missingness_weight


@torch.no_grad()
def typical_terms(
    vae: VAE,
    schema: Schema,
    records: Values,
    fitted: Int[Tensor, "e n"],
    exemplars: Float[Tensor, "e m l"],
    noise: Float[Tensor, "k l"],
) -> Typical:
    """Return the typical terms of the records at ``fitted``, for each member that was fitted to them.

    Other records have no part in it, so their scores by this member behave like those of new records.
    """
    (value, missingness, kl), kl_to_all = _all_terms(vae, records, fitted, exemplars, noise)
    observed = records.observed[fitted].double()
    n = fitted.shape[1]
    holding = observed.sum(1, keepdim=True).clamp(min=1.0)
    typical_value = (value * observed).sum(1, keepdim=True) / holding
    typical_missingness = missingness.mean(1, keepdim=True)
    # Adding 1 / n, as one more record that is off by one nat would, keeps the weight of a constant term finite.
    value_variance = (((value - typical_value) * observed) ** 2).sum(1, keepdim=True) / holding + 1.0 / n
    missingness_variance = ((missingness - typical_missingness) ** 2).mean(1, keepdim=True) + 1.0 / n
    deviation = value_variance.sqrt()
    varying = {column.name for column in schema.numeric if column.minimum < column.maximum}
    is_quantity = torch.tensor([column.name in varying for column in schema.columns])
    of_blocks, of_all = (median_and_spread(each, least=_LEAST_SPREAD) for each in (kl, kl_to_all))
    typical = Typical(
        value=typical_value,
        missingness=typical_missingness,
        value_weight=1.0 / torch.where(is_quantity, deviation.clamp(min=_LEAST_DEVIATION), deviation),
        missingness_weight=missingness_variance.rsqrt(),
        reconstruction=torch.zeros(0),
        # The whole mixture has the smaller spread, so that the KL weighs more: ADR 0015 has the figures.
        kl=torch.stack([of_blocks[:, 0], of_all[:, 1]], dim=1),
    )
    total = weighed(value, missingness, observed, typical).sum(-1)
    reconstruction = median_and_spread(total, least=_LEAST_SPREAD)
    # A null in a column that never held one stands out in every table, even a small and noisy one.
    was_null = torch.tensor([column.missing_share > 0 for column in schema.columns])
    to_a_null = _NEVER_NULL * reconstruction[:, None, 1:] / -math.log(vae.least)
    weight = typical.missingness_weight
    weight = torch.where(was_null, weight, torch.maximum(weight, to_a_null))
    typical = typical._replace(reconstruction=reconstruction, missingness_weight=weight)
    return Typical(*(part.float() for part in typical))


def _all_terms(
    vae: VAE,
    records: Values,
    index: Int[Tensor, "e n"],
    exemplars: Float[Tensor, "e m l"],
    noise: Float[Tensor, "k l"],
) -> tuple[Terms, Float[Tensor, "e n"]]:
    """Return the terms of records under the member of their row and the KL to all exemplars as one mixture, float64."""
    size = max(1, _BATCH // index.shape[0])
    batches = []
    for at in range(0, index.shape[1], size):
        values = rows(records, index[:, at : at + size])
        terms, _ = vae.terms(values, exemplars, noise, blocks_of(exemplars.shape[1]))
        batches.append((*terms, vae.prior.kl(*vae.encode(values), exemplars)))
    *joined, kl_to_all = (torch.cat(parts, dim=1).double() for parts in zip(*batches, strict=True))
    return Terms(*joined), kl_to_all


def _excess_share(u: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return excess(u) / u, where excess(u) = log(1 + exp(u)) - log 2; it lies in (0, 1) and is 1/2 at zero."""
    is_small = u.abs() < _NEAR_ZERO
    divisor = torch.where(is_small, 1.0, u)
    return torch.where(is_small, 0.5 + u / 8.0, (softplus(u) - _LOG_2) / divisor)

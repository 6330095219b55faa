"""The variational autoencoder: encoder q(z|x), decoder p(x|z) of one likelihood a column kind, exemplar prior p(z).

It is an ensemble of one or more members (`training.model.members`), alike but for their weights. In shapes, k are
draws, e the members, n the records; records that all members share have no e.
"""

import copy
import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vaegis.service.contract import CALENDAR_SIZES, Schema
from vaegis.training.model.exportable import IndexSelect, unflatten
from vaegis.training.model.likelihoods import boolean, timestamp
from vaegis.training.model.likelihoods.categorical import CategoricalLikelihood
from vaegis.training.model.likelihoods.numeric import NumericLikelihood
from vaegis.training.model.members import MemberEmbedding, MemberLinear, perceptron
from vaegis.training.model.preprocessing import (
    NULL_CODE,
    Preprocessing,
    Values,
    categorical_sizes,
    center,
    positions_by_kind,
    quantity_range,
    unit,
)
from vaegis.training.model.prior import Blocks, ExemplarPrior

_LOGVAR_RANGE = (-8.0, 3.0)  # exp() of it neither vanishes nor overflows
_MOST_SMOOTHING = 0.5  # of a field of nearly as many categories as records
_ENCODER_REACH = 30.0  # standardised units that the encoder sees far, at the most
_EMBEDDING_WIDTH = 8


class DecodedTensors(NamedTuple):
    """What the decoder says of each column."""

    mean: Float[Tensor, "*k e n numeric"]
    true: Float[Tensor, "*k e n boolean"]
    categories: Float[Tensor, "*k e n slots"]
    missing: Float[Tensor, "*k e n nullable"]
    """Probability of a null, by column that ever held one."""


class Terms(NamedTuple):
    """The terms of the ELBO of each record under each member, in nats."""

    value: Float[Tensor, "e n d"]
    """-E_q[log p(value|z)] by column, 0 where the value is null."""
    missingness: Float[Tensor, "e n d"]
    """-E_q[log P(null or not|z)] by column."""
    kl: Float[Tensor, "e n"]


class VAE(nn.Module):
    """A mixed-likelihood VAE over the columns of a schema."""

    lowest: Tensor
    highest: Tensor
    first_embedding: Tensor
    of_dates: Tensor
    of_placeholders: Tensor
    null_embedding: Tensor

    def __init__(self, schema: Schema, *, latent_dim: int, hidden: int, records: int, members: int = 1) -> None:
        """Build the network.

        Args:
            schema: Columns with their training statistics.
            latent_dim: Width of z.
            hidden: Width of the hidden layers.
            records: Number of records fitted on; no value or null is ever less likely than about 1 / records.
            members: Number of members of the ensemble.
        """
        super().__init__()
        numeric = schema.numeric
        self.members = members
        self.least = 1.0 / (records + 2)
        self.preprocessing = Preprocessing(schema)
        self.numeric = NumericLikelihood(
            numeric, torch.tensor([unit(c) for c in numeric], dtype=torch.float64), members
        )
        sizes, outside = categorical_sizes(schema, records)
        unseen = [min(0.5, share + self.least) for share in outside]
        # A category that occurred is never less likely than `least`; hours and weekdays need not have.
        known = len(schema.categorical)
        smoothing = [
            min(_MOST_SMOOTHING, size * self.least / (1.0 - share)) if at < known else self.least
            for at, (size, share) in enumerate(zip(sizes, unseen, strict=True))
        ]
        self.categorical = CategoricalLikelihood(sizes, unseen, smoothing) if sizes else None
        self.prior = ExemplarPrior(latent_dim, members)
        ranges = [tuple((end - center(c)) / unit(c) for end in quantity_range(c)) for c in numeric]
        self.register_buffer("lowest", torch.tensor([max(-_ENCODER_REACH, low) for low, _ in ranges]))
        self.register_buffer("highest", torch.tensor([min(_ENCODER_REACH, high) for _, high in ranges]))
        self._lay_out(schema)

        embedded = schema.categorical
        # A slot each, and one for the null. An unseen category has the null's: no record could teach it one of its own.
        slots = [len(c.categories) + 1 for c in embedded]
        self.register_buffer("first_embedding", torch.tensor([sum(slots[:i]) for i in range(len(slots))]).long())
        self.register_buffer("null_embedding", torch.tensor([size - 1 for size in slots]).long())
        self.embedding = MemberEmbedding(members, sum(slots), _EMBEDDING_WIDTH, columns=len(embedded))

        width = self._feature_width(schema)
        self.latent_dim = latent_dim
        self.encoder = perceptron(members, width, hidden, 2 * latent_dim)
        self.mu_skip = MemberLinear(members, width, latent_dim, bias=False)
        # The first slot of each field of placeholders stands for none of them.
        first = sum(sizes) - len(self.preprocessing.placeholder) - len(self.with_placeholders)
        of_fields = [column.placeholders for column in numeric if column.placeholders]
        starts = [first + sum(1 + len(each) for each in of_fields[:at]) for at in range(len(of_fields))]
        slots = [at + 1 + i for at, each in zip(starts, of_fields, strict=True) for i in range(len(each))]
        self.of_placeholder_slots = IndexSelect(slots, of=sum(sizes))
        self.sections = [self.numerics, self.booleans, sum(sizes), len(self.nullable)]
        self.decoder = perceptron(members, latent_dim, hidden, sum(self.sections))
        self.decoder_skip = MemberLinear(members, latent_dim, sum(self.sections), bias=False)

    def encode(self, values: Values) -> tuple[Float[Tensor, "e n l"], Float[Tensor, "e n l"]]:
        """Return mu and logvar of q(z|x)."""
        x = self._features(values)
        mu, logvar = self.encoder(x).split(self.latent_dim, dim=-1)
        return mu + self.mu_skip(x), logvar.clamp(*_LOGVAR_RANGE)

    def decode(self, z: Float[Tensor, "*k e n l"]) -> DecodedTensors:
        """Return the distribution of every column given z."""
        decoded = self.decoder(z) + self.decoder_skip(z)
        mean, true, slots, missing = decoded.split(self.sections, dim=-1)
        return DecodedTensors(
            mean=mean,
            true=boolean.probability(true, self.least),
            categories=slots if self.categorical is None else self.categorical.probabilities(slots),
            missing=boolean.probability(missing, self.least),
        )

    def null_probability(self, decoded: DecodedTensors) -> Float[Tensor, "*k e n d"]:
        """Return P(null|z) of every column; those that were never null in training keep the least."""
        missing = decoded.missing
        never = missing.new_full((*missing.shape[:-1], len(self.never_null)), self.least)
        return self.from_nullable_first(torch.cat([missing, never], dim=-1))

    def reconstruction(
        self, decoded: DecodedTensors, values: Values
    ) -> tuple[Float[Tensor, "e n d"], Float[Tensor, "e n d"]]:
        """Return -log p(value|z), 0 where null, and -log P(null or not|z), by column in schema order, nats.

        Args:
            decoded: What the decoder says at k draws of z, (k, e, n, ...), over which the terms are averaged.
            values: The records.
        """
        parts = []
        fields = None if self.categorical is None else self.categorical.nll(decoded.categories, values.codes)
        if self.numerics:
            numeric = self.numeric.nll(decoded.mean, values.numeric)
            if fields is not None and self.with_placeholders:
                # Which placeholder a number is, if any, is a field; a quantity beside them has a density as well.
                numeric = numeric * (1.0 - values.placeholders @ self.preprocessing.slot_column)
                numeric = numeric + fields[..., -len(self.with_placeholders) :] @ self.of_placeholders
            parts.append(numeric)
        if self.booleans:
            parts.append(boolean.value_nll(decoded.true, values.boolean, self.least))
        if fields is not None and (self.categorical_columns or self.timestamps):
            parts.append(fields[..., : self.categorical_columns])
            if self.timestamps:
                fields, width = fields[..., self.categorical_columns :], len(timestamp.FIELDS)
                end = self.timestamps * width
                instants = unflatten(fields[..., :end], self.timestamps, width).sum(-1)
                dates = fields[..., end : end + len(self.dates)]
                parts.append(instants + dates @ self.of_dates if self.dates else instants)
        value = torch.cat([part.mean(0) for part in parts], dim=-1)
        return self.from_kinds(value) * values.observed.float(), self._missingness(decoded, values.observed)

    def terms(
        self,
        values: Values,
        exemplars: Float[Tensor, "e m l"],
        noise: Float[Tensor, "k l"],
        blocks: Blocks | None = None,
    ) -> tuple[Terms, DecodedTensors]:
        """Return the ELBO's terms, with the expectation over q taken at fixed noise, and what was decoded there.

        Args:
            values: The records.
            exemplars: Means of the prior's components.
            noise: Standard normal draws, one row a draw, the same for every record and member.
            blocks: What the exemplars are dealt into; none: all are one mixture.
        """
        mu, logvar = self.encode(values)
        z = mu + torch.exp(0.5 * logvar) * noise[:, None, None]  # (k, e, n, l)
        decoded = self.decode(z)
        value, missingness = self.reconstruction(decoded, values)
        kl = self.prior.kl(mu, logvar, exemplars, blocks=blocks)
        return Terms(value, missingness, kl), decoded

    def hide(self, values: Values, hidden: Bool[Tensor, "*e n d"]) -> Values:
        """Return the records with some cells turned to null, as the encoder would meet them."""
        kept = ~hidden
        numeric, booleans, categorical, instants = (kept[..., positions] for positions in self.kind_positions)
        columns = self.categorical_columns
        codes = torch.where(categorical, values.codes[..., :columns], NULL_CODE)
        return Values(
            numeric=values.numeric * numeric,
            boolean=values.boolean * booleans,
            cyclic=values.cyclic * torch.cat([instants] * timestamp.ENCODED_WIDTH, dim=-1),
            elapsed=values.elapsed * instants,
            codes=torch.cat([codes, values.codes[..., columns:]], dim=-1),
            observed=values.observed & kept,
            season=values.season * instants[..., self.of_season],
            placeholders=values.placeholders * numeric[..., self.preprocessing.of_slots.index],
        )

    def member(self, at: int) -> "VAE":
        """Return one member as a model of its own."""
        alone = copy.deepcopy(self)
        alone.members = 1
        alone.embedding.first_row = self.embedding.first_row[:1]
        for parameter in alone.parameters():
            parameter.data = parameter.data[at : at + 1].clone()
        return alone

    def _lay_out(self, schema: Schema) -> None:
        """Set up which columns are of which kind, and how to restore schema order."""
        self.kind_positions = by_kind = positions_by_kind(schema)
        self.numerics, self.booleans, self.categorical_columns, self.timestamps = map(len, by_kind)
        columns = len(schema.columns)
        months, days = (
            [at for at, column in enumerate(schema.timestamps) if field in column.calendar] for field in CALENDAR_SIZES
        )
        self.dates = [*months, *days]  # the timestamp column of each field of a date
        self.of_season = [*months * 2, *days * 2]  # and of each feature
        self.with_placeholders = self.preprocessing.with_placeholders
        self.register_buffer("of_placeholders", torch.eye(max(1, self.numerics))[self.with_placeholders])
        self.register_buffer("of_dates", torch.eye(max(1, self.timestamps))[self.dates])  # (dates, t)
        self.boolean_columns = IndexSelect(by_kind[1], of=columns)
        self.number_columns = IndexSelect(schema.number_positions, of=columns)
        self.from_kinds = IndexSelect(_inverse([i for positions in by_kind for i in positions]), of=columns)
        nullable = [i for i, c in enumerate(schema.columns) if c.missing_share > 0]
        never = [i for i, c in enumerate(schema.columns) if c.missing_share == 0]
        self.nullable, self.never_null = IndexSelect(nullable, of=columns), IndexSelect(never, of=columns)
        self.from_nullable_first = IndexSelect(_inverse(nullable + never), of=columns)

    def _missingness(self, decoded: DecodedTensors, observed: Bool[Tensor, "*e n d"]) -> Float[Tensor, "e n d"]:
        """Return -log P(null or not|z), nats; of columns that were never null it does not depend on z."""
        # That is a constant for either case, and a third of a draw's terms where no column ever was null.
        never = torch.where(self.never_null(observed), -math.log1p(-self.least), -math.log(self.least))
        never = never.expand(self.members, -1, -1)
        if not len(self.nullable):
            return never
        nullable = boolean.nll(decoded.missing, (~self.nullable(observed)).float(), self.least).mean(0)
        return self.from_nullable_first(torch.cat([nullable, never], dim=-1))

    def _feature_width(self, schema: Schema) -> int:
        numeric, booleans, categorical, instants = (len(positions) for positions in self.kind_positions)
        encoded = numeric + booleans + timestamp.ENCODED_WIDTH * instants + _EMBEDDING_WIDTH * categorical
        encoded += len(self.of_season) + len(self.preprocessing.placeholder)
        return encoded + len(schema.number_positions)

    def _features(self, values: Values) -> Float[Tensor, "*e n features"]:
        there = values.observed.float()
        parts = []
        if self.numerics:
            # What lies outside the training range looks as its end does: the code stays where the decoder knows its
            # way, and the likelihood, which sees the value itself, lays the blame on this column.
            parts.append(torch.minimum(torch.maximum(values.numeric, self.lowest), self.highest))
        if self.booleans:
            parts.append((2.0 * (values.boolean > 0.0).float() - 1.0) * self.boolean_columns(there))
        if self.timestamps:
            parts.append(values.cyclic)
        if self.dates:
            parts.append(values.season)
        if self.with_placeholders:
            parts.append(values.placeholders)
        if len(self.number_columns):
            # An embedding tells a null by itself; elsewhere its 0 could be a value, so it is told apart.
            parts.append(1.0 - self.number_columns(there))
        if not self.categorical_columns:
            return torch.cat(parts, dim=-1)
        code = values.codes[..., : self.categorical_columns]
        is_known = (code != NULL_CODE) & (code < self.null_embedding)
        slot = self.first_embedding + torch.where(is_known, code, self.null_embedding)
        return torch.cat([*(part.expand(self.members, -1, -1) for part in parts), self.embedding(slot)], dim=-1)


def _inverse(order: list[int]) -> list[int]:
    """Return where each of 0, 1, ... stands in ``order``."""
    return sorted(range(len(order)), key=order.__getitem__)

"""The variational autoencoder: encoder q(z|x), decoder p(x|z) of one likelihood a column kind, exemplar prior p(z)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from service.contract import BooleanColumn, CategoricalColumn, NumericColumn, Schema, TimestampColumn
from training.model.exportable import pick, unflatten
from training.model.likelihoods import boolean, timestamp
from training.model.likelihoods.categorical import CategoricalLikelihood
from training.model.likelihoods.numeric import NumericLikelihood
from training.model.preprocessing import NULL_CODE, Preprocessing, Values, categorical_sizes, center, unit
from training.model.prior import ExemplarPrior

_LOGVAR_RANGE = (-8.0, 3.0)  # exp() of it neither vanishes nor overflows
_ENCODER_REACH = 8.0  # standardised units that the encoder sees far, at the most
_EMBEDDING_WIDTH = 8


class Decoded(NamedTuple):
    """What the decoder says of each column; K draws lead where z was drawn."""

    mean: Float[Tensor, "*k n numeric"]
    true: Float[Tensor, "*k n boolean"]
    categories: Float[Tensor, "*k n slots"]
    missing: Float[Tensor, "*k n d"]
    """Probability of a null, by column."""


class Terms(NamedTuple):
    """The ELBO of each record, taken apart, in nats."""

    value: Float[Tensor, "n d"]
    """-E_q[log p(value|z)] by column, 0 where the value is null."""
    missingness: Float[Tensor, "n d"]
    """-E_q[log P(null or not|z)] by column."""
    kl: Float[Tensor, " n"]


class VAE(nn.Module):
    """A mixed-likelihood VAE over the columns of a schema."""

    columns_of_kind: Tensor
    boolean_columns: Tensor
    number_columns: Tensor
    lowest: Tensor
    highest: Tensor
    nullable_first: Tensor
    first_embedding: Tensor
    null_embedding: Tensor

    def __init__(self, schema: Schema, *, latent_dim: int, hidden: int, records: int) -> None:
        """Build the network.

        Args:
            schema: Columns with their training statistics.
            latent_dim: Width of z.
            hidden: Width of the hidden layers.
            records: Number of records fitted on; no value or null is ever less likely than about 1 / records.
        """
        super().__init__()
        columns = schema.columns
        numeric = [c for c in columns if isinstance(c, NumericColumn)]
        self.least = 1.0 / (records + 2)
        self.preprocessing = Preprocessing(schema)
        self.numeric = NumericLikelihood(numeric, torch.tensor([unit(c) for c in numeric], dtype=torch.float64))
        sizes, outside = categorical_sizes(schema)
        unseen = [min(0.5, share + self.least) for share in outside]
        self.categorical = CategoricalLikelihood(sizes, unseen, self.least) if sizes else None
        self.prior = ExemplarPrior(latent_dim)
        ranges = [((c.minimum - center(c)) / unit(c), (c.maximum - center(c)) / unit(c)) for c in numeric]
        self.register_buffer("lowest", torch.tensor([max(-_ENCODER_REACH, low) for low, _ in ranges]))
        self.register_buffer("highest", torch.tensor([min(_ENCODER_REACH, high) for _, high in ranges]))
        self._lay_out(schema)

        embedded = [c for c in columns if isinstance(c, CategoricalColumn)]
        # A slot each, and one for the null. An unseen category has the null's: no record could teach it one of its own.
        slots = [len(c.categories) + 1 for c in embedded]
        self.register_buffer("first_embedding", torch.tensor([sum(slots[:i]) for i in range(len(slots))]).long())
        self.register_buffer("null_embedding", torch.tensor([size - 1 for size in slots]).long())
        self.embedding = nn.Embedding(sum(slots), _EMBEDDING_WIDTH)
        self.categorical_columns = len(embedded)

        width = self._feature_width(schema)
        self.encoder = _mlp(width, hidden)
        self.mu = nn.Linear(hidden, latent_dim)
        self.mu_skip = nn.Linear(width, latent_dim, bias=False)
        self.logvar = nn.Linear(hidden, latent_dim)
        self.sections = [len(numeric), self.booleans, sum(sizes), self.nullable]
        self.decoder = nn.Sequential(_mlp(latent_dim, hidden), nn.Linear(hidden, sum(self.sections)))
        self.decoder_skip = nn.Linear(latent_dim, sum(self.sections), bias=False)

    def encode(self, values: Values) -> tuple[Float[Tensor, "n l"], Float[Tensor, "n l"]]:
        """Return mu and logvar of q(z|x)."""
        x = self._features(values)
        h = self.encoder(x)
        return self.mu(h) + self.mu_skip(x), self.logvar(h).clamp(*_LOGVAR_RANGE)

    def decode(self, z: Float[Tensor, "*k n l"]) -> Decoded:
        """Return the distribution of every column given z."""
        mean, true, slots, missing = (self.decoder(z) + self.decoder_skip(z)).split(self.sections, dim=-1)
        # Columns that were never null in training keep the least probability of it.
        never = torch.full_like(z[..., :1], self.least).expand(*z.shape[:-1], self.never_null)
        return Decoded(
            mean=mean,
            true=boolean.probability(true, self.least),
            categories=slots if self.categorical is None else self.categorical.probabilities(slots),
            missing=pick(torch.cat([boolean.probability(missing, self.least), never], dim=-1), self.nullable_first),
        )

    def reconstruction(
        self, decoded: Decoded, values: Values
    ) -> tuple[Float[Tensor, "*k n d"], Float[Tensor, "*k n d"]]:
        """Return -log p(value|z), 0 where null, and -log P(null or not|z), by column in schema order, nats."""
        parts = [
            self.numeric.nll(decoded.mean, values.numeric),
            boolean.nll(decoded.true, values.boolean),
        ]
        if self.categorical is not None:
            fields = self.categorical.nll(decoded.categories, values.codes)
            parts.append(fields[..., : self.categorical_columns])
            instants = fields[..., self.categorical_columns :]
            parts.append(unflatten(instants, self.timestamps, len(timestamp.FIELDS)).sum(-1))
        value = pick(torch.cat(parts, dim=-1), self.columns_of_kind) * values.observed.float()
        return value, boolean.nll(decoded.missing, (~values.observed).float())

    def terms(
        self, values: Values, exemplars: Float[Tensor, "m l"], noise: Float[Tensor, "k l"]
    ) -> tuple[Terms, Decoded]:
        """Return the ELBO's terms, with the expectation over q taken at fixed noise, and what was decoded there.

        Args:
            values: The records.
            exemplars: Means of the prior's components.
            noise: Standard normal draws, one row a draw, the same for every record.
        """
        mu, logvar = self.encode(values)
        z = mu + torch.exp(0.5 * logvar) * noise[:, None]  # (k, n, l)
        decoded = self.decode(z)
        value, missingness = self.reconstruction(decoded, values)
        return Terms(value.mean(0), missingness.mean(0), self.prior.kl(mu, logvar, exemplars)), decoded

    def hide(self, values: Values, hidden: Bool[Tensor, "n d"]) -> Values:
        """Return the records with some cells turned to null, as the encoder would meet them."""
        kept = ~hidden
        numeric, booleans, categorical, instants = (kept[:, positions] for positions in self.kind_positions)
        columns = self.categorical_columns
        codes = torch.where(categorical, values.codes[:, :columns], NULL_CODE)
        return Values(
            numeric=values.numeric * numeric,
            boolean=values.boolean * booleans,
            cyclic=values.cyclic * instants.repeat(1, timestamp.ENCODED_WIDTH),
            codes=torch.cat([codes, values.codes[:, columns:]], dim=1),
            observed=values.observed & kept,
        )

    def _lay_out(self, schema: Schema) -> None:
        """Note which columns are of which kind, and how to bring their terms back into schema order."""
        kinds = (NumericColumn, BooleanColumn, CategoricalColumn, TimestampColumn)
        by_kind = [[i for i, c in enumerate(schema.columns) if isinstance(c, kind)] for kind in kinds]
        self.kind_positions = by_kind
        self.register_buffer("boolean_columns", torch.tensor(by_kind[1], dtype=torch.int64))
        self.register_buffer("number_columns", torch.tensor(schema.number_positions, dtype=torch.int64))
        self.booleans, self.timestamps = len(by_kind[1]), len(by_kind[3])
        self.register_buffer("columns_of_kind", _inverse([i for positions in by_kind for i in positions]))
        nullable = [i for i, c in enumerate(schema.columns) if c.missing_share > 0]
        never = [i for i, c in enumerate(schema.columns) if c.missing_share == 0]
        self.nullable, self.never_null = len(nullable), len(never)
        self.register_buffer("nullable_first", _inverse(nullable + never))

    def _feature_width(self, schema: Schema) -> int:
        numeric, booleans, categorical, instants = (len(positions) for positions in self.kind_positions)
        encoded = numeric + booleans + timestamp.ENCODED_WIDTH * instants + _EMBEDDING_WIDTH * categorical
        return encoded + len(schema.number_positions)

    def _features(self, values: Values) -> Float[Tensor, "n features"]:
        there = values.observed.float()
        parts = [
            # What lies outside the training range looks as its end does: the code stays where the decoder knows its
            # way, and the likelihood, which sees the value itself, lays the blame on this column.
            torch.minimum(torch.maximum(values.numeric, self.lowest), self.highest),
            (2.0 * values.boolean - 1.0) * pick(there, self.boolean_columns),
            values.cyclic,
        ]
        if self.categorical_columns:
            code = values.codes[:, : self.categorical_columns]
            is_known = (code != NULL_CODE) & (code < self.null_embedding)
            slot = self.first_embedding + torch.where(is_known, code, self.null_embedding)
            parts.append(self.embedding(slot).flatten(1))
        # An embedding tells a null by itself; elsewhere its 0 could be a value, so it is told apart.
        return torch.cat([*parts, 1.0 - pick(there, self.number_columns)], dim=1)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())


def _inverse(order: list[int]) -> Int[Tensor, " d"]:
    """Return where each of 0, 1, ... stands in ``order``."""
    return torch.tensor(sorted(range(len(order)), key=order.__getitem__), dtype=torch.int64)

"""How often values of two columns came together: the part of the score that sees combinations which training did not.

The values of each column are put into bins, and for pairs of columns the records in each pair of bins are counted.
For a record, p(a) p(b) / p(a, b) says how much rarer its two values are together than if the columns were independent.
The score takes the logarithm of the mean over pairs: a single pair that never came together raises it in a table of any
width. Records drawn from the tables themselves have a mean of 1 in every pair.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vaegis.service.contract import CALENDAR_SIZES, Schema
from vaegis.training.model.exportable import IndexSelect, pick, side_by_side, unflatten
from vaegis.training.model.likelihoods.timestamp import FIELDS
from vaegis.training.model.members import without_single_member
from vaegis.training.model.preprocessing import Values, positions_by_kind, rows
from vaegis.training.model.typical import median_and_spread

MOST_PAIRS = 256
"""Pairs of columns that are counted, about; a table with more columns than that has as many pairs as columns."""

_BINS_PER_ROOT = 1.3  # bins of a column for each cube root of the number of records: the rate of optimal histograms
_FEWEST_BINS, _MOST_BINS = 8, 32
_EXTRA_BINS = 3  # beside those: below all known values, above them, and null
_PRIOR_RECORDS = 2.0  # that are counted beforehand, spread as if the columns were independent
_MOST_COUNTED = 65_536  # fitted records
_MOST_COMPARED = 2_000  # fitted records from which the typical value is taken
_BATCH = 2048  # records whose bins are found at once
_MOST_CHOSEN_FROM = 128  # with more fields, each is paired with the next one alone: to compare all would take minutes
_MOST_INFORMED = 8_192  # fitted records by which pairs are chosen
_LEAST_SPREAD = 0.02  # nats
_ABOVE_ALL = 3e38  # above every number


class Rarity(NamedTuple):
    """How rare the combinations of values are, under each member."""

    log_ratio: Float[Tensor, "*#e n"]
    """Logarithm of the mean over pairs of p(a) p(b) / p(a, b)."""
    shares: Float[Tensor, "*#e n d"]
    """The columns' shares of that mean; they sum to 1."""


class ChosenPairs(nn.Module):
    """Any pairs of fields.

    Both parts are products with matrices, because picking the two fields of each pair takes onnxruntime ten times as
    long.
    """

    stride: Tensor
    column_share: Tensor

    def __init__(self, pair: Int[Tensor, "e p 2"], columns: list[int], *, of: int, size: int) -> None:
        """Pair the fields at ``pair``; the other arguments are those of `NextPairs`."""
        super().__init__()
        left, right = (nn.functional.one_hot(pair[..., side], len(columns)) for side in (0, 1))
        self.register_buffer("stride", (size * left + right).float().transpose(1, 2))  # (e, q, p)
        half = nn.functional.one_hot(torch.tensor(columns)[pair], of).float().sum(-2) / 2.0
        self.register_buffer("column_share", half)  # (e, p, d)

    def place(self, bins: Float[Tensor, "*#e n q"]) -> Float[Tensor, "*#e n p"]:
        """Return the place of each pair within its table: ``size`` * left + right."""
        return torch.matmul(bins, without_single_member(self.stride))

    def of_columns(self, ratio: Float[Tensor, "*#e n p"]) -> Float[Tensor, "*#e n d"]:
        """Return the sum over each column's pairs, with half of each pair, because it belongs to two columns."""
        return torch.matmul(ratio, without_single_member(self.column_share))


class NextPairs(nn.Module):
    """Each field with the next one, and the last with the first. Matrices would grow with the square of the fields."""

    fields_of_column: Tensor

    def __init__(self, columns: list[int], *, of: int, size: int) -> None:
        """Pair the fields of the columns.

        Args:
            columns: Column of each field.
            of: Number of columns of the schema.
            size: Number of bins.
        """
        super().__init__()
        self._columns, self._size = of, size
        own: list[list[int]] = [[] for _ in range(of)]
        for field, column in enumerate(columns):
            own[column].append(field)
        self._most = max(map(len, own))
        # As many of each column: those that it lacks are the entry behind all fields, which is 0.
        padded = [fields + [len(columns)] * (self._most - len(fields)) for fields in own]
        self.register_buffer("fields_of_column", torch.tensor(padded).flatten())

    def place(self, bins: Float[Tensor, "*#e n q"]) -> Float[Tensor, "*#e n q"]:
        """Return the place of each pair within its table: ``size`` * left + right."""
        return self._size * bins + torch.cat([bins[..., 1:], bins[..., :1]], dim=-1)

    def of_columns(self, ratio: Float[Tensor, "*#e n q"]) -> Float[Tensor, "*#e n d"]:
        """Return the sum over each column's pairs, with half of each pair, because it belongs to two columns."""
        with_previous = ratio + torch.cat([ratio[..., -1:], ratio[..., :-1]], dim=-1)
        padded = torch.cat([with_previous, torch.zeros_like(ratio[..., :1])], dim=-1)
        return unflatten(pick(padded, self.fields_of_column), self._columns, self._most).sum(-1) / 2.0


class Pairs(nn.Module):
    """Tables of pairs of columns.

    A column's bins hold about as many fitted records each, and one value each where it has no more values than bins.
    Categories are ordered by how common they are, so the rarest share a bin.
    """

    edge: Tensor
    table: Tensor
    start: Tensor
    typical: Tensor

    def __init__(
        self,
        edge: Float[Tensor, "e 1 b q"],
        table: Float[Tensor, "e p s s"],
        paired: ChosenPairs | NextPairs,
        columns: list[int],
        of: int,
    ) -> None:
        """Keep the tables.

        Args:
            edge: Where bins begin, by field; infinite for those that a field does not have.
            table: log p(a) p(b) / p(a, b) by bins, nats.
            paired: Which fields are paired.
            columns: Column of each field.
            of: Number of columns of the schema.
        """
        super().__init__()
        self.members, self.number, self._size = table.shape[:3]
        self.null_bin = float(self._size - 1)
        self.observed = IndexSelect(columns, of=of)
        self.paired = paired
        self.register_buffer("edge", edge)
        self.register_buffer("table", table.reshape(-1))
        start = torch.arange(self.members * self.number).float() * self._size**2
        self.register_buffer("start", start.reshape(self.members, 1, self.number))
        self.register_buffer("typical", torch.tensor([[0.0, 1.0]]).repeat(self.members, 1))

    def forward(self, values: Values) -> Rarity:
        """Return how rare the combinations of values are."""
        return self.rarity(self.table[self.place(self.bins(values))].exp())

    def rarity(self, ratio: Float[Tensor, "*#e n p"]) -> Rarity:
        """Return the logarithm of the mean ratio, and the columns' shares of the mean: half of a pair's for each."""
        total = ratio.sum(-1)
        shares = self.paired.of_columns(ratio) / total[..., None]
        return Rarity(torch.log(total / self.number), shares)

    def bins(self, values: Values) -> Float[Tensor, "*#e n q"]:
        """Return the bin of each field: 0 below the known values, the last one for null, that before it above them."""
        observed = self.observed(values.observed.float()) > 0.0
        return _bins(fields_of(values), observed, without_single_member(self.edge), self.null_bin)

    def place(self, bins: Float[Tensor, "*#e n q"]) -> Int[Tensor, "*#e n p"]:
        """Return where the tables hold each pair. float32 holds these whole numbers exactly."""
        return (self.paired.place(bins) + without_single_member(self.start)).long()


@torch.no_grad()
def pairs_of(schema: Schema, records: Values, fitted: Int[Tensor, "e n"]) -> Pairs | None:
    """Return the tables of the records at ``fitted`` of each member, or None if no two fields are there to be paired.

    A member's tables depend only on the records that it was fitted to. What is typical is taken from these, each left
    out of the counts by its position.
    """
    columns = _columns_of_fields(schema)
    if len(columns) == 1:
        return None
    fitted = fitted[:, :_MOST_COUNTED]
    known = rows(records, fitted)
    fields, observed = fields_of(known), known.observed[..., columns]
    most = min(_MOST_BINS, max(_FEWEST_BINS, round(_BINS_PER_ROOT * fitted.shape[1] ** (1 / 3))))
    size = most + _EXTRA_BINS
    edge = torch.stack(
        [
            torch.stack([_edges(x[held], most) for x, held in zip(of_member.T, there.T, strict=True)], dim=-1)
            for of_member, there in zip(fields, observed, strict=True)
        ]
    )
    edge = edge[:, None]
    batches = zip(torch.split(fields, _BATCH, dim=1), torch.split(observed, _BATCH, dim=1), strict=True)
    of_batches = [_bins(part, held, edge, float(size - 1)) for part, held in batches]
    bins = torch.cat(of_batches, dim=1).long()  # (e, n, q)
    made, left_out = [], []
    are_next = len(columns) > _MOST_CHOSEN_FROM
    for of_member in bins:
        pair = _next_pairs(len(columns)) if are_next else _chosen_pairs(of_member, size)
        count, independent = _counts(of_member, pair, size)
        made.append((pair, _log_ratio(count, independent, fitted.shape[1])))
        left_out.append(_without_own(of_member[:_MOST_COMPARED], pair, count, independent, fitted.shape[1]))
    pair, table = (torch.stack(parts) for parts in zip(*made, strict=True))
    of = len(schema.columns)
    paired = NextPairs(columns, of=of, size=size) if are_next else ChosenPairs(pair, columns, of=of, size=size)
    tables = Pairs(edge, table.float(), paired, columns, of).eval()
    typical, _ = tables.rarity(torch.stack(left_out).float())
    tables.typical.copy_(median_and_spread(typical.double(), least=_LEAST_SPREAD))
    return tables


def fields_of(values: Values) -> Float[Tensor, "*e n q"]:
    """Return what is put into bins: numbers, places of timestamps in the training span, truth values, and codes."""
    return side_by_side((values.numeric, values.elapsed, values.boolean, values.codes.float()))


def _bins(
    fields: Float[Tensor, "*#e n q"],
    observed: Bool[Tensor, "*#e n q"],
    edge: Float[Tensor, "*#e 1 b q"],
    null_bin: float,
) -> Float[Tensor, "*#e n q"]:
    """Return the bin of each field: how many edges it has passed, or ``null_bin``."""
    return torch.where(observed, (fields[..., None, :] >= edge).float().sum(-2), null_bin)


def _columns_of_fields(schema: Schema) -> list[int]:
    numerics, booleans, categorical, instants = positions_by_kind(schema)
    calendar = [
        at
        for field in CALENDAR_SIZES
        for at, each in zip(instants, schema.timestamps, strict=True)
        if field in each.calendar
    ]
    placeholders = [at for at, column in zip(numerics, schema.numeric, strict=True) if column.placeholders]
    hours = [at for at in instants for _ in FIELDS]
    return [*numerics, *instants, *booleans, *categorical, *hours, *calendar, *placeholders]


def _edges(values: Float[Tensor, " n"], most: int) -> Float[Tensor, " b"]:
    """Return where the bins of a field begin, padded to ``most`` + 1: the last edge is beyond the largest value.

    Each edge lies midway between two values, so that rounding moves no value into another bin.
    """
    padding = torch.full((most + 1,), _ABOVE_ALL, dtype=torch.float32)
    if not values.numel():
        return padding
    distinct, count = torch.unique(values.double(), return_counts=True)
    if distinct.numel() <= most:
        group = torch.arange(distinct.numel())
    else:
        # Values of about the same rank share a bin. One that makes up more than a bin has one for itself.
        middle = (count.cumsum(0) - count / 2.0) / count.sum()
        group = (most * middle).long().clamp(max=most - 1)
    begins = torch.nonzero(group.diff())[:, 0] + 1
    beyond = max(1e-3, 1e-3 * float(distinct[-1] - distinct[0]))
    ends = torch.stack([distinct[0] - beyond, distinct[-1] + beyond])
    inner = (distinct[begins] + distinct[begins - 1]) / 2.0
    edges = torch.cat([ends[:1], inner, ends[1:]]).float()
    padding[: len(edges)] = edges
    return padding


def _marginals(bins: Int[Tensor, "n q"], size: int) -> Float[Tensor, "q s"]:
    """Return the share of each bin of each field, with half a record more in each."""
    count = torch.stack([torch.bincount(each, minlength=size) for each in bins.T]).double() + 0.5
    return count / count.sum(1, keepdim=True)


def _counts(
    bins: Int[Tensor, "n q"], pair: Int[Tensor, "p 2"], size: int
) -> tuple[Float[Tensor, "p s s"], Float[Tensor, "p s s"]]:
    """Return how many records lie in each two bins of each pair, and the share that would by independence."""
    share = _marginals(bins, size)
    count = torch.stack(
        [torch.bincount(bins[:, a] * size + bins[:, b], minlength=size * size) for a, b in pair.tolist()]
    )
    independent = share[pair[:, 0], :, None] * share[pair[:, 1], None, :]
    return count.reshape(-1, size, size).double(), independent


def _log_ratio(count: Float[Tensor, "*p"], independent: Float[Tensor, "*p"], records: int) -> Float[Tensor, "*p"]:
    """Return log p(a) p(b) / p(a, b), nats."""
    return torch.log(independent * (records + _PRIOR_RECORDS) / (count + _PRIOR_RECORDS * independent))


def _without_own(
    bins: Int[Tensor, "n q"],
    pair: Int[Tensor, "p 2"],
    count: Float[Tensor, "p s s"],
    independent: Float[Tensor, "p s s"],
    records: int,
) -> Float[Tensor, "n p"]:
    """Return p(a) p(b) / p(a, b) of counted records, each left out of the counts of pairs."""
    at = (torch.arange(len(pair)), bins[:, pair[:, 0]], bins[:, pair[:, 1]])
    return _log_ratio(count[at] - 1.0, independent[at], records - 1).exp()


def _next_pairs(fields: int) -> Int[Tensor, "q 2"]:
    """Return each field with the next one, and the last with the first."""
    return torch.stack([torch.arange(fields), torch.arange(1, fields + 1) % fields], dim=1)


def _chosen_pairs(bins: Int[Tensor, "n q"], size: int) -> Int[Tensor, "p 2"]:
    """Return all pairs of fields, or each field with those that say most about it where all would be too many."""
    fields = bins.shape[1]
    every = torch.combinations(torch.arange(fields))
    if len(every) <= MOST_PAIRS:
        return every
    bins = bins[:_MOST_INFORMED]
    parts = [_mutual_information(*_counts(bins, part, size), len(bins)) for part in torch.split(every, MOST_PAIRS)]
    information = torch.cat(parts)
    dense = torch.full((fields, fields), -math.inf, dtype=torch.float64)
    dense[every[:, 0], every[:, 1]] = information
    dense = torch.maximum(dense, dense.T)
    best = dense.topk(max(1, MOST_PAIRS // fields), dim=1).indices
    found = {(min(a, b), max(a, b)) for a, row in enumerate(best.tolist()) for b in row}
    # The same number for every member of an ensemble: those that say most of all others fill it up.
    for a, b in every[information.argsort(descending=True, stable=True)].tolist():
        if len(found) >= MOST_PAIRS:
            break
        found.add((a, b))
    return torch.tensor(sorted(found))


def _mutual_information(
    count: Float[Tensor, "p s s"], independent: Float[Tensor, "p s s"], records: int
) -> Float[Tensor, " p"]:
    """Return how much two fields say about each other, nats."""
    log_ratio = _log_ratio(count, independent, records)
    return -(independent * torch.exp(-log_ratio) * log_ratio).sum((-2, -1))

"""Distance to the nearest known records, in two spaces: the part of the score that needs no fit by gradients.

The autoencoder learns how columns depend on each other. On most real tables, distances tell better whether records
like this one were seen at all (docs/log.md). In the space `Ranks`, columns are the normal scores of their ranks, half
whitened, so their shapes and units do not matter, and columns that say the same count less. In the space `Plain`,
columns are standardised, and each value of a column with few values has a feature of its own. Whitening loses where
many columns carry one signal, so both spaces are used.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vaegis.service.contract import Schema
from vaegis.training.model.exportable import IndexSelect, unflatten
from vaegis.training.model.likelihoods.timestamp import ENCODED_WIDTH
from vaegis.training.model.preprocessing import NULL_CODE, Values, positions_by_kind, rows

LEAST_KNOWN, MOST_KNOWN = 2048, 8192
"""Most records that distances are taken to, in a space of many features and in one of few. The file holds them."""

_KNOWN_NUMBERS = 61_440
"""Features of all known records of a space, between those bounds: a record costs about the same in any table."""

NEAREST = 2
"""Neighbours whose distances are averaged."""

_CLASSES = 32  # of known records; the nearest of each is found first: an exact search, and several times faster
_WHITENED_RECORDS = 4096  # most records for the correlations
_CANDIDATES = 16_384  # most fitted records of which the known ones are chosen
_COMPARED_RECORDS = 2000  # most records for typical distances
_LEAST_COMPARED = 500  # fitted records that are not known; with fewer, known ones are compared with the others
_TIE = 0.05  # of the squared softening, between the first known record and the last
_LEAST_SPREAD = 0.02  # of the distance, as a share of its median
_SOFTENED = 0.1  # distances below this share of the usual one hardly differ: float32 does not tell them apart
_LEAST_DISTANCE = 1e-2

_FAR = 5.0  # standardised; farther numbers are drawn in
_KNOTS = 20  # of a column's normal scores
_TAIL = ((0.02, 0.5), (1.0, 1.0))  # beyond the known range: its share that is passed, and by how much the score rises
_LEAST_DEVIATION = 0.05  # of normal scores; dividing by less would raise what rounding leaves
_LEAST_EIGENVALUE = 1e-4

_FEW_VALUES = 20
_RECORDS_A_VALUE = 10  # at least, on average, in a column of few values
_NEITHER = math.sqrt(3.0)  # so that a value never seen is twice as far, squared, as another known one
_MOST_SLOTS = 128  # for the values of all columns of few values
_VECTOR_WIDTH = 16  # of a category; up to as many have distances that are all alike
_VECTORS_WIDTH = 256  # of all categorical columns together, about


class Nearness(NamedTuple):
    """How far records are from the nearest known ones, in one space, under each member."""

    distance: Float[Tensor, "*#e n"]
    """Mean distance to the `NEAREST` nearest."""
    shares: Float[Tensor, "*#e n d"]
    """What each column adds to it; they sum to `distance`."""


class TypicalNearness(NamedTuple):
    """Typical distances of the records that a member was fitted to, each compared with the others."""

    distance: Float[Tensor, "e 2"]
    """Median and spread."""
    shares: Float[Tensor, "e 1 d"]
    """What columns add to the median."""


class Ranks(nn.Module):
    """The normal scores of all numbers, half whitened: d(a, b)^2 = (a - b)' C^(-1/2) (a - b), C the shrunk correlation.

    A number's normal score is the quantile of N(0, 1) at its mid-rank among the fitted records, linear between knots.
    The place of a timestamp in the time that training saw is such a number too. Truth values and the cyclic features of
    timestamps are standardised. Categories have no part in it.
    """

    knot: Tensor
    per_width: Tensor
    rise: Tensor
    lowest: Tensor
    middle: Tensor
    per_scale: Tensor
    metric: Tensor
    whitening: Tensor

    def __init__(self, values: Values, positions: list[list[int]], placeholders: Sequence[int] = ()) -> None:
        """Take ranks and correlations from records.

        Args:
            values: The records that each member was fitted to, (e, n, ...).
            positions: Of the numeric, boolean, categorical and timestamp columns in the schema.
            placeholders: For each slot of `Values.placeholders`, which of the numeric columns it belongs to. They have
                no ranks: like a null, a placeholder counts as the median.
        """
        super().__init__()
        self.columns = _number_columns(positions)
        there = values.observed[..., positions[0] + positions[3]]
        for slot, at in enumerate(placeholders):
            there[..., at] &= values.placeholders[..., slot] == 0.0
        knots = [
            [_knots(column[held]) for column, held in zip(numbers.T, held_by.T, strict=True)]
            for numbers, held_by in zip(_quantities(values), there, strict=True)
        ]
        for name, part in zip(("knot", "per_width", "rise", "lowest"), _stacked(knots), strict=True):
            self.register_buffer(name, part)
        features = self._unscaled(Values(*(part[:, :_WHITENED_RECORDS] for part in values)))
        self.register_buffer("middle", features.mean(1, keepdim=True))
        deviation = features.std(1, keepdim=True, correction=0)
        self.register_buffer("per_scale", 1.0 / deviation.clamp(min=_LEAST_DEVIATION))
        scaled = ((features - self.middle) * self.per_scale).double()
        whitening = torch.stack([_half_whitening(of_member) for of_member in scaled])
        self.register_buffer("whitening", whitening.float())
        self.register_buffer("metric", (whitening @ whitening.transpose(1, 2)).float())

    def features(self, values: Values) -> Float[Tensor, "*#e n f"]:
        """Return the features between which `stretched` differences are the distance."""
        return (self._unscaled(values) - _alone(self.middle)) * _alone(self.per_scale)

    def searched(self, features: Float[Tensor, "*#e n f"]) -> Float[Tensor, "*#e n f"]:
        """Return features whose Euclidean distance is that of this space."""
        return torch.matmul(features, _alone(self.whitening))

    def stretched(self, difference: Float[Tensor, "*#e n k f"]) -> Float[Tensor, "*#e n k f"]:
        """Return A times a difference, so that the product of both sums to the squared distance."""
        metric = _alone(self.metric)
        # One product for each neighbour: a product for each record would need a copy of the metric for each.
        return torch.stack([torch.matmul(difference[..., at, :], metric) for at in range(NEAREST)], dim=-2)

    def _unscaled(self, values: Values) -> Float[Tensor, "*#e n f"]:
        parts = []
        if self.knot.shape[-1]:
            knot, per_width, rise, lowest = map(_alone, (self.knot, self.per_width, self.rise, self.lowest))
            passed = ((_quantities(values)[..., None, :] - knot) * per_width).clamp(0.0, 1.0)  # (*e, n, k, d)
            parts.append(lowest + (passed * rise).sum(-2))
        parts += [part for part in (values.boolean, values.cyclic) if part.shape[-1]]
        if self.knot.shape[0] > 1:
            parts = [part.expand(self.knot.shape[0], -1, -1) for part in parts]
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


class Plain(nn.Module):
    """Standardised numbers, a vector for each category, and a feature for each value of columns with few values.

    A placeholder, such as -999, has a feature of its own too.
    """

    value: Tensor
    tolerance: Tensor
    value_column: Tensor
    vectors: Tensor
    first_vector: Tensor
    unseen: Tensor

    def __init__(
        self,
        values: Values,
        positions: list[list[int]],
        categories: list[int],
        placeholders: Sequence[int] = (),
    ) -> None:
        """Find the columns of few values.

        Args:
            values: The records that each member was fitted to, (e, n, ...).
            positions: Of the numeric, boolean, categorical and timestamp columns in the schema.
            categories: Known categories of each categorical column.
            placeholders: For each slot of `Values.placeholders`, which of the numeric columns it belongs to.
        """
        super().__init__()
        numeric = values.numeric
        distinct = [torch.unique(column) for column in numeric.flatten(0, 1).T]
        few = _columns_of_few_values([each.numel() for each in distinct], numeric.shape[1])
        many = [at for at in range(len(distinct)) if at not in few]
        self.many = IndexSelect(many, of=len(distinct))
        sizes = [distinct[at].numel() for at in few]
        self.few = IndexSelect([at for at, size in zip(few, sizes, strict=True) for _ in range(size)], of=len(distinct))
        self.register_buffer("value", torch.cat([distinct[at] for at in few]) if few else torch.zeros(0))
        tolerances = [_tolerance(distinct[at]) for at in few]
        self.register_buffer("tolerance", torch.cat(tolerances) if few else torch.zeros(0))
        column = torch.repeat_interleave(torch.arange(len(few)), torch.tensor(sizes, dtype=torch.int64))
        self.register_buffer("value_column", nn.functional.one_hot(column, max(1, len(few))).float())  # (slots, few)
        width = max(4, min(_VECTOR_WIDTH, _VECTORS_WIDTH // max(1, len(categories))))
        self.categories = len(categories)
        tables = [_vectors(size + 2, width) for size in categories]  # two more: unseen, and null
        first = [sum(size + 2 for size in categories[:at]) for at in range(len(categories))]
        self.register_buffer("vectors", torch.cat(tables) if tables else torch.zeros((0, width)))
        self.register_buffer("first_vector", torch.tensor(first, dtype=torch.int64))
        self.register_buffer("unseen", torch.tensor(categories, dtype=torch.int64))
        numerics, booleans, categorical, instants = positions
        self.columns = [
            *(numerics[at] for at in many),
            *instants,
            *(numerics[at] for at, size in zip(few, sizes, strict=True) for _ in range(size)),
            *(numerics[at] for at in few),
            *booleans,
            *instants * ENCODED_WIDTH,
            *(at for at in categorical for _ in range(width)),
            *(numerics[at] for at in placeholders),
        ]

    def features(self, values: Values) -> Float[Tensor, "*#e n f"]:
        """Return the features, whose Euclidean distance is that of this space."""
        parts = []
        if len(self.many):
            parts.append(_drawn_in(self.many(values.numeric)))
        if values.elapsed.shape[-1]:
            parts.append(values.elapsed)
        if len(self.few):
            known = ((self.few(values.numeric) - self.value).abs() <= self.tolerance).float()
            parts += [known, _NEITHER * (1.0 - torch.matmul(known, self.value_column))]
        if values.boolean.shape[-1]:
            parts.append(math.sqrt(2.0) * values.boolean)
        if values.cyclic.shape[-1]:
            parts.append(values.cyclic)
        if self.categories:
            code = values.codes[..., : self.categories]
            known = torch.where(code == NULL_CODE, self.unseen + 1, torch.minimum(code, self.unseen))
            vectors = nn.functional.embedding(self.first_vector + known, self.vectors)
            parts.append(vectors.reshape(*vectors.shape[:-2], self.categories * self.vectors.shape[1]))
        if values.placeholders.shape[-1]:
            parts.append(math.sqrt(2.0) * values.placeholders)
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def searched(self, features: Float[Tensor, "*#e n f"]) -> Float[Tensor, "*#e n f"]:
        """Return the features themselves."""
        return features

    def stretched(self, difference: Float[Tensor, "*#e n k f"]) -> Float[Tensor, "*#e n k f"]:
        """Return the difference itself."""
        return difference


class Neighbours(nn.Module):
    """The known records of one space, and how far others are from them."""

    known: Tensor
    softening: Tensor
    feature_column: Tensor
    first_known: Tensor

    def __init__(self, space: Ranks | Plain, known: Float[Tensor, "e m f"], columns: int) -> None:
        """Keep the features of known records.

        Args:
            space: The space of the distances.
            known: Features of the known records of each member, in that space.
            columns: Number of columns of the schema.
        """
        super().__init__()
        self.space = space
        self.register_buffer("known", known)
        self.register_buffer("softening", torch.full((known.shape[0], 1, 1, 1), _LEAST_DISTANCE**2))
        self.register_buffer("first_known", torch.arange(known.shape[0])[:, None, None] * known.shape[1])
        column = torch.tensor(space.columns)
        # A column that has no feature here has no part in the distance.
        self.register_buffer("feature_column", nn.functional.one_hot(column, columns).float())  # (f, d)
        self.observed = IndexSelect(space.columns, of=columns)
        # Plain integers: sizes taken from a tensor would be computed in the graph.
        self.members, self.number, self.width = known.shape
        self.columns = columns
        self.class_size = 0 if self.number % _CLASSES else self.number // _CLASSES
        self.is_a_feature_a_column = space.columns == list(range(columns))

    def forward(self, values: Values) -> Nearness:
        """Return how far records are from the nearest known ones."""
        features = self.space.features(values)
        return self.nearness(features, self.nearest(features), values.observed)

    def nearest(
        self, features: Float[Tensor, "*#e n f"], own: Int[Tensor, "e n"] | None = None
    ) -> Int[Tensor, "*#e n k"]:
        """Return which known records are nearest.

        Args:
            features: Features of the records.
            own: Position of each record among the known ones, which is left out; None if they are not among them.
        """
        known = self.space.searched(self.known)
        # Without |record|^2, which is the same for all; `nearness` computes the distance itself from differences. Among
        # equally near records the first is chosen, whatever the rounding, because another would blame other columns.
        later = torch.arange(self.number) * (_TIE / self.number) * self.softening[:, 0, 0]
        length = (known * known).sum(-1) + later
        product = torch.matmul(self.space.searched(features), _alone(-2.0 * known.transpose(-1, -2)))
        distance = product + _alone(length[:, None])  # (*e, n, m)
        if own is not None:
            distance = torch.where(torch.arange(self.number) == own[..., None], math.inf, distance)
        size = self.class_size
        if size < NEAREST:
            return _smallest(distance)
        # The nearest records lie in the classes whose nearest members are the nearest.
        chosen = _smallest(unflatten(distance, _CLASSES, size).amin(-2))  # (*e, n, k)
        members = torch.arange(0, _CLASSES * size, size)[:, None] + chosen[..., None, :]  # (*e, n, classes, k)
        # Not by flatten(): without records, onnxruntime could not infer the width.
        members = members.reshape(*members.shape[:-2], _CLASSES * NEAREST)
        return torch.gather(members, -1, _smallest(torch.gather(distance, -1, members)))

    def nearness(
        self, features: Float[Tensor, "*#e n f"], nearest: Int[Tensor, "*#e n k"], observed: Bool[Tensor, "*#e n d"]
    ) -> Nearness:
        """Return the mean distance to known records, and what each column adds to it.

        A column that is null has no part in it.
        """
        if self.members > 1:
            nearest = nearest + self.first_known
        known = nn.functional.embedding(nearest, self.known.reshape(-1, self.width))  # (*e, n, k, f)
        difference = (features[..., None, :] - known) * self.observed(observed.float())[..., None, :]
        shares = difference * self.space.stretched(difference)
        if not self.is_a_feature_a_column:
            shares = torch.matmul(shares, self.feature_column)  # (*e, n, k, d)
        shares = shares + _alone(self.softening) / self.columns
        distance = torch.sqrt(shares.sum(-1, keepdim=True).clamp(min=_LEAST_DISTANCE**2))
        return Nearness(distance.mean((-2, -1)), (shares / distance).mean(-2))


@torch.no_grad()
def neighbours_of(
    schema: Schema, records: Values, fitted: Int[Tensor, "e n"], generator: torch.Generator
) -> list[tuple[Neighbours, TypicalNearness]]:
    """Return the spaces, made from the records at ``fitted`` of each member, with their typical distances.

    A member's spaces depend only on the records that it was fitted to, with one exception: the list of values of a
    column with few values is the same for all members, like the schema. A record is left out of its own neighbours by
    its position, so one of two equal records is a neighbour of the other.
    """
    positions = positions_by_kind(schema)
    sizes = [len(column.categories) for column in schema.categorical]
    members, n = fitted.shape
    drawn = torch.randperm(n, generator=generator)[:_CANDIDATES]
    of_members = rows(records, fitted)
    candidates = fitted[:, drawn]
    placeholders = [at for at, column in enumerate(schema.numeric) for _ in column.placeholders]
    spaces: list[Ranks | Plain] = [Plain(of_members, positions, sizes, placeholders)]
    if _number_columns(positions):
        spaces.insert(0, Ranks(of_members, positions, placeholders))
    made = []
    for space in spaces:
        features = space.features(rows(records, candidates))
        number = _number_known(n, features.shape[-1])
        known = torch.stack([_chosen(each, number, generator) for each in space.searched(features)])
        known_features = torch.take_along_dim(features, known[..., None], dim=1)
        neighbours = Neighbours(space, known_features, len(schema.columns)).eval()
        others = torch.stack([_others(each, len(drawn)) for each in known])
        own = None
        if others.shape[1] < _LEAST_COMPARED:  # the known ones that were drawn at random, each without itself
            others = known[:, : number // 2 if number < len(drawn) - _CLASSES else number]
            own = torch.arange(others.shape[1]).expand(members, -1)[:, :_COMPARED_RECORDS]
        others = others[:, :_COMPARED_RECORDS]
        compared = torch.take_along_dim(features, others[..., None], dim=1)
        observed = records.observed[torch.take_along_dim(candidates, others, dim=1)]
        made.append((neighbours, _typical(neighbours, compared, observed, own)))
    return made


def _number_known(records: int, features: int) -> int:
    """Return how many of the fitted records are known ones: a multiple of `_CLASSES`, unless they are few."""
    number = min(records, MOST_KNOWN, max(LEAST_KNOWN, _KNOWN_NUMBERS // features))
    return number - number % _CLASSES if number >= NEAREST * _CLASSES else number


def _chosen(searched: Float[Tensor, "c f"], number: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """Return which candidates are known records: the first ones, and the more of the others the farther they are.

    Half are the first candidates. The others are drawn with a probability in proportion to their distance from those.
    So few records stand for dense places, and a rare but normal record more often has a neighbour. Records of the
    history that are far from all others are not all taken, because some may be anomalies.

    Args:
        searched: Features of the candidates, in random order, whose Euclidean distance is that of the space.
        number: How many to choose.
        generator: Source of randomness.
    """
    if number > len(searched) - _CLASSES:
        return torch.arange(number)
    first = number // 2
    distance = torch.cdist(searched[first:], searched[:first]).amin(1).double()
    weight = distance + 1e-6 * distance.mean() + 1e-12  # so that equal records can be drawn too
    others = torch.multinomial(weight, number - first, generator=generator)
    return torch.cat([torch.arange(first), first + others])


def _others(chosen: Int[Tensor, " m"], of: int) -> Int[Tensor, " o"]:
    """Return which candidates are not chosen."""
    is_chosen = torch.zeros(of, dtype=torch.bool)
    is_chosen[chosen] = True
    return torch.arange(of)[~is_chosen]


def _typical(
    neighbours: Neighbours,
    features: Float[Tensor, "e n f"],
    observed: Bool[Tensor, "e n d"],
    own: Int[Tensor, "e n"] | None,
) -> TypicalNearness:
    """Return the typical distances of some fitted records, and set the softening by them."""
    nearest = neighbours.nearest(features, own)
    usual = neighbours.nearness(features, nearest, observed).distance.double().quantile(0.5, dim=1)
    neighbours.softening.copy_((_SOFTENED * usual)[:, None, None, None].clamp(min=_LEAST_DISTANCE) ** 2)
    distance, shares = neighbours.nearness(features, neighbours.nearest(features, own), observed)
    low, median, high = distance.double().quantile(torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64), dim=1)
    spread = torch.maximum((high - low) / 2.0, (_LEAST_SPREAD * median).clamp(min=_LEAST_DISTANCE))
    of_median = (median / distance.double().mean(1))[:, None, None]
    return TypicalNearness(
        torch.stack([median, spread], dim=1).float(), (shares.double().mean(1, keepdim=True) * of_median).float()
    )


def _number_columns(positions: list[list[int]]) -> list[int]:
    """Return the column of each feature of `Ranks`."""
    numerics, booleans, _, instants = positions
    return [*numerics, *instants, *booleans, *instants * ENCODED_WIDTH]


def _quantities(values: Values) -> Float[Tensor, "*e n q"]:
    """Return what has ranks: the numbers, and the places of timestamps in the time that training saw."""
    if not values.elapsed.shape[-1]:
        return values.numeric
    return torch.cat([values.numeric, values.elapsed], dim=-1) if values.numeric.shape[-1] else values.elapsed


def _alone(x: Tensor) -> Tensor:
    """Drop the dimension of members if there is only one: fewer dimensions are faster."""
    return x if x.shape[0] > 1 else x[0]


def _smallest(x: Float[Tensor, "*n m"]) -> Int[Tensor, "*n k"]:
    return torch.topk(x, NEAREST, dim=-1, largest=False).indices


def _knots(values: Float[Tensor, " n"]) -> tuple[list[float], list[float]]:
    """Return positions and normal scores of a column's knots, ascending, the tails beyond its range included."""
    ordered = (values if values.numel() else torch.zeros(1)).double().sort().values
    n = ordered.numel()
    grid = torch.special.ndtr(torch.linspace(-3.5, 3.5, _KNOTS, dtype=torch.float64))
    distinct = torch.unique(ordered)
    chosen = distinct if distinct.numel() <= _KNOTS else torch.unique(ordered[(grid * (n - 1)).round().long()])
    chosen = torch.unique(torch.cat([ordered[:1], chosen, ordered[-1:]]))
    below, upto = (torch.searchsorted(ordered, chosen, right=right) for right in (False, True))
    scores = torch.special.ndtri((below + upto).double() / (2.0 * n))
    low, high = float(chosen[0]), float(chosen[-1])
    reach = max(high - low, 1.0)
    left, right = ([low], [float(scores[0])]), ([high], [float(scores[-1])])
    for share, rise in _TAIL:
        left = [left[0][0] - share * reach, *left[0]], [left[1][0] - rise, *left[1]]
        right = [*right[0], right[0][-1] + share * reach], [*right[1], right[1][-1] + rise]
    if chosen.numel() == 1:
        return left[0] + right[0][1:], left[1] + right[1][1:]
    return left[0] + chosen[1:-1].tolist() + right[0], left[1] + scores[1:-1].tolist() + right[1]


def _stacked(members: list[list[tuple[list[float], list[float]]]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return knots, 1 / widths, rises and lowest scores by member and column, padded to the same number of knots."""
    columns = len(members[0])
    most = max((len(position) for member in members for position, _ in member), default=2)
    shape = (len(members), 1, most - 1, columns)
    knot, per_width, rise = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    lowest = torch.zeros((len(members), 1, columns))
    for at, member in enumerate(members):
        for column, (position, score) in enumerate(member):
            places, scores = torch.tensor(position, dtype=torch.float64), torch.tensor(score, dtype=torch.float64)
            size = len(position) - 1
            knot[at, 0, :size, column] = places[:-1].float()
            per_width[at, 0, :size, column] = (1.0 / (places[1:] - places[:-1])).float()
            rise[at, 0, :size, column] = (scores[1:] - scores[:-1]).float()
            lowest[at, 0, column] = scores[0].float()
    return knot, per_width, rise, lowest


def _half_whitening(features: Float[Tensor, "n f"]) -> Float[Tensor, "f f"]:
    """Return W with W W' = C^(-1/2), C the covariance shrunk to a multiple of the unit matrix (Ledoit & Wolf 2004)."""
    centred = features - features.mean(0)
    n, width = centred.shape
    covariance = centred.T @ centred / n
    target = covariance.diagonal().mean()
    apart = ((covariance - target * torch.eye(width, dtype=covariance.dtype)) ** 2).sum()
    noise = (((centred**2).sum(1) ** 2).sum() / n - (covariance**2).sum()) / n
    shrinkage = (noise / apart).clamp(0.0, 1.0) if apart > 0.0 else torch.ones((), dtype=covariance.dtype)
    shrunk = (1.0 - shrinkage) * covariance + shrinkage * target * torch.eye(width, dtype=covariance.dtype)
    eigenvalues, vectors = torch.linalg.eigh(shrunk)
    whitening: Tensor = vectors * eigenvalues.clamp(min=_LEAST_EIGENVALUE) ** -0.25
    return whitening


def _columns_of_few_values(distinct: list[int], records: int) -> list[int]:
    """Return the columns whose values get a slot each: those with the fewest values, while there are slots."""
    few: list[int] = []
    left = _MOST_SLOTS
    for size, at in sorted((size, at) for at, size in enumerate(distinct)):
        if size > min(_FEW_VALUES, left) or size * _RECORDS_A_VALUE >= records:
            break
        few.append(at)
        left -= size
    return sorted(few)


def _drawn_in(x: Float[Tensor, "*e n d"]) -> Float[Tensor, "*e n d"]:
    """Return standardised numbers, those beyond `_FAR` by their logarithm.

    In float32, records that are all a million units from the rest could not be told apart.
    """
    beyond = torch.log(1.0 + (x - _FAR).clamp(min=0.0) / _FAR) - torch.log(1.0 + (-x - _FAR).clamp(min=0.0) / _FAR)
    return x.clamp(-_FAR, _FAR) + _FAR * beyond


def _tolerance(values: Float[Tensor, " v"]) -> Float[Tensor, " v"]:
    """Return how far a number may be from each of a column's values and still be that value, such as after float32."""
    gap = float(values.diff().min()) if values.numel() > 1 else 1.0
    return torch.full(values.shape, min(1.0, gap) / 4.0)


def _vectors(number: int, width: int) -> Float[Tensor, "c w"]:
    """Return a unit vector for each of a column's categories: at right angles, or nearly so where they are many."""
    if number <= width:
        return torch.eye(width)[:number]
    drawn = torch.randn((number, width), generator=torch.Generator().manual_seed(number))
    return nn.functional.normalize(drawn, dim=1)

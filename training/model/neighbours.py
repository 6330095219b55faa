"""Distance to the nearest known records: a part of the score that needs no fit by gradients.

The autoencoder learns how columns depend on each other. On most real tables, distances tell better whether records
like this one were seen at all (docs/log.md).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vaegis.service.contract import Schema
from vaegis.training.model.exportable import IndexSelect, side_by_side, unflatten
from vaegis.training.model.likelihoods.timestamp import ENCODED_WIDTH
from vaegis.training.model.members import without_single_member
from vaegis.training.model.preprocessing import NULL_CODE, Values, positions_by_kind, rows
from vaegis.training.model.typical import median_and_spread

LEAST_KNOWN, MOST_KNOWN = 2048, 8192
"""Most records that distances are taken to, with many features and with few. The file holds them."""

_KNOWN_NUMBERS = 92_160
"""Features of all known records, between those bounds: a record costs about the same in any table."""

NEAREST = 2
"""Neighbours whose distances are averaged."""

MOST_WEIGHTED = 256
"""Most features of a space whose directions are weighted; in wider ones the weights would take megabytes."""

_CLASSES = 32  # of known records; the nearest of each is found first: an exact search, and several times faster
_CANDIDATES = 16_384  # most fitted records of which the known ones are chosen
_COMPARED_RECORDS = 2000  # most records for typical distances
_LEAST_COMPARED = 500  # fitted records that are not known; with fewer, known ones are compared with the others
_TIE = 0.05  # of the squared softening, between the first known record and the last
_LEAST_SPREAD = 0.02  # of the distance, as a share of its median
_SOFTENED = 0.1  # distances below this share of the usual one hardly differ: float32 does not tell them apart
_LEAST_DISTANCE = 1e-2

_KNOTS = 20  # of a column's normal scores
_TAIL = (0.02, 0.5)  # beyond the known range: its share that is passed while the score rises by so much
_WEIGHTED = 0.5  # share of a squared difference that is weighted by its direction
_LEAST_VARIANCE = 0.02  # along a direction, as a share of the mean; less would weigh what rounding leaves
_BEYOND = 10.0  # standardised units beyond the known range, from which on the distance grows by the logarithm
_LEAST_DEVIATION = 0.05  # of normal scores; dividing by less would raise what rounding leaves

_FEW_VALUES = 20
_RECORDS_A_VALUE = 10  # at least, on average, in a column of few values
_NEITHER = math.sqrt(3.0)  # so that a value never seen is twice as far, squared, as another known one
_MOST_SLOTS = 128  # for the values of all columns of few values
_VECTOR_WIDTH = 16  # of a category; up to as many have distances that are all alike
_VECTORS_WIDTH = 256  # of all categorical columns together, about


class Nearness(NamedTuple):
    """How far records are from the nearest known ones, under each member."""

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


class Space(nn.Module):
    """The features of records between which the distance is taken.

    A number's feature is its normal score: the quantile of N(0, 1) at its mid-rank among the fitted records, linear
    between knots, so the shape and the unit of a column do not matter. The place of a timestamp in the time that
    training saw is such a number too. In columns with few values, each value has a feature of its own besides. Truth
    values and the cyclic features of timestamps are standardised. A category is a vector. A placeholder, such as -999,
    has a feature of its own, and no rank: like a null, it counts as the median.

    Half of a squared difference counts as it is. The other half is weighted by its direction: the less fitted records
    vary along it, the more a difference counts, by 1 / standard deviation. So a record that contradicts how columns
    depend on each other is farther away than one that follows it (docs/log.md).
    """

    knot: Tensor
    per_width: Tensor
    rise: Tensor
    lowest: Tensor
    per_score: Tensor
    per_other: Tensor
    least: Tensor
    greatest: Tensor
    value: Tensor
    tolerance: Tensor
    value_column: Tensor
    vectors: Tensor
    first_vector: Tensor
    unseen: Tensor
    center: Tensor

    def __init__(
        self, values: Values, positions: list[list[int]], categories: list[int], placeholders: Sequence[int] = ()
    ) -> None:
        """Take ranks from records, and find the columns of few values.

        Args:
            values: The records that each member was fitted to, (e, n, ...).
            positions: Of the numeric, boolean, categorical and timestamp columns in the schema.
            categories: Known categories of each categorical column.
            placeholders: For each slot of `Values.placeholders`, which of the numeric columns it belongs to.
        """
        super().__init__()
        numerics, booleans, categorical, instants = positions
        self._take_ranks(values, values.observed[..., numerics + instants], placeholders)
        sizes, few = self._take_few_values(values.numeric)
        width = max(4, min(_VECTOR_WIDTH, _VECTORS_WIDTH // max(1, len(categories))))
        self.categories = len(categories)
        tables = [_vectors(size + 2, width) for size in categories]  # two more: unseen, and null
        first = [sum(size + 2 for size in categories[:at]) for at in range(len(categories))]
        self.register_buffer("vectors", torch.cat(tables) if tables else torch.zeros((0, width)))
        self.register_buffer("first_vector", torch.tensor(first, dtype=torch.int64))
        self.register_buffer("unseen", torch.tensor(categories, dtype=torch.int64))
        self.columns = [
            *numerics,
            *instants,
            *booleans,
            *instants * ENCODED_WIDTH,
            *(numerics[at] for at, size in zip(few, sizes, strict=True) for _ in range(size)),
            *(numerics[at] for at in few),
            *(at for at in categorical for _ in range(width)),
            *(numerics[at] for at in placeholders),
        ]
        self.register_buffer("center", torch.zeros(len(self.columns)))

    def move_center(self, features: Float[Tensor, "e c f"]) -> Float[Tensor, "e c f"]:
        """Take the mean of features for the zero of each, and return them so; distances stay as they are.

        Otherwise, features that hardly vary would be large, and float32 would not tell near records apart.
        """
        center = features.double().mean((0, 1)).float()
        self.center += center
        return features - center

    def _take_ranks(self, values: Values, there: Bool[Tensor, "e n q"], placeholders: Sequence[int]) -> None:
        """Take normal scores, ranges and deviations from records; ``there`` tells which quantities are not null."""
        for slot, at in enumerate(placeholders):
            there[..., at] &= values.placeholders[..., slot] == 0.0
        knots = [
            [_knots(column[held]) for column, held in zip(numbers.T, held_by.T, strict=True)]
            for numbers, held_by in zip(_quantities(values), there, strict=True)
        ]
        for name, part in zip(("knot", "per_width", "rise", "lowest"), _stacked(knots), strict=True):
            self.register_buffer(name, part)
        # A knot stands a share of the range beyond it, at each end.
        ends = [[(position[1], position[-2]) for position, _ in of_member] for of_member in knots]
        least_greatest = torch.tensor(ends).reshape(len(knots), 1, -1, 2).float()
        self.register_buffer("least", least_greatest[..., 0])
        self.register_buffer("greatest", least_greatest[..., 1])
        # Plain Python values: what is taken from a tensor would be computed in the graph.
        self.members = len(knots)
        for name, part in (("per_score", self._scores(values)), ("per_other", _truths_and_cycles(values))):
            deviation = part.std(1, keepdim=True, correction=0) if part.shape[-1] else part[:, :1]
            self.register_buffer(name, 1.0 / deviation.clamp(min=_LEAST_DEVIATION))

    def _take_few_values(self, numeric: Float[Tensor, "e n numeric"]) -> tuple[list[int], list[int]]:
        """Find the columns of few values; return how many each has, and their positions among the numeric ones."""
        distinct = [torch.unique(column) for column in numeric.flatten(0, 1).T]
        few = _columns_of_few_values([each.numel() for each in distinct], numeric.shape[1])
        sizes = [distinct[at].numel() for at in few]
        self.few = IndexSelect([at for at, size in zip(few, sizes, strict=True) for _ in range(size)], of=len(distinct))
        self.register_buffer("value", torch.cat([distinct[at] for at in few]) if few else torch.zeros(0))
        tolerances = [_tolerance(distinct[at]) for at in few]
        self.register_buffer("tolerance", torch.cat(tolerances) if few else torch.zeros(0))
        column = torch.repeat_interleave(torch.arange(len(few)), torch.tensor(sizes, dtype=torch.int64))
        self.register_buffer("value_column", nn.functional.one_hot(column, max(1, len(few))).float())  # (slots, few)
        return sizes, few

    def features(self, values: Values) -> Float[Tensor, "*#e n f"]:
        """Return the features of records."""
        parts = []
        if self.per_score.shape[-1]:
            parts.append(self._scores(values) * without_single_member(self.per_score) + self._beyond(values))
        if self.per_other.shape[-1]:
            parts.append(_truths_and_cycles(values) * without_single_member(self.per_other))
        if len(self.few):
            known = ((self.few(values.numeric) - self.value).abs() <= self.tolerance).float()
            parts += [known, _NEITHER * (1.0 - torch.matmul(known, self.value_column))]
        if self.categories:
            code = values.codes[..., : self.categories]
            known = torch.where(code == NULL_CODE, self.unseen + 1, torch.minimum(code, self.unseen))
            vectors = nn.functional.embedding(self.first_vector + known, self.vectors)
            parts.append(vectors.reshape(*vectors.shape[:-2], self.categories * self.vectors.shape[1]))
        if values.placeholders.shape[-1]:
            parts.append(math.sqrt(2.0) * values.placeholders)
        if self.members > 1 and (self.per_score.shape[-1] or self.per_other.shape[-1]):
            parts = [part.expand(self.members, -1, -1) for part in parts]
        return side_by_side(parts) - self.center

    def _scores(self, values: Values) -> Float[Tensor, "*#e n q"]:
        """Return the normal scores of numbers, and of the places of timestamps."""
        quantities = _quantities(values)
        if not self.knot.shape[-1]:
            return quantities
        knot, per_width, rise, lowest = map(without_single_member, (self.knot, self.per_width, self.rise, self.lowest))
        passed = ((quantities[..., None, :] - knot) * per_width).clamp(0.0, 1.0)  # (*e, n, k, q)
        return lowest + (passed * rise).sum(-2)

    def _beyond(self, values: Values) -> Float[Tensor, "*#e n q"]:
        """Return how far numbers lie beyond the known range, standardised; those far beyond by their logarithm."""
        quantities = _quantities(values)
        above = (quantities - without_single_member(self.greatest)).clamp(min=0.0) / _BEYOND
        below = (without_single_member(self.least) - quantities).clamp(min=0.0) / _BEYOND
        return _BEYOND * (torch.log(1.0 + above) - torch.log(1.0 + below))


class Neighbours(nn.Module):
    """The known records, and how far others are from them."""

    known: Tensor
    weights: Tensor | None
    softening: Tensor
    feature_column: Tensor
    first_known: Tensor

    def __init__(
        self, space: Space, known: Float[Tensor, "e m f"], weights: Float[Tensor, "e 1 f f"] | None, columns: int
    ) -> None:
        """Keep the features of known records.

        Args:
            space: The space of the distances.
            known: Features of the known records of each member, in that space.
            weights: The symmetric matrix W of each member, by which a squared distance is x W x of the difference x;
                None for that of the features as they are.
            columns: Number of columns of the schema.
        """
        super().__init__()
        self.space = space
        self.register_buffer("known", known)
        self.register_buffer("weights", weights)
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
        # Without the record's own square, which is the same for all; `nearness` computes the distance from differences.
        # Among equally near records the first is chosen, whatever the rounding: another would blame other columns.
        later = torch.arange(self.number) * (_TIE / self.number) * self.softening[:, 0, 0]
        weighted = self.known if self.weights is None else torch.matmul(self.known, self.weights[:, 0])
        length = (self.known * weighted).sum(-1) + later
        product = torch.matmul(features, without_single_member(-2.0 * weighted.transpose(-1, -2)))
        distance = product + without_single_member(length[:, None])  # (*e, n, m)
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

        A column that is null has no part in it. One that differs as the others let expect may add less than nothing.
        """
        if self.members > 1:
            nearest = nearest + self.first_known
        known = nn.functional.embedding(nearest, self.known.reshape(-1, self.width))  # (*e, n, k, f)
        difference = (features[..., None, :] - known) * self.observed(observed.float())[..., None, :]
        weighted = difference
        if self.weights is not None:
            weighted = torch.matmul(difference, without_single_member(self.weights))
        shares = difference * weighted
        if not self.is_a_feature_a_column:
            shares = torch.matmul(shares, self.feature_column)  # (*e, n, k, d)
        shares = shares + without_single_member(self.softening) / self.columns
        distance = torch.sqrt(shares.sum(-1, keepdim=True).clamp(min=_LEAST_DISTANCE**2))
        return Nearness(distance.mean((-2, -1)), (shares / distance).mean(-2))


@torch.no_grad()
def neighbours_of(
    schema: Schema, records: Values, fitted: Int[Tensor, "e n"], generator: torch.Generator
) -> tuple[Neighbours, TypicalNearness]:
    """Return the known records, chosen from the records at ``fitted`` of each member, with their typical distances.

    A member's space depends only on the records that it was fitted to, with one exception: the list of values of a
    column with few values is the same for all members, like the schema. A record is left out of its own neighbours by
    its position, so one of two equal records is a neighbour of the other.
    """
    sizes = [len(column.categories) for column in schema.categorical]
    members, n = fitted.shape
    drawn = torch.randperm(n, generator=generator)[:_CANDIDATES]
    candidates = fitted[:, drawn]
    placeholders = [at for at, column in enumerate(schema.numeric) for _ in column.placeholders]
    space = Space(rows(records, fitted), positions_by_kind(schema), sizes, placeholders)
    features = space.move_center(space.features(rows(records, candidates)))
    number = _number_known(n, features.shape[-1])
    known = torch.stack([_chosen(each, number, generator) for each in features])
    of_known = torch.take_along_dim(features, known[..., None], dim=1)
    neighbours = Neighbours(space, of_known, _weights_of(features), len(schema.columns)).eval()
    others = torch.stack([_others(each, len(drawn)) for each in known])
    own = None
    if others.shape[1] < _LEAST_COMPARED:  # the known ones that were drawn at random, each without itself
        others = known[:, : number // 2 if number < len(drawn) - _CLASSES else number]
        own = torch.arange(others.shape[1]).expand(members, -1)[:, :_COMPARED_RECORDS]
    others = others[:, :_COMPARED_RECORDS]
    compared = torch.take_along_dim(features, others[..., None], dim=1)
    observed = records.observed[torch.take_along_dim(candidates, others, dim=1)]
    return neighbours, _typical(neighbours, compared, observed, own)


def _number_known(records: int, features: int) -> int:
    """Return how many of the fitted records are known ones: a multiple of `_CLASSES`, unless they are few."""
    number = min(records, MOST_KNOWN, max(LEAST_KNOWN, _KNOWN_NUMBERS // features))
    return number - number % _CLASSES if number >= NEAREST * _CLASSES else number


def _chosen(features: Float[Tensor, "c f"], number: int, generator: torch.Generator) -> Int[Tensor, " m"]:
    """Return which candidates are known records: the first ones, and the more of the others the farther they are.

    Half are the first candidates. The others are drawn with a probability in proportion to their distance from those.
    So few records stand for dense places, and a rare but normal record more often has a neighbour. Records of the
    history that are far from all others are not all taken, because some may be anomalies.

    Args:
        features: Of the candidates, in random order.
        number: How many to choose.
        generator: Source of randomness.
    """
    if number > len(features) - _CLASSES:
        return torch.arange(number)
    first = number // 2
    distance = torch.cdist(features[first:], features[:first]).amin(1).double()
    weight = distance + 1e-6 * distance.mean() + 1e-12  # so that equal records can be drawn too
    others = torch.multinomial(weight, number - first, generator=generator)
    return torch.cat([torch.arange(first), first + others])


def _weights_of(features: Float[Tensor, "e c f"]) -> Float[Tensor, "e 1 f f"] | None:
    """Return the weights of differences between records like these for each member; None for too many features.

    The covariance is shrunk towards a multiple of the identity by the share of Ledoit and Wolf (2004).
    """
    if not 0 < features.shape[-1] <= MOST_WEIGHTED:
        return None
    return torch.stack([_weights(each.double()) for each in features])[:, None].float()


def _weights(features: Float[Tensor, "c f"]) -> Float[Tensor, "f f"]:
    n, width = features.shape
    identity = torch.eye(width, dtype=features.dtype)
    squares = (features - features.mean(0)) ** 2
    covariance = torch.cov(features.T, correction=0).reshape(width, width)
    mean_variance = covariance.diagonal().mean().clamp(min=_LEAST_DEVIATION**2)
    away = (covariance - mean_variance * identity).square().sum()
    noise = ((squares.T @ squares).sum() / n - covariance.square().sum()) / n
    share = (noise / away).clamp(0.0, 1.0) if away > 0.0 else 1.0
    variance, direction = torch.linalg.eigh((1.0 - share) * covariance + share * mean_variance * identity)
    weight = variance.clamp(min=_LEAST_VARIANCE * mean_variance).rsqrt()
    # On average over the records, the weighted part of a squared difference is as large as the difference itself.
    weight = weight * variance.sum() / (weight * variance).sum() if variance.sum() > 0.0 else torch.ones_like(weight)
    weights: Tensor = (1.0 - _WEIGHTED) * identity + _WEIGHTED * (direction * weight) @ direction.T
    return weights


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
    typical = median_and_spread(distance.double(), least=_LEAST_DISTANCE, least_share=_LEAST_SPREAD)
    of_median = (typical[:, 0] / distance.double().mean(1))[:, None, None]
    return TypicalNearness(typical.float(), (shares.double().mean(1, keepdim=True) * of_median).float())


def _quantities(values: Values) -> Float[Tensor, "*e n q"]:
    """Return what has ranks: the numbers, and the places of timestamps in the time that training saw."""
    return side_by_side((values.numeric, values.elapsed))


def _truths_and_cycles(values: Values) -> Float[Tensor, "*e n f"]:
    """Return the truth values and the cyclic features of timestamps."""
    return side_by_side((values.boolean, values.cyclic))


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
    share, rise = _TAIL
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

"""Raw columns to what the network reads: part of the exported graph, written once and used by training as it is."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from vaegis.service.contract import (
    CALENDAR_SIZES,
    BooleanColumn,
    NumericColumn,
    Schema,
    StringColumn,
    TimestampColumn,
)
from vaegis.training.model.exportable import IndexSelect
from vaegis.training.model.likelihoods import timestamp
from vaegis.training.model.likelihoods.boolean import NEITHER

NULL_CODE = -1
"""Category code of a null."""

_FURTHEST = 1e6
"""Bound of standardised values in the likelihood: finite statistics for any float64, order kept far past the data."""

_PER_SPAN = math.sqrt(12.0)  # standard deviations of a uniform distribution
_RECENT = 0.1
_LEAST_RECENT_S = 14 * timestamp.DAY_S
"""The newest share of the time that training saw, or two weeks if that is more, counts as one place."""
_ANY_TIME = 1e300
_NEARLY_TWICE = 1.5
_ROUNDED_SHARE = 2.0**-23  # of a placeholder, within which a number is that: float32 rounds so


class Values(NamedTuple):
    """A batch in standardised form; D is the number of columns, in schema order.

    Records that belong to one member each of an ensemble have the members as first dimension.
    """

    numeric: Float[Tensor, "*e n numeric"]
    """Standardised, 0 where null or a placeholder."""
    boolean: Float[Tensor, "*e n boolean"]
    """0 or 1, 0 where null; `NEITHER` for any other number."""
    cyclic: Float[Tensor, "*e n cyclic"]
    """Four features for each timestamp column, 0 where null."""
    elapsed: Float[Tensor, "*e n t"]
    """Place of each timestamp in the time that training saw, bounded by its ends and standardised; 0 where null."""
    codes: Int[Tensor, "*e n f"]
    """Codes of the categorical fields: the categorical columns, then hour and weekday of each timestamp column, then
    the months, and then the days of the month, of those columns that have them, and then which placeholder a number is,
    counted from 1, or 0, of the numeric columns that have placeholders."""
    observed: Bool[Tensor, "*e n d"]
    """False where the value is null."""
    season: Float[Tensor, "*e n season"]
    """Sine and cosine of the months, then of the days, of the columns that have them; 0 where null."""
    placeholders: Float[Tensor, "*e n p"]
    """1 for the placeholder that a number is, if any: a slot each, by numeric column; 0 where null."""


def rows(values: Values, index: Int[Tensor, "*e b"] | slice) -> Values:
    """Return some records of a batch; where ``index`` holds a row a member, those of each."""
    return Values(*(part[index] for part in values))


class Preprocessing(nn.Module):
    """Centres, scales and codes raw columns. Centring is done in float64: a large number keeps its digits."""

    center: Tensor
    unit: Tensor
    change: Tensor
    ahead: Tensor
    earliest: Tensor
    span: Tensor
    recent: Tensor
    first_day: Tensor
    known_from_s: Tensor
    known_s: Tensor
    has_no_day: Tensor
    placeholder: Tensor
    slot_column: Tensor
    slot_field: Tensor

    def __init__(self, schema: Schema) -> None:
        """Read centres and units off the statistics in ``schema``, which is that of a model still to be fitted."""
        super().__init__()
        numbers = [schema.columns[i] for i in schema.number_positions]
        self.numeric, self.boolean, self.timestamps = (
            IndexSelect([i for i, column in enumerate(numbers) if isinstance(column, kind)], of=len(numbers))
            for kind in (NumericColumn, BooleanColumn, TimestampColumn)
        )
        # As sums of steps, because a look-up by time has no operator that the file may hold.
        instants = schema.timestamps
        self.months, self.days = (
            IndexSelect([at for at, each in enumerate(instants) if field in each.calendar], of=len(instants))
            for field in CALENDAR_SIZES
        )
        most = max((len(column.offsets) for column in instants), default=0)
        self.has_zones = most > 0
        changes = [_clock_changes(column, most) for column in instants]
        self.register_buffer("change", torch.tensor([at for at, _ in changes], dtype=torch.float64))  # (t, changes)
        self.register_buffer("ahead", torch.tensor([by for _, by in changes], dtype=torch.float64))  # (t, changes)
        self.register_buffer("center", torch.tensor([center(column) for column in schema.numeric], dtype=torch.float64))
        self.register_buffer("unit", torch.tensor([unit(column) for column in schema.numeric], dtype=torch.float64))
        by_slot = [(at, value) for at, column in enumerate(schema.numeric) for value in column.placeholders]
        self.register_buffer("placeholder", torch.tensor([value for _, value in by_slot], dtype=torch.float64))
        self.with_placeholders = sorted({at for at, _ in by_slot})
        self.of_slots = IndexSelect([at for at, _ in by_slot], of=len(schema.numeric))
        self.register_buffer("slot_column", torch.eye(max(1, len(schema.numeric)))[[at for at, _ in by_slot]])  # (p, d)
        positions = [value for c in schema.numeric for value in range(1, 1 + len(c.placeholders))]
        fields = [self.with_placeholders.index(at) for at, _ in by_slot]
        codes = torch.eye(max(1, len(self.with_placeholders)))[fields] * torch.tensor(positions)[:, None]
        self.register_buffer("slot_field", codes)  # (p, f)
        weeks = torch.tensor([_first_week(column) for column in instants], dtype=torch.float64).reshape(-1, 3)
        self.has_partial_weeks = bool((weeks[:, 2] < timestamp.WEEK_S).any())
        self.register_buffer("first_day", weeks[:, 0])
        self.register_buffer("known_from_s", weeks[:, 1])
        self.register_buffer("known_s", weeks[:, 2])
        has_no_day = [column.spans_less_than_a_day for column in instants]
        self.register_buffer("has_no_day", torch.tensor(has_no_day, dtype=torch.float64))
        earliest = torch.tensor([column.earliest for column in instants], dtype=torch.float64)
        latest = torch.tensor([column.latest for column in instants], dtype=torch.float64)
        self.register_buffer("earliest", earliest)
        span = (latest - earliest).clamp(min=1.0)
        self.register_buffer("span", span)
        self.register_buffer("recent", (1.0 - (_LEAST_RECENT_S / span).clamp(min=_RECENT)).clamp(min=0.0))
        # Position of each schema column in [numbers, strings], to bring the observed flags into schema order.
        place = {position: at for at, position in enumerate(schema.number_positions + schema.string_positions)}
        self.in_schema_order = IndexSelect([place[i] for i in range(len(schema.columns))], of=len(schema.columns))

    def forward(self, numbers: Float[Tensor, "n dn"], codes: Int[Tensor, "n ds"] | None = None) -> Values:
        """Return the batch in standardised form.

        Args:
            numbers: The graph's input `numbers`, float64, NaN for null.
            codes: Code of each categorical column: `NULL_CODE` for null, the number of categories for unseen;
                None where there is no such column.
        """
        missing = torch.isnan(numbers)
        filled = torch.where(missing, torch.zeros_like(numbers), numbers)
        there = ~missing
        cyclic, elapsed, season, fields = self._instants(self.timestamps(filled), self.timestamps(there))
        numeric = self._standardised(self.numeric(filled)) * self.numeric(there).float()
        slots = numeric[:, :0]
        if self.with_placeholders:
            slots = self._placeholders(self.numeric(filled)) * self.of_slots(self.numeric(there)).float()
            numeric = numeric * (1.0 - slots @ self.slot_column)
            which = (slots @ self.slot_field).long()
            fields = torch.cat([fields, which], dim=1) if len(self.timestamps) else which
        return Values(
            numeric=numeric,
            boolean=self._truth(self.boolean(filled)),
            cyclic=cyclic,
            elapsed=elapsed,
            codes=fields if codes is None else torch.cat([codes, fields], dim=1),
            observed=self.in_schema_order(there if codes is None else torch.cat([there, codes != NULL_CODE], dim=1)),
            season=season,
            placeholders=slots,
        )

    def with_likely_placeholders(
        self, numbers: Float[Tensor, "n numeric"], probability: Float[Tensor, "n p"]
    ) -> Float[Tensor, "n numeric"]:
        """Return expected numbers, replaced by a placeholder where that is likelier than not."""
        likely = (probability > 0.5).double()  # noqa: PLR2004 - more than all others together
        column = self.slot_column.double()
        return numbers * (1.0 - likely @ column) + (likely * self.placeholder) @ column

    # A kind without columns has no part in the graph: tracing it takes as long as any other, and no record needs it.

    def _standardised(self, numbers: Float[Tensor, "n numeric"]) -> Float[Tensor, "n numeric"]:
        if not len(self.numeric):
            return numbers.float()
        return ((numbers - self.center) / self.unit).clamp(-_FURTHEST, _FURTHEST).float()

    def _placeholders(self, numbers: Float[Tensor, "n numeric"]) -> Float[Tensor, "n p"]:
        return ((self.of_slots(numbers) - self.placeholder).abs() <= self.placeholder.abs() * _ROUNDED_SHARE).float()

    def _truth(self, numbers: Float[Tensor, "n boolean"]) -> Float[Tensor, "n boolean"]:
        if not len(self.boolean):
            return numbers.float()
        return torch.where((numbers == 0.0) | (numbers == 1.0), numbers.float(), NEITHER)

    def _instants(
        self, seconds: Float[Tensor, "n t"], there: Bool[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n t4"], Float[Tensor, "n t"], Float[Tensor, "n season"], Int[Tensor, "n t2"]]:
        """Return the cyclic features, the places in the time that training saw, the seasons, and the fields."""
        if not len(self.timestamps):
            return seconds.float(), seconds.float(), seconds.float(), seconds.long()
        # Later times have the place of the newest known records. These have to be many, and of all weekdays: else every
        # record of the next period would be unlike most known ones. A short history has one place.
        share = torch.minimum(((seconds - self.earliest) / self.span).clamp(min=0.0), self.recent)
        elapsed = (_PER_SPAN * (share - self.recent / 2.0)).float() * there.float()
        if self.has_zones:
            seconds = seconds + ((seconds[:, :, None] >= self.change) * self.ahead).sum(-1)
        of_week = self._on_known_weekdays(seconds) if self.has_partial_weeks else seconds
        present = there.float().repeat(1, timestamp.ENCODED_WIDTH)
        fields = timestamp.fields(of_week).reshape(seconds.shape[0], len(self.timestamps) * len(timestamp.FIELDS))
        season = seconds[:, :0].float()
        if len(self.months) or len(self.days):
            season, dates = self._dates(seconds, there)
            fields = torch.cat([fields, dates], dim=1)
        return timestamp.encoded(of_week) * present, elapsed, season, fields

    def _on_known_weekdays(self, seconds: Float[Tensor, "n t"]) -> Float[Tensor, "n t"]:
        """Return instants, those at times that a history of less than a week lacks moved to its last whole day.

        Otherwise every normal record of such a time would be unlike all known ones. If no day is whole, they are moved
        to the last day that has their time of day. In a history of less than a day all times count as the first.
        """
        day_s, week_s = timestamp.DAY_S, timestamp.WEEK_S
        since = seconds - self.first_day
        of_week = since - week_s * torch.floor(since / week_s)
        day = torch.floor(of_week / day_s)
        last_whole = torch.floor(self.known_s / day_s) - 1.0
        last_with_time = torch.floor((self.known_s - (of_week - day * day_s)) / day_s).clamp(min=0.0)
        last = torch.where(last_whole * day_s >= self.known_from_s, last_whole, last_with_time)
        is_known = (of_week >= self.known_from_s) & (of_week <= self.known_s)
        known = seconds + torch.where(is_known, 0.0, (last - day) * day_s)
        return known * (1.0 - self.has_no_day) + (self.first_day + self.known_from_s) * self.has_no_day

    def _dates(
        self, seconds: Float[Tensor, "n t"], there: Bool[Tensor, "n t"]
    ) -> tuple[Float[Tensor, "n season"], Int[Tensor, "n f"]]:
        """Return the cyclic features and the fields of the months and days that are scored."""
        parts = zip((self.months, self.days), timestamp.calendar(seconds), CALENDAR_SIZES.values(), strict=True)
        features, fields = [], []
        for chosen, part, size in parts:
            if len(chosen):
                features.append(timestamp.cyclic(chosen(part), size) * chosen(there).float().repeat(1, 2))
                fields.append(chosen(part).long().clamp(0, size - 1))
        return torch.cat(features, dim=1), torch.cat(fields, dim=1)


def _first_week(column: TimestampColumn) -> tuple[float, float, float]:
    """Return the local midnight before the earliest instant, and the seconds from there to the earliest and latest."""
    earliest, latest = (
        at + sum(by for since, by in _moves(column) if at >= since) for at in (column.earliest, column.latest)
    )
    first_day = earliest // timestamp.DAY_S * timestamp.DAY_S
    return first_day, earliest - first_day, latest - first_day


def _clock_changes(column: TimestampColumn, most: int) -> tuple[list[float], list[float]]:
    """Return when the clock is moved and by how many seconds, padded to ``most`` changes that move it by nothing."""
    moves = _moves(column)
    padding = most - len(moves)
    return [at for at, _ in moves] + [_ANY_TIME] * padding, [by for _, by in moves] + [0.0] * padding


def _moves(column: TimestampColumn) -> list[tuple[float, float]]:
    """Return when the clock is moved and by how many seconds; the first move is that from UTC."""
    moments = [-_ANY_TIME, *(at for at, _ in column.offsets[1:])][: len(column.offsets)]
    ahead = [by for _, by in column.offsets]
    return list(zip(moments, (by - before for before, by in zip([0.0, *ahead], ahead, strict=False)), strict=True))


def positions_by_kind(schema: Schema) -> list[list[int]]:
    """Return the schema positions of the numeric, boolean, string and timestamp columns: a list for each sort."""
    kinds = (NumericColumn, BooleanColumn, StringColumn, TimestampColumn)
    return [[at for at, column in enumerate(schema.columns) if isinstance(column, kind)] for kind in kinds]


def center(column: NumericColumn) -> float:
    """Return the median of a column, the zero of its standardised form."""
    return column.quantiles[len(column.quantiles) // 2]


def unit(column: NumericColumn) -> float:
    """Return one standardised unit of a column that is still to be fitted: see `training.data.schema`."""
    return column.noise_scale


def quantity_range(column: NumericColumn) -> tuple[float, float]:
    """Return the least and the greatest quantity; where a placeholder lies beyond, the outermost quantile."""
    low, *_, high = column.quantiles
    placeholders = column.placeholders
    least = low if column.minimum in placeholders else column.minimum
    return least, high if column.maximum in placeholders else column.maximum


def unseen_mass(column: StringColumn, records: int) -> float:
    """Return the probability that a record has none of the known categories.

    It is the share of training values outside the categories, and the share of values that occur once: Good-Turing's
    estimate of how many new ones the next records have (Good 1953, Biometrika 40).

    Args:
        column: The column.
        records: Number of records fitted on. With two or three folds, the categories are those of more records, and
            some that occur twice count as well.
    """
    holding = max(1.0, (1.0 - column.missing_share) * records)
    once = sum(share * holding < _NEARLY_TWICE for share in column.shares)
    outside = max(0.0, 1.0 - sum(column.shares))
    return float(outside + once / holding)


def categorical_sizes(schema: Schema, records: int) -> tuple[list[int], list[float]]:
    """Return the size of each categorical field and the probability that its value is not among its categories.

    Args:
        schema: The columns.
        records: Number of records fitted on.
    """
    columns = schema.categorical
    instants = schema.timestamps
    sizes = [len(column.categories) for column in columns] + list(timestamp.FIELDS) * len(instants)
    for field, size in CALENDAR_SIZES.items():
        sizes += [size] * sum(field in column.calendar for column in instants)
    sizes += [1 + len(column.placeholders) for column in schema.numeric if column.placeholders]
    return sizes, [unseen_mass(column, records) for column in columns] + [0.0] * (len(sizes) - len(columns))

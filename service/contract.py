"""The plain data of an exported model: what a reader finds in the metadata of `model.onnx`.

`training` writes these documents, `service` reads them, and `docs/artifact-format.md` specifies them for
readers in other languages. Each is one JSON document under its own key in the file's `metadata_props`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

MOST_KNOWN_VALUES = 256
"""A numeric column with more distinct values than this keeps none of them."""

MOST_PLACEHOLDERS = 8
"""Most placeholders of one numeric column."""

MOST_GOLDEN_RECORDS = 1_000
GREATEST_RELATIVE_TOLERANCE = 1e-3
GREATEST_ABSOLUTE_TOLERANCE = 0.1
"""Ten times those that training writes; with larger ones the golden records would show nothing."""

MOST_ZONE_OFFSETS = 20_000
"""Clock changes of one time zone; there are two a year."""

MOST_CORRELATED = 40
"""Most columns whose residuals an evaluation compares."""

MOST_FAULTS = 16
MOST_DETECTORS = 8
"""Most kinds of fault and most detectors in an evaluation."""

MOST_COUNTED = 2**53
"""Largest count in an evaluation: float64 holds every integer up to it exactly."""

MOST_LATENTS = 4096
"""Of a generator: each request draws that many numbers for each of a block of records."""

Value: TypeAlias = bool | int | float | str | None
"""What a column of a flat record can hold in JSON."""

EARLIEST_S = -62_135_596_800.0
"""The first instant that is accepted, 0001-01-01, in seconds since 1970-01-01T00:00:00Z."""
LATEST_S = 253_402_300_800.0
"""The first instant that is no longer accepted, 10000-01-01."""
HOURS_PER_DAY = 24
DAYS_PER_WEEK = 7
EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""
NO_CATEGORY = ""
"""What the `strings` input holds where a value is missing; `strings_observed` tells it from an empty string."""

MOST_FORM_CHARACTERS = 1_024
"""Of a longer text in a `TextColumn`, the others have no part in its form; its length is the whole one."""

OTHER_FORM = "other"
"""Category of a `TextColumn` for usual texts of all patterns that are not listed."""

LONGEST_RUN = 64
"""Longest run of one character class that a pattern can hold."""

# Each fraction has its use: the outermost bound rare values, the quartiles describe the column.
QUANTILE_FRACTIONS = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)

CalendarField: TypeAlias = Literal["month", "day"]

CALENDAR_SIZES: Mapping[CalendarField, int] = {"month": 12, "day": 31}
"""Parts of a date, and how many values each has."""

NumberForm: TypeAlias = Literal["epoch", "yyyymmdd"]
"""What a number means in a timestamp column."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Instant = Annotated[float, Field(ge=EARLIEST_S, lt=LATEST_S)]
"""Seconds since 1970-01-01T00:00:00Z, in the years 1 to 9999."""

_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,40})(?:\.0+)?")


class _Document(BaseModel):
    """A frozen document that refuses what it does not know, so that a typo cannot pass silently."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        # What is written has every field: `kind`, by which the kinds of columns are told apart, has a default.
        json_schema_serialization_defaults_required=True,
    )

    def __copy__(self) -> Self:
        """Copy the fields alone, because what was computed from them may not hold for the copy."""
        copied = super().__copy__()
        for name in self.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class ViolationCode(StrEnum):
    """What is certainly wrong with a value, whatever the record's score is."""

    BELOW_RANGE = "below_range"
    """A number or a time below what training saw, by more than the check's margin; a negative one where none was."""
    ABOVE_RANGE = "above_range"
    """A number or a time above what training saw, by more than the check's margin."""
    OFF_GRID = "off_grid"
    """A number that is no multiple of the step on which all training values lie."""
    UNSEEN_CATEGORY = "unseen_category"
    """A value that is not in the list of a column whose list is complete, a truth value that training never saw, or a
    number between the few that a column holds."""
    MISSPELLED_CATEGORY = "misspelled_category"
    """A value outside a list to which values are still added, like one in it but for a character or the case."""
    UNUSUAL_FORM = "unusual_form"
    """A text of a form that no normal one had: other characters, another number of them, pattern or spelling."""
    UNUSUAL_LENGTH = "unusual_length"
    """A text much shorter or longer than those that training saw."""
    UNEXPECTED_MISSING = "unexpected_missing"
    """A null in a column that held none in training."""


class Check(_Document):
    """A check of one column's values. `vaegis.training.checks` says how its limit is found."""

    code: ViolationCode
    limit: Finite | None = None
    """For a range, the least or the greatest value that passes, in the column's unit; for a grid, its step; for a truth
    value, the one that training saw."""


class Reading(_Document):
    """How the values of one column are written, where the rules that all columns share do not say it."""

    null_values: tuple[str, ...] = ()
    """Texts that are nulls; where one writes a number, that number is a null too."""
    decimal: Literal[".", ","] = "."
    """The decimal separator of numbers in text."""
    unit: str | None = None
    """What stands before or after the numbers, such as ``kg``, or nothing. None: text holds plain numbers alone."""
    format: str | None = None
    """How text writes instants, in the codes of C's ``strptime``; of several, separated by ``|``, the first that
    fits counts. ISO 8601 is read as well."""


class _Column(_Document):
    name: str
    reading: Reading | None = None
    """How its values are written; None: as the rules say that all columns share."""
    missing_share: Share
    """Share of the training records in which the column is null."""
    why: str = ""
    """Why training took the column for this kind, for people."""
    warnings: tuple[str, ...] = ()
    """What training warned of, for people."""
    checks: tuple[Check, ...] = ()
    """At most one of each code."""
    violating_share: Share = 0.0
    """Share of the calibration records whose value breaks a check."""


class NumericColumn(_Column):
    """A quantity: scored by a continuous likelihood, with a learned scale."""

    kind: Literal["numeric"] = "numeric"
    minimum: Finite
    maximum: Finite
    quantiles: tuple[Finite, ...] = Field(min_length=len(QUANTILE_FRACTIONS), max_length=len(QUANTILE_FRACTIONS))
    """Training quantiles at `QUANTILE_FRACTIONS`, in the column's own unit, without the `placeholders`."""
    step: Annotated[float, Field(ge=0.0)]
    """Grid on which every training value lies (1 for integers, 0.01 for cents); 0 where there is none."""
    values: Annotated[tuple[Finite, ...], Field(max_length=MOST_KNOWN_VALUES)] = ()
    """Every value that training saw, ascending, where they are few; else none. Generated numbers are among them."""
    placeholders: Annotated[tuple[Finite, ...], Field(max_length=MOST_PLACEHOLDERS)] = ()
    """Repeated values far from all others, such as -999, ascending. Each has a probability of its own, like a null."""
    noise_scale: Annotated[float, Field(gt=0.0)]
    """Scale of the noise around what the decoder expects of a record seen whole, in the column's own unit."""
    degrees_of_freedom: Annotated[float, Field(gt=0.0)]
    """Of the Student-t likelihood."""


class BooleanColumn(_Column):
    """A truth value, also as 0 and 1: scored by a Bernoulli likelihood."""

    kind: Literal["boolean"] = "boolean"
    true_share: Share
    """Share of true among the training records that hold a value."""
    as_number: bool = False
    """Whether training saw it as 0 and 1 rather than false and true; generated records keep that form."""


class TimestampColumn(_Column):
    """An instant: scored by its hour and weekday, and by its date as `calendar` says, in the column's time zone."""

    kind: Literal["timestamp"] = "timestamp"
    earliest: Instant
    latest: Instant
    calendar: tuple[CalendarField, ...] = ()
    """What is scored beside hour and weekday, in this order: the month where the history spans more than two years,
    the day of the month where it spans more than one."""
    number_form: NumberForm = "epoch"
    """What a number means: a time since 1970, whose size tells its unit, or a date as in 20240318."""
    zone: str = "UTC"
    """IANA name of the time zone, or a fixed offset as in ``+02:00``, for people; `offsets` holds what it means."""
    offsets: Annotated[tuple[tuple[Finite, Finite], ...], Field(max_length=MOST_ZONE_OFFSETS)] = ()
    """Pairs of an instant and an offset in seconds, ascending: from that instant on, local time is so far ahead of UTC.
    The first offset also holds before its instant. Without any, local time is UTC."""

    @model_validator(mode="after")
    def _offsets_ascend(self) -> TimestampColumn:
        if any(first[0] >= second[0] for first, second in pairwise(self.offsets)):
            raise ValueError("expected offsets in ascending order of time")
        if self.calendar not in ((), ("month",), ("day",), ("month", "day")):
            raise ValueError("expected month and day at most once, the month first")
        return self

    @property
    def are_times_of_day(self) -> bool:
        """Whether the values are times without a date."""
        return self.reading is not None and self.reading.format is not None and "%d" not in self.reading.format

    @property
    def spans_less_than_a_day(self) -> bool:
        """Whether training saw instants of less than a day, which tell nothing of the hours of other days."""
        return not self.are_times_of_day and self.latest - self.earliest < HOURS_PER_DAY * 3600


class StringColumn(_Column):
    """A column of the graph's input `strings`. Its likelihood is a softmax, with a share for all that is not listed."""

    categories: tuple[str, ...] = Field(min_length=1)
    """The known ones. The graph's code of one is its position; an unseen one has the code `len(categories)`."""
    shares: tuple[Share, ...]
    """Share of each category among the training records that hold a value."""

    @model_validator(mode="after")
    def _one_share_each(self) -> StringColumn:
        if len(self.shares) != len(self.categories):
            raise ValueError(f"expected {len(self.categories)} shares, got {len(self.shares)}")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError("expected unique categories, got one twice")
        return self

    @cached_property
    def knows_blank(self) -> bool:
        """Whether an empty text is a known category. Elsewhere it is a null, because CSV cannot tell the two apart."""
        return NO_CATEGORY in self.categories


CharacterClasses: TypeAlias = Literal["case", "letters", "alphanumeric", "set", "any"]
"""How finely patterns tell letters and digits apart. `set`: which classes there are, in no order; `any`: not at all."""


class TextColumn(StringColumn):
    """A text that is watched by its form alone: the categories are patterns, see `service.records.forms`."""

    kind: Literal["text"] = "text"
    classes: CharacterClasses
    longest_run: Annotated[int, Field(ge=1, le=LONGEST_RUN)]
    """Longer runs of one class are cut to this many characters."""
    lengths: tuple[int, ...] = Field(min_length=len(QUANTILE_FRACTIONS), max_length=len(QUANTILE_FRACTIONS))
    """Training quantiles of the number of characters, at `QUANTILE_FRACTIONS`."""
    usual_lengths: tuple[int, int | None]
    """The shortest and the longest text of usual length; None: no text is too long."""
    usual_counts: dict[str, tuple[Annotated[int, Field(ge=0)], int]]
    """Of each class of characters, as `case` tells them apart, how often a text usually holds it: at least, at most.
    Others are unusual in any number."""
    pairs: dict[Annotated[str, Field(pattern="^[\\x00-\\x7f]{2}$")], Annotated[int, Field(ge=0)]] = {}
    """-log P(second character | first), in hundredths of a nat, of the pairs that enough training records hold."""
    rare_pair: Annotated[int, Field(ge=0)] = 0
    """The same of every other pair."""
    usual_surprise: Annotated[int, Field(ge=0)] | None = None
    """The greatest usual mean of these over a text, in hundredths of a nat; None: spelling is not watched."""


class CategoricalColumn(StringColumn):
    """A value from a list: the categories are values."""

    kind: Literal["categorical"] = "categorical"
    form: TextColumn | None = None
    """The form of the values, where new ones may come and are checked by it; it has the column's name."""

    @cached_property
    def same_numbers(self) -> dict[str, str]:
        """Other ways to write categories that are whole numbers, each with its category: 101.0 is 101."""
        found: dict[str, str] = {}
        for category in self.categories:
            whole = _WHOLE_NUMBER.fullmatch(category)
            if whole:
                found |= dict.fromkeys((whole[1], f"{whole[1]}.0", f"{whole[1]}.00"), category)
        known = set(self.categories)
        return {other: category for other, category in found.items() if other not in known}


Column = Annotated[
    NumericColumn | BooleanColumn | TimestampColumn | CategoricalColumn | TextColumn,
    Field(discriminator="kind"),
]

WatchedColumn = Annotated[NumericColumn | TextColumn, Field(discriminator="kind")]
"""A column that is read and checked, but is not scored, because its values grow or name things."""


class IgnoredColumn(_Document):
    """A column that training left out of the model: accepted in records, and not read."""

    name: str
    reason: str
    warnings: tuple[str, ...] = ()
    """What training warned of, for people."""


class Schema(_Document):
    """The columns of a record.

    `numbers` and `strings`, the graph's inputs, hold them in this order: categorical and text columns in `strings`,
    all others in `numbers`.
    """

    columns: tuple[Column, ...] = Field(min_length=1)
    watched: tuple[WatchedColumn, ...] = ()
    """Columns that the graph does not take: their values are checked, and have no part in the score."""
    ignored: tuple[IgnoredColumn, ...] = ()
    violating_share: Share = 0.0
    """Share of the calibration records in which any column breaks a check."""

    @model_validator(mode="after")
    def _names_differ(self) -> Schema:
        names = [column.name for column in (*self.columns, *self.watched, *self.ignored)]
        twice = {name for name in names if names.count(name) > 1} if len(set(names)) != len(names) else set()
        if twice:
            raise ValueError(f"expected unique column names, got {min(twice)!r} twice")
        return self

    @cached_property
    def of_records(self) -> Schema:
        """The schema by which records are read: its columns are the scored ones, then the watched ones.

        The scored columns come first among the numbers, and among the strings.
        """
        if not self.watched:
            return self
        return self.model_copy(update={"columns": (*self.columns, *self.watched), "watched": ()})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the scored columns, in schema order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def number_positions(self) -> tuple[int, ...]:
        """Schema position of each column of the `numbers` input."""
        return tuple(i for i, column in enumerate(self.columns) if not isinstance(column, StringColumn))

    @cached_property
    def string_positions(self) -> tuple[int, ...]:
        """Schema position of each column of the `strings` input."""
        return tuple(i for i, column in enumerate(self.columns) if isinstance(column, StringColumn))

    @cached_property
    def numeric(self) -> tuple[NumericColumn, ...]:
        """The quantities."""
        return tuple(column for column in self.columns if isinstance(column, NumericColumn))

    @cached_property
    def timestamps(self) -> tuple[TimestampColumn, ...]:
        """The columns of times, in their order."""
        return tuple(column for column in self.columns if isinstance(column, TimestampColumn))

    @cached_property
    def categorical(self) -> tuple[CategoricalColumn | TextColumn, ...]:
        """The columns of the `strings` input."""
        return tuple(column for column in self.columns if isinstance(column, StringColumn))


class Calibration(_Document):
    """Scores of normal records, each by the member that was fitted without it, from which p-values are counted."""

    method: Literal["split-conformal", "cross-conformal"]
    """With one member and one fold, or with several."""
    alpha: Annotated[float, Field(gt=0.0, lt=1.0)]
    """Default share of normal records that may be flagged."""
    folds: tuple[Annotated[tuple[Finite, ...], Field(min_length=1)], ...] = Field(min_length=1)
    """For each member of the ensemble, in the order of the graph's `fold_scores`, its scores of the records it was
    fitted without: ascending, each raised by `tie_tolerance` so that rounding cannot part equal records."""
    tie_tolerance: Annotated[float, Field(ge=0.0)]
    """What was added to each score, as a share of max(1, |score|)."""
    history_anomalies: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the calibration scores, the highest, that training left out as those of anomalies."""

    @property
    def records(self) -> int:
        """Number of calibration records, over all folds."""
        return sum(map(len, self.folds))

    @model_validator(mode="after")
    def _folds_fit_the_method(self) -> Calibration:
        if (self.method == "split-conformal") != (len(self.folds) == 1):
            wanted = "one fold" if self.method == "split-conformal" else "several folds"
            raise ValueError(f"expected {wanted} for the method {self.method}, got {len(self.folds)}")
        # Comparing with a sorted copy takes a fifth of the time of a loop, and requests wait for this one.
        if any(list(fold) != sorted(fold) for fold in self.folds):
            raise ValueError("expected the scores of each fold in ascending order")
        if self.alpha * (self.records + 1) < 1.0 - 1e-9:
            raise ValueError(f"expected an alpha that {self.records} records can promise, got {self.alpha:g}")
        return self


class Provenance(_Document):
    """Where the model came from."""

    model_name: str
    created_at: AwareDatetime
    vaegis_version: str
    torch_version: str
    seed: int
    sources: tuple[str, ...]
    """Names of the files read, without their folders."""
    records: dict[str, int]
    """How many were `read`, `sampled`, used to `fit` and used for `calibration`; folds serve for both."""
    split: Literal["random", "by time"]
    settings: dict[str, object]
    """The training settings in force, as in `train.toml`."""
    fit: dict[str, object]
    """How fitting went: its length, losses in nats, whether it was interrupted."""


class GeneratorDocument(_Document):
    """A second ONNX graph, the decoder alone, which turns draws from the prior into column distributions."""

    model: str
    """The ONNX model, base64. Inputs `exemplar` and `latent_noise`; outputs `location`, `missing`, `categories`."""
    exemplars: Annotated[int, Field(ge=1)]
    """Number of components of the prior, all of equal weight."""
    latent_dim: Annotated[int, Field(ge=1, le=MOST_LATENTS)]
    degrees_of_freedom: Annotated[float, Field(gt=0.0)]
    """Of the Student-t kernels around the exemplars: `latent_noise` is drawn from one at width one."""


class GoldenScores(_Document):
    """What the graph gave for one golden record when the file was written."""

    score: Finite
    reconstruction_error: Finite
    kl: Finite


class Golden(_Document):
    """Records with the scores that every runtime must reproduce before the file is used."""

    records: tuple[dict[str, Value], ...] = Field(min_length=1, max_length=MOST_GOLDEN_RECORDS)
    """Invented records, drawn from the model and then altered: none is a user's."""
    scores: tuple[GoldenScores, ...]
    relative_tolerance: Annotated[float, Field(gt=0.0, le=GREATEST_RELATIVE_TOLERANCE)]
    absolute_tolerance: Annotated[float, Field(gt=0.0, le=GREATEST_ABSOLUTE_TOLERANCE)]
    """In the unit of what is compared."""

    @model_validator(mode="after")
    def _one_score_each(self) -> Golden:
        if len(self.scores) != len(self.records):
            raise ValueError(f"expected {len(self.records)} scores, got {len(self.scores)}")
        return self


class FaultsFound(_Document):
    """How many copies of normal records with one kind of fault the detectors flag."""

    fault: str
    """Kind of the fault; ``none`` for records as they were."""
    records: Annotated[int, Field(ge=1, le=MOST_COUNTED)]
    """How many of them there are."""
    found: dict[str, Annotated[int, Field(ge=0, le=MOST_COUNTED)]] = Field(max_length=MOST_DETECTORS)
    """How many a detector flags, by its name."""


class EvaluationDocument(_Document):
    """What training measured on calibration records, for people. Files may lack it."""

    residual_columns: tuple[str, ...] = Field(max_length=MOST_CORRELATED)
    """The scored columns, or those of them that correlate most."""
    residual_correlations: tuple[Annotated[float, Field(ge=-1.0, le=1.0)], ...]
    """Rank correlation of the residuals of two of these columns: the lower triangle, by rows, without the diagonal."""
    residual_records: Annotated[int, Field(ge=0, le=MOST_COUNTED)]
    """Records that they were measured on."""
    faults: tuple[FaultsFound, ...] = Field(max_length=MOST_FAULTS)

    @model_validator(mode="after")
    def _one_correlation_each(self) -> EvaluationDocument:
        columns = len(self.residual_columns)
        if len(self.residual_correlations) != columns * (columns - 1) // 2:
            raise ValueError(f"expected a correlation of each pair of {columns} columns")
        return self


class Contract(_Document):
    """All documents of one file."""

    columns: Schema
    calibration: Calibration
    provenance: Provenance
    generator: GeneratorDocument
    golden: Golden
    evaluation: EvaluationDocument | None = None

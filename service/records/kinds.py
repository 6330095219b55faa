"""The kinds of columns, and the kind of each column.

A new kind is a column in `contract`, a class here and a class in `training.data.kinds`, beside its likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaegis.service import draws
from vaegis.service.contract import (
    CALENDAR_SIZES,
    DAYS_PER_WEEK,
    HOURS_PER_DAY,
    QUANTILE_FRACTIONS,
    BooleanColumn,
    CategoricalColumn,
    Column,
    NumberForm,
    NumericColumn,
    StringColumn,
    TextColumn,
    TimestampColumn,
    Value,
)
from vaegis.service.grid import is_integral, on_grid
from vaegis.service.reasons import RARE_SHARE, Reason
from vaegis.service.records import values as rules
from vaegis.service.records.column_kind import ColumnKind, NumberKind
from vaegis.service.records.forms import OTHER, Forms
from vaegis.service.records.instants import instants_of_iso
from vaegis.service.terminal import counted

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_LARGEST_INTEGER: Final = 2.0**63
_LEAST_READ_TOGETHER: Final = 24  # instants in text: fewer are sooner read one by one
_MEDIAN: Final = QUANTILE_FRACTIONS.index(0.5)
_CATEGORIES_IN_STATISTICS: Final = 3
_CATEGORIES_IN_SCHEMA: Final = 20
_MOST_CHARACTERS_SHOWN: Final = 32
_MIDNIGHT: Final = "T00:00:00+00:00"
_TRUTH_WORDS: Final = {
    variant: float(index)
    for index, words in enumerate((("0", *rules.FALSE_WORDS), ("1", *rules.TRUE_WORDS)))
    for word in words
    for variant in (word, word.upper(), word.title())
}

_StringColumn = TypeVar("_StringColumn", bound=StringColumn)


class NumericKind(NumberKind[NumericColumn]):
    """A quantity."""

    expected = rules.NUMBER
    is_plain_number = True
    json_type = float | None  # NaN, which JSON does not have, stands for an absent key where only numbers may come
    json_absent = math.nan
    datatype = "FP64"

    parse = staticmethod(rules.number)
    draw = staticmethod(draws.numbers)

    def observed_range(self, column: NumericColumn) -> tuple[float, float]:
        return column.minimum, column.maximum

    def category_sizes(self, column: NumericColumn) -> tuple[int, ...]:
        return (1 + len(column.placeholders),) if column.placeholders else ()

    def _reason_of_value(self, column: NumericColumn, observed: float) -> Reason:
        if not column.minimum <= observed <= column.maximum:
            return Reason.OUT_OF_RANGE
        return _rare_or_not(is_rare=not column.quantiles[0] <= observed <= column.quantiles[-1])

    def shown(self, column: NumericColumn) -> Callable[[float], Value] | None:
        return _whole if is_integral(column) else None

    def expectation(self, column: NumericColumn) -> Callable[[float], Value]:
        written, (low, high) = on_grid(column), self.observed_range(column)
        # The decoder's mean has no bounds: a price may get one below 0.
        return lambda mean: written(min(max(mean, low), high))

    def json_schema(self, column: NumericColumn) -> dict[str, Any]:
        description = (
            f"A quantity; training saw {column.minimum:.6g} to {column.maximum:.6g}, "
            f"half of it below {column.quantiles[_MEDIAN]:.6g}. Text has to be a number or a marker of nulls."
        )
        # No pattern: it could not tell units and the model's own markers of nulls.
        return {"type": ["number", "string", "null"], "description": description}

    def statistics(self, column: NumericColumn) -> str:
        grid = f", step {column.step:g}" if column.step else ""
        listed = ", ".join(f"{value:.6g}" for value in column.placeholders)
        placeholders = f", placeholder {listed}" if listed else ""
        median = column.quantiles[_MEDIAN]
        return f"{column.minimum:.6g} to {column.maximum:.6g}, median {median:.6g}{grid}{placeholders}"

    def drawn_type(self, column: NumericColumn) -> np.dtype[Any]:
        fits = column.minimum >= -_LARGEST_INTEGER and column.maximum < _LARGEST_INTEGER
        return np.dtype(np.int64 if is_integral(column) and fits else np.float64)

    def drawn_json(self, column: NumericColumn, drawn: NDArray[Any]) -> list[Value]:
        return list(map(int, drawn.tolist())) if is_integral(column) else drawn.tolist()


class ConstantTruthKind(NumericKind):
    """A quantity that was 0 throughout, or 1 throughout, in training: it may be a truth value."""

    expected = rules.INDICATOR
    takes_truths = True
    is_plain_number = False
    json_type = bool | float | None

    parse = staticmethod(rules.indicator)


class BooleanKind(NumberKind[BooleanColumn]):
    """A truth value that training saw as false and true."""

    expected = rules.TRUTH
    takes_truths = True
    only_truths = True
    json_type = bool | float | None
    json_absent = math.nan
    datatype = "BOOL"
    drawn = "bool"

    parse = staticmethod(rules.truth)
    draw = staticmethod(draws.truths)

    def parse_uniform(self, texts: list[str]) -> NDArray[np.float64] | None:
        words = [_TRUTH_WORDS.get(text) for text in texts]
        return None if None in words else np.array(words, dtype=np.float64)

    def of_numbers(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        return numbers, ~((numbers == 0) | (numbers == 1) | np.isnan(numbers))

    def _reason_of_value(self, column: BooleanColumn, observed: float) -> Reason:
        if observed not in (0, 1):
            return Reason.OUT_OF_RANGE
        share = column.true_share if observed else 1.0 - column.true_share
        return _rare_or_not(is_rare=share < RARE_SHARE) if share else Reason.UNSEEN_CATEGORY

    def shown(self, column: BooleanColumn) -> Callable[[float], Value] | None:
        return _truth

    def expectation(self, column: BooleanColumn) -> Callable[[float], Value]:
        return lambda share: share >= 0.5  # noqa: PLR2004 - the likelier of the two

    def json_schema(self, column: BooleanColumn) -> dict[str, Any]:
        # No enum: of values of several types, generators of clients can make no type.
        return {
            "type": ["boolean", "integer", "string", "null"],
            "minimum": 0,
            "maximum": 1,
            "description": "A truth value: true, false, 1 or 0, also as text.",
        }

    def statistics(self, column: BooleanColumn) -> str:
        return f"{column.true_share:.2%} true"


class IndicatorKind(BooleanKind):
    """A truth value that training saw as 0 and 1: any other number is an anomaly, not an error."""

    expected = rules.INDICATOR
    only_truths = False
    datatype = "FP64"
    drawn = "int64"

    parse = staticmethod(rules.indicator)

    def of_numbers(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        return numbers, np.isinf(numbers)

    def observed_range(self, column: BooleanColumn) -> tuple[float, float]:
        return 0.0, 1.0

    def json_schema(self, column: BooleanColumn) -> dict[str, Any]:
        return {
            "type": ["boolean", "number", "string", "null"],
            "description": "0 or 1. Another number is legal, and anomalous.",
        }

    def drawn_json(self, column: BooleanColumn, drawn: NDArray[Any]) -> list[Value]:
        values: list[Value] = drawn.astype(np.int64).tolist()
        return values


class TimestampKind(NumberKind[TimestampColumn]):
    """An instant, in seconds since 1970-01-01T00:00:00Z."""

    expected = rules.INSTANT
    takes_instants = True
    json_type = str | float | None
    json_is_number = False
    datatype = "BYTES"
    drawn = "datetime64[us]"

    parse = staticmethod(rules.instant)
    draw = staticmethod(draws.instants)

    def parse_uniform(self, texts: list[str]) -> NDArray[np.float64] | None:
        if len(texts) >= _LEAST_READ_TOGETHER:
            return instants_of_iso(texts)
        try:
            return np.array([self.parse(text) for text in texts])
        except rules.RefusedValueError:
            return None

    def of_numbers(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        seconds = rules.instants_of_numbers(numbers)
        return seconds, ~rules.in_calendar(seconds)

    def category_sizes(self, column: TimestampColumn) -> tuple[int, ...]:
        return HOURS_PER_DAY, DAYS_PER_WEEK, *(CALENDAR_SIZES[field] for field in column.calendar)

    def _reason_of_value(self, column: TimestampColumn, observed: float) -> Reason:
        return Reason.RARE_COMBINATION

    def shown(self, column: TimestampColumn) -> Callable[[float], Value] | None:
        return _iso_or_number

    def expectation(self, column: TimestampColumn) -> Callable[[float], Value]:
        return partial(_weekday_and_hour, zone=column.zone)

    def json_schema(self, column: TimestampColumn) -> dict[str, Any]:
        return {
            "type": ["string", "number", "null"],
            "description": "An instant: ISO 8601 (UTC if without an offset), or a number, also as text, of seconds, "
            "milliseconds, microseconds or nanoseconds since 1970, told apart by its size.",
        }

    def statistics(self, column: TimestampColumn) -> str:
        first, last = (rules.iso_instant(end, "seconds") for end in (column.earliest, column.latest))
        if column.are_times_of_day:
            return f"{first[11:19]} to {last[11:19]}"
        are_days = first.endswith(_MIDNIGHT) and last.endswith(_MIDNIGHT)
        if are_days:
            first, last = first.removesuffix(_MIDNIGHT), last.removesuffix(_MIDNIGHT)
        zone = "" if are_days and column.zone == "UTC" else f", hours of {column.zone}"
        return f"{first} to {last}{zone}"

    def not_seen(self, column: TimestampColumn) -> str:
        if column.are_times_of_day:
            return "a wrong minute, because only the hour is scored"
        if column.spans_less_than_a_day:
            return "a wrong time, because the history spans less than a day"
        passing = "a wrong date within the checked range" if column.checks else "a wrong date"
        parts = {"month": "the month", "day": "the day of the month"}
        scored = ["the hour", "the weekday", *(parts[field] for field in column.calendar)]
        return f"{passing}, because only {', '.join(scored[:-1])} and {scored[-1]} are scored"

    def drawn_json(self, column: TimestampColumn, drawn: NDArray[Any]) -> list[Value]:
        return [rules.iso_instant(seconds) for seconds in drawn.tolist()]


class CalendarDateKind(TimestampKind):
    """An instant whose numbers write a date as in 20240318."""

    expected = rules.CALENDAR_DATE

    def parse(self, value: object) -> float:
        if isinstance(value, str):
            try:
                number = rules.number_of_text(value)
            except rules.RefusedValueError:
                return rules.instant_of_text(value)
            return number if math.isnan(number) else self.parse(number)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return rules.instant(value)
        seconds = float(rules.instants_of_yyyymmdd(np.array([rules.number(value)]))[0])
        if math.isnan(seconds):
            raise rules.RefusedValueError("invalid_timestamp", f"expected {self.expected}, got another number")
        return seconds

    def of_numbers(self, numbers: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        seconds = rules.instants_of_yyyymmdd(numbers)
        return seconds, np.isnan(seconds) & ~np.isnan(numbers)

    def json_schema(self, column: TimestampColumn) -> dict[str, Any]:
        return {
            "type": ["string", "number", "null"],
            "description": "A date as in 20240318, also as text, or ISO 8601 (UTC if without an offset).",
        }


class StringKind(ColumnKind[_StringColumn]):
    """A kind whose values stand in the graph's input `strings`."""

    expected = rules.CATEGORY
    takes_truths = True
    json_type = str | int | float | bool | None
    datatype = "BYTES"

    def category_sizes(self, column: _StringColumn) -> tuple[int, ...]:
        return (len(column.categories),)

    def shown(self, column: _StringColumn) -> Callable[[str], Value] | None:
        return None

    def expectation(self, column: _StringColumn) -> Callable[[float], Value]:
        return lambda code: column.categories[int(code)]


class CategoricalKind(StringKind[CategoricalColumn]):
    """One of a list of values."""

    draw = staticmethod(draws.categories)

    def known_categories(self, column: CategoricalColumn) -> frozenset[str] | None:
        return frozenset(column.categories)

    def _reason_of_value(self, column: CategoricalColumn, observed: str) -> Reason:
        if observed not in column.categories:
            return Reason.UNSEEN_CATEGORY
        return _rare_or_not(is_rare=_share(column, observed) < RARE_SHARE)

    def json_schema(self, column: CategoricalColumn) -> dict[str, Any]:
        return {
            "type": ["string", "integer", "boolean", "null"],
            "description": f"A category; training knew {len(column.categories)}. Another one is legal, and anomalous.",
            "examples": list(column.categories[:_CATEGORIES_IN_SCHEMA]),
        }

    def statistics(self, column: CategoricalColumn) -> str:
        return f"{counted(len(column.categories), 'category', 'categories')}: {_commonest(column)}"


class TextKind(StringKind[TextColumn]):
    """A text that is watched by its form alone: the graph takes its pattern as a category."""

    draw = staticmethod(draws.texts)

    def forms(self, column: TextColumn) -> Callable[[Sequence[str]], list[str]]:
        return Forms(column).of

    def not_seen(self, column: TextColumn) -> str:
        return "another text of the same form, because only the form is scored"

    def _reason_of_value(self, column: TextColumn, observed: str) -> Reason:
        forms = Forms(column)
        if not all(forms.have_usual_lengths([observed])):
            return Reason.UNUSUAL_LENGTH
        form = forms.of([observed])[0]
        if form == OTHER or form not in column.categories:
            return Reason.UNUSUAL_FORM
        return _rare_or_not(is_rare=_share(column, form) < RARE_SHARE)

    def json_schema(self, column: TextColumn) -> dict[str, Any]:
        low, high = column.lengths[0], column.lengths[-1]
        return {
            "type": ["string", "integer", "boolean", "null"],
            "description": f"A text whose form alone is scored; mostly {low} to {high} characters in training. "
            f"Its commonest pattern is {_commonest_pattern(column)!r}.",
        }

    def statistics(self, column: TextColumn) -> str:
        low, high = column.lengths[0], column.lengths[-1]
        patterns = counted(len(column.categories), "pattern")
        return f"{patterns}: {_commonest(column)}; {low if low == high else f'{low} to {high}'} characters"


NUMERIC: Final = NumericKind()
BOOLEAN: Final = BooleanKind()
INDICATOR: Final = IndicatorKind()
CONSTANT_TRUTH: Final = ConstantTruthKind()
TIMESTAMP: Final = TimestampKind()
CALENDAR_DATE: Final = CalendarDateKind()
CATEGORICAL: Final = CategoricalKind()
TEXT: Final = TextKind()

_NUMBER_KINDS: Final[dict[str, NumberKind[Any]]] = {"numeric": NUMERIC, "boolean": BOOLEAN, "timestamp": TIMESTAMP}
_STRING_KINDS: Final[dict[str, StringKind[Any]]] = {"categorical": CATEGORICAL, "text": TEXT}


def kind_of(column: Column) -> ColumnKind[Any]:
    """Return a column's kind."""
    return _STRING_KINDS[column.kind] if column.kind in _STRING_KINDS else number_kind_of(column)


def number_kind_of(column: Column) -> NumberKind[Any]:
    """Return the kind of a column of the graph's input `numbers`.

    Raises:
        KeyError: The column is of the input `strings`.
    """
    if isinstance(column, NumericColumn) and column.minimum == column.maximum and column.minimum in (0.0, 1.0):
        return CONSTANT_TRUTH
    if isinstance(column, BooleanColumn) and column.as_number:
        return INDICATOR
    return number_kind_named(column.kind, column.number_form if isinstance(column, TimestampColumn) else "epoch")


def number_kind_named(name: str, number_form: NumberForm = "epoch") -> NumberKind[Any]:
    """Return the kind that `contract` and the settings of training call ``name``; a timestamp's by its numbers."""
    if name == "timestamp" and number_form == "yyyymmdd":
        return CALENDAR_DATE
    return _NUMBER_KINDS[name]


def _rare_or_not(*, is_rare: bool) -> Reason:
    return Reason.RARE_VALUE if is_rare else Reason.RARE_COMBINATION


def _share(column: StringColumn, category: str) -> float:
    return column.shares[column.categories.index(category)]


def _commonest(column: StringColumn) -> str:
    """Return the commonest categories with their shares; of long ones the beginning."""
    commonest = sorted(zip(column.shares, column.categories, strict=True), key=lambda pair: -pair[0])
    shown = [(share, _shortened(category)) for share, category in commonest[:_CATEGORIES_IN_STATISTICS]]
    named = ", ".join(f"{category} {share:.2%}" for share, category in shown)
    return named + (", ..." if len(commonest) > _CATEGORIES_IN_STATISTICS else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS_SHOWN else f"{text[: _MOST_CHARACTERS_SHOWN - 3]}..."


def _commonest_pattern(column: TextColumn) -> str:
    return max(zip(column.shares, column.categories, strict=True))[1]


def _whole(value: float) -> Value:
    return int(value) if value.is_integer() else value


def _truth(value: float) -> Value:
    return bool(value) if value in (0, 1) else value


def _weekday_and_hour(expected: float, zone: str) -> Value:
    weekday, hour = divmod(int(expected), HOURS_PER_DAY)
    return f"{WEEKDAYS[weekday]} {hour:02}:00 {zone}"


def _iso_or_number(seconds: float) -> Value:
    """Return an instant in ISO 8601, or the number itself outside the years 1 to 9999."""
    try:
        return rules.iso_instant(seconds)
    except OverflowError:
        return seconds

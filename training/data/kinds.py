"""Decide the kind of each column from its profile or `train.toml`, or why it is not scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vaegis.service.contract import NumberForm, Reading
from vaegis.service.records.column_names import nearest_hint, setting_of, shown
from vaegis.service.records.reading import MARK_OF_TEXT, is_currency, reader_for
from vaegis.service.terminal import counted
from vaegis.training.config import TIME_KIND, ColumnSettings, Kind, KindSettings, TrainConfig
from vaegis.training.data.column_zones import common_zone, zone_warning, zones_in
from vaegis.training.data.kind_messages import (
    Locate,
    how_to_read,
    place_of,
    units_of,
    warnings_of_categories,
    warnings_of_text,
)
from vaegis.training.data.profiling.other_text import OtherText
from vaegis.training.data.profiling.profile import ColumnProfile, DataProfile, Form, FormChange
from vaegis.training.data.profiling.text_profile import Parsed, TextProfile
from vaegis.training.data.profiling.written_dates import DAY, DateWriting
from vaegis.training.data.profiling.written_numbers import NumberWriting
from vaegis.training.errors import ConfigError, DataError

LIST_KIND: Kind = "categorical"
"""The kind of texts from a list of values."""
FORM_ALONE = "only its form will be watched"
"""What the reason of a column of text says last."""

_MOSTLY = 0.5
"""If at least this share of the texts parses as one kind, the others are errors; below it, the column is text."""
_NEARLY_ALL = 0.8
"""The same where few texts differ and several do not parse."""
_FEWEST_FOR_IDENTIFIER = 20
"""Values below which it says nothing that all of them differ."""
_WATCHED: dict[Form, Literal["numeric", "text"]] = {Form.NUMBER: "numeric", Form.TEXT: "text"}
_NOT_CATEGORIES = ("decimal", "duration")
"""Arrow types that are numbers, but none that could name a category; whole floats can."""
_UNSCORED = ("list", "map")
"""What Arrow's names of types hold for the values that people know by these words."""


@dataclass(frozen=True, slots=True)
class TrainingKind:
    """What a kind decides until a column's statistics are known; `service.records.kinds` has the rest.

    Attributes:
        forms: What the values may be where the kind is set.
        parsed: Takes the profile of texts, and returns those that are values of the kind, in each way to write them;
            nothing where any text is one.
        is_joined_as_text: Whether values whose types differ are joined as text.
        joined_form: Values of this form are joined as the kind where none is set: they have several types.
    """

    forms: frozenset[Form]
    parsed: Callable[[TextProfile], tuple[Parsed, ...]]
    is_joined_as_text: bool = False
    joined_form: Form | None = None


KINDS: dict[Kind, TrainingKind] = {
    "numeric": TrainingKind(frozenset({Form.NUMBER, Form.TEXT}), lambda text: (text.numbers,), joined_form=Form.NUMBER),
    "boolean": TrainingKind(
        frozenset({Form.NUMBER, Form.BOOLEAN, Form.TEXT}), lambda text: (text.truths,), is_joined_as_text=True
    ),
    "timestamp": TrainingKind(
        frozenset({Form.NUMBER, Form.INSTANT, Form.TEXT}),
        lambda text: (text.times, text.numbers),
        joined_form=Form.INSTANT,
    ),
    "categorical": TrainingKind(
        frozenset({Form.NUMBER, Form.BOOLEAN, Form.TEXT}), lambda _: (), is_joined_as_text=True
    ),
    "text": TrainingKind(frozenset({Form.NUMBER, Form.BOOLEAN, Form.TEXT}), lambda _: (), is_joined_as_text=True),
}


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What training does with one column.

    Attributes:
        name: Its name.
        kind: Its kind; None if it is not scored.
        reason: Why, as is printed and as stands in the model.
        reading: How its values are written, where the common rules do not say it.
        warnings: What the user should know of it beyond that, a sentence or two each.
        number_form: What its numbers mean if it is a timestamp.
        watched: Its kind if it is not scored and its values are checked all the same.
        limits: The least and the greatest number that a watched column may hold; None where any may come.
        zone: The time zone whose hours and weekdays are scored if it is a timestamp.
        leaves_range: Whether its newest numbers lie outside the range of the rest more often than by chance.
    """

    name: str
    kind: Kind | None
    reason: str
    reading: Reading | None = None
    warnings: tuple[str, ...] = ()
    number_form: NumberForm = "epoch"
    zone: str = "UTC"
    watched: Literal["numeric", "text"] | None = None
    limits: tuple[float | None, float | None] = (None, None)
    leaves_range: bool = False


_KINDS_OF_FORMS: dict[Form, Kind] = {Form.NUMBER: "numeric", Form.BOOLEAN: "boolean", Form.INSTANT: "timestamp"}
"""What values may be set to be read as whose types differ, beside categories."""


def plan_columns(
    profile: DataProfile, config: TrainConfig, locate: Locate = lambda _, __: None
) -> tuple[ColumnPlan, ...]:
    """Return the plan for each column, in the order of the records.

    Args:
        profile: What all records hold.
        config: The settings.
        locate: Finds the text that a message is about.

    Raises:
        ConfigError: The settings name a column that the records do not have.
        DataError: A column changes its type half way, a kind that is set does not fit, or no column can be scored.
    """
    names = [column.name for column in profile.columns]
    for name in config.columns:
        _check_known(name, names, f"columns.{json.dumps(name)}")
    if config.data.time_column is not None:
        _check_known(config.data.time_column, names, "data.time_column")
    if config.splits.group_column is not None:
        _check_known(config.splits.group_column, names, "splits.group_column")
        if config.data.time_column is not None:
            raise ConfigError("expected data.time_column or splits.group_column, got both: groups span times")
    plans = tuple(_in_zone(_plan(column, config, locate), column, config) for column in profile.columns)
    check_any_scored(plans)
    return plans


def check_any_scored(plans: tuple[ColumnPlan, ...]) -> None:
    """Raise `DataError` if no column can be scored."""
    if not plans:
        raise DataError("expected records with columns, got records without any")
    if all(plan.kind is None for plan in plans):
        reasons = "; ".join(f"{shown(plan.name)}: {plan.reason}" for plan in plans[:10])
        raise DataError(f"expected at least one column to score, got {len(plans)} that cannot be ({reasons})")


def kind_of_joined(form: Form) -> Kind | None:
    """Return what values of one form but several types are joined as where no kind is set."""
    return next((name for name, kind in KINDS.items() if kind.joined_form is form), None)


def _in_zone(plan: ColumnPlan, column: ColumnProfile, config: TrainConfig) -> ColumnPlan:
    """Return a plan with the zone in the settings, or else that of the values, if all have the same."""
    settings = config.columns.get(column.name, ColumnSettings())
    zones = zones_in(column)
    plan = replace(plan, zone=settings.timezone or common_zone(zones))
    warning = zone_warning(column.name, zones, settings.timezone) if plan.kind == TIME_KIND else None
    return plan if warning is None else replace(plan, warnings=(*plan.warnings, warning))


def _plan(column: ColumnProfile, config: TrainConfig, locate: Locate) -> ColumnPlan:
    name = column.name
    settings = config.columns.get(name, ColumnSettings())
    reading = _set_reading(settings, config.data.null_values)
    if settings.kind == "ignore":
        return ColumnPlan(name, None, "set in train.toml", reading)
    if not column.observed:
        return ColumnPlan(name, None, "every value is null")
    wanted = settings.kind or (
        "timestamp" if settings.format else "numeric" if settings.decimal or settings.unit else None
    )
    if wanted is not None:
        written = _written_as(column, wanted, reading)
        _check_fits(column, wanted, written)
        return ColumnPlan(name, wanted, "set in train.toml", written)
    if name == config.splits.group_column:
        why = "splits.group_column: records that calibrate have values that were not fitted"
        watched = None if column.form is None or column.change is not None else _WATCHED.get(column.form)
        return ColumnPlan(name, None, why, reading, watched=watched)
    if column.change is not None:
        change = column.change
        expected = f"expected {change.was} as in the records before, got {change.now}"
        raise DataError(f"{change.location}, column {shown(name)}: {expected}; {_how_to_set(name, change)}")
    plan = _inferred(column, config.kinds, locate)
    if reading is None or (plan.kind is None and plan.watched is None):
        return plan
    found = plan.reading or Reading()
    return replace(plan, reading=found.model_copy(update={"null_values": reading.null_values}))


def _set_reading(settings: ColumnSettings, null_values: Sequence[str]) -> Reading | None:
    """Return the reading that the settings give; None where they give none."""
    nulls = tuple(null_values if settings.null_values is None else settings.null_values)
    reading = Reading(
        null_values=nulls, decimal=settings.decimal or ".", unit=_set_unit(settings), format=settings.format
    )
    return None if reading == Reading() else reading


def _set_unit(settings: ColumnSettings) -> str | None:
    return "" if settings.unit is None and settings.decimal is not None else settings.unit


def _written_as(column: ColumnProfile, wanted: Kind, reading: Reading | None) -> Reading | None:
    """Return how the texts of a column write a kind that is set; the reading that is set where they are plain."""
    text, nulls = column.text, () if reading is None else reading.null_values
    if text is None:
        return reading
    if wanted == "numeric" and text.numbers.first_other is not None and text.written is not None:
        if reading is None or (reading.unit is None and reading.decimal == "."):
            return Reading(null_values=nulls, decimal=text.written.decimal, unit=text.written.unit)
        return reading if reading.unit else reading.model_copy(update={"unit": text.written.unit})
    is_open = reading is None or reading.format is None
    if wanted == "timestamp" and is_open and text.instants.first_other is not None and text.dates is not None:
        return Reading(null_values=nulls, format=_only_format(column, text.dates))
    return reading


def _inferred(column: ColumnProfile, settings: KindSettings, locate: Locate) -> ColumnPlan:
    if column.form is Form.BOOLEAN:
        return ColumnPlan(column.name, "boolean", "true and false")
    if column.form is Form.INSTANT and all(name.startswith("time") and "stamp" not in name for name in column.types):
        return ColumnPlan(column.name, "timestamp", "times of day", Reading(format="%H:%M:%S"))
    if column.form is Form.INSTANT:
        return ColumnPlan(column.name, "timestamp", "timestamps")
    if column.form is Form.NUMBER:
        plan = _plan_numbers(column)
        are_durations = plan.kind == "numeric" and all(name.startswith("duration") for name in column.types)
        return replace(plan, reason="durations in seconds") if are_durations else plan
    if column.text is not None:
        return _plan_text(column, column.text, settings, locate)
    return ColumnPlan(column.name, None, _why_not_scored(column))


def _why_not_scored(column: ColumnProfile) -> str:
    if column.not_utf8 is not None:
        return f"bytes that are not UTF-8 ({column.not_utf8}) are not scored; if they are text, write it as UTF-8"
    named = next((f"{kind}s" for kind in _UNSCORED if kind in column.types[0]), f"values of type {column.types[0]}")
    return f"{named} are not scored"


def _plan_numbers(column: ColumnProfile) -> ColumnPlan:
    numbers = column.numbers
    if not numbers.count:
        return ColumnPlan(column.name, None, "every value is NaN or infinite")
    if numbers.are_consecutive:
        return ColumnPlan(column.name, None, "consecutive integers: a row number", watched="numeric")
    if numbers.are_zero_and_one:
        return ColumnPlan(column.name, "boolean", "numbers, all 0 or 1")
    return ColumnPlan(column.name, "numeric", "numbers", warnings=_warnings_of_infinite(column))


def _warnings_of_infinite(column: ColumnProfile) -> tuple[str, ...]:
    if not column.numbers.infinite:
        return ()
    values = counted(column.numbers.infinite, "infinite value")
    warning = (
        f"training reads {values} as null, but scoring refuses such values. To read them as null in both, set "
        f'{setting_of(column.name, "null_values")} = ["inf", "-inf"]'
    )
    return (warning,)


def _plan_text(column: ColumnProfile, text: TextProfile, settings: KindSettings, locate: Locate) -> ColumnPlan:
    """Return the plan for texts, which may stand for anything."""
    is_code = text.has_leading_zeros and not text.has_fractions
    if text.numbers.count and text.numbers.first_other is None and not is_code and text.written is None:
        return _plan_numbers(column)
    if text.truths.count and text.are_flags:
        return ColumnPlan(column.name, "boolean", "text, all true or false; other text will be refused")
    if text.instants.count and text.instants.first_other is None:
        return ColumnPlan(column.name, "timestamp", "dates and times in text")
    if text.instants.count and text.times.first_other is None:
        return ColumnPlan(column.name, "timestamp", "dates and times in text, and numbers since 1970")
    are_written = text.written is not None and text.written.records == text.records
    are_dates = text.dates is not None and text.dates.records == text.records and not are_written
    if not is_code and not are_written and not are_dates:
        _check_all(column, text, text.numbers, text.other, "a number")
    if not are_dates and not (text.dates is not None and text.dates.swapped):
        _check_all(column, text, text.instants, text.other_instant, "an ISO 8601 date or timestamp")
    return (
        _plan_written(column, text, locate)
        or _plan_dates(column, text, locate)
        or _plan_periods(column, text)
        or _plan_categories(column, text, settings)
    )


def _plan_written(column: ColumnProfile, text: TextProfile, locate: Locate) -> ColumnPlan | None:
    """Return the plan for numbers with units or separators; None where the texts are none."""
    written = text.written
    if written is None or (text.has_leading_zeros and not written.units):
        return None
    if written.records < text.records:
        share = written.records / text.records
        place = (
            f"{place_of(column.name, written.other, locate)}: expected a number{_with(written.unit)} as in {share:.1%}"
        )
        if len(written.units) <= 1 and share >= _MOSTLY:
            how = how_to_read(column.name, written.other, text.records)
            raise DataError(f"{place} of the values, got other text; {how}")
        if len(written.units) > 1 and share >= _NEARLY_ALL and text.distinct > _FEWEST_FOR_IDENTIFIER:
            raise DataError(f"{place} of the values, got {_several_units(column, written)}")
        return None
    what = f"numbers{_with(written.unit)}" if written.unit else "numbers with separators or signs"
    why = f"{what}, {_example(written.example, f'{written.example_number:.15g}')}"
    warning = (
        "nothing tells whether the comma parts thousands, as it is read, or decimals; "
        f'for those set {setting_of(column.name, "decimal")} = "," in train.toml'
    )
    reading = Reading(decimal=written.decimal, unit=written.unit)
    return ColumnPlan(column.name, "numeric", why, reading, (warning,) if written.is_ambiguous else ())


def _plan_dates(column: ColumnProfile, text: TextProfile, locate: Locate) -> ColumnPlan | None:
    """Return the plan for dates in a format other than ISO 8601; None where the texts are none."""
    dates = text.dates
    if dates is None:
        return None
    are_times = DAY not in dates.formats[0]
    if dates.records < text.records:
        if are_times:
            return None  # Durations rather, of more than a day.
        raise DataError(
            f"{place_of(column.name, dates.other, locate)}: expected a date in the form {dates.formats[0]} as in "
            f"{dates.records / text.records:.1%} of the values, got {_other_date(column, text, dates)}"
        )
    only = _only_format(column, dates)
    forms = " and ".join(only.split("|"))
    what = f"{'times of day' if are_times else 'dates'} in the form{'s' if '|' in only else ''} {forms}"
    what = f"{what} and in ISO 8601" if dates.beside_iso else what
    read_as = (reader_for(Reading(format=only)).text(dates.example) or "").removesuffix("+00:00")
    read_as = read_as[len("1970-01-01T") :] if are_times else read_as.removesuffix("T00:00:00")
    return ColumnPlan(column.name, "timestamp", f"{what}, {_example(dates.example, read_as)}", Reading(format=only))


def _other_date(column: ColumnProfile, text: TextProfile, dates: DateWriting) -> str:
    """Return what a message says of the text that the format of a column's dates does not read."""
    if dates.swapped is None:
        return f"other text; {how_to_read(column.name, dates.other, text.records)}"
    return (
        f"one in the form {dates.swapped}: nothing tells which of the two the others have. Write all in one form, or "
        f'set in train.toml {setting_of(column.name, "kind")} = "text" (or "ignore")'
    )


def _plan_periods(column: ColumnProfile, text: TextProfile) -> ColumnPlan | None:
    """Return the plan for labels of periods, which do not come back; None where the texts are none."""
    if text.period_like is None or text.distinct > _MOSTLY * column.observed:
        return None
    why = f"periods such as {text.period_like}: the next one would be a new category"
    return ColumnPlan(column.name, None, why, watched="text")


def _only_format(column: ColumnProfile, dates: DateWriting) -> str:
    """Return the one format of dates; refuse those of which nothing tells the order of day and month."""
    if len(dates.formats) == 1:
        return dates.formats[0]
    choices = " or ".join(f'"{each}"' for each in dates.formats)
    parts = "the day, with the month or with the year" if "%y" in choices else "the day or with the month"
    raise DataError(
        f"column {shown(column.name)}: do its dates begin with {parts}? The records allow each of these; set in "
        f"train.toml {setting_of(column.name, 'format')} = {choices}"
    )


def _example(text: str, read_as: str) -> str:
    return f"so {json.dumps(text, ensure_ascii=False)} is read as {read_as}"


def _with(unit: str) -> str:
    if not unit:
        return ""
    if unit == MARK_OF_TEXT:
        return " after an apostrophe"
    return f" with a currency sign ({unit})" if is_currency(unit) else f" with the unit {unit}"


def _plan_categories(column: ColumnProfile, text: TextProfile, settings: KindSettings) -> ColumnPlan:
    """Return the plan for text: a category, or if it is an identifier, free text or too varied, its form."""
    name, seen = column.name, column.observed
    warnings = warnings_of_text(name, text)
    if text.mean_characters > settings.max_mean_characters:
        why = f"free text: {text.mean_characters:.0f} characters on average; {FORM_ALONE}"
        return ColumnPlan(name, "text", why, warnings=warnings)
    if seen >= _FEWEST_FOR_IDENTIFIER and text.distinct > settings.max_distinct_share * seen:
        why = f"an identifier: {text.distinct} of {seen} values differ; {FORM_ALONE}"
        return ColumnPlan(name, "text", why, warnings=warnings)
    # A value that came once says as little of the next records as an identifier does.
    least = 2 if seen >= _FEWEST_FOR_IDENTIFIER else 1
    kept = [count for count in text.counts[: settings.max_categories] if count >= least]
    covered = sum(kept) / seen
    more = "at least " if text.is_capped else ""
    if covered < settings.min_category_share:
        values = f"{more}{counted(text.distinct, 'value')}, of which the {len(kept)} commonest cover {covered:.1%}"
        return ColumnPlan(name, "text", f"too varied: {values}; {FORM_ALONE}", warnings=warnings)
    if text.dated is not None:
        why = f"texts with a date, such as {shown(text.dated)}: the next ones would be new categories; {FORM_ALONE}"
        return ColumnPlan(name, "text", why, warnings=warnings)
    # Where all are kept, the statistics say how many there are.
    values = f" with {more}{counted(text.distinct, 'value')}" if text.distinct > settings.max_categories else ""
    leading = ", numbers with leading zeros" if text.has_leading_zeros else ""
    warnings += warnings_of_categories(name, text)
    return ColumnPlan(name, "categorical", f"text{values}{leading}", warnings=warnings)


def _check_all(
    column: ColumnProfile, text: TextProfile, parsed: Parsed, other: OtherText | None, expected: str
) -> None:
    """Refuse a column if at least half of its texts parse, but not all: it changes its type half way.

    If many texts differ, records of the commonest other text do not count, because it may stand for a null. If few
    differ and several do not parse, four in five have to: sizes such as 38, 40, M and L are categories.
    """
    seen = column.observed - text.markers
    others = 0 if other is None else other.records
    if parsed.first_other is None or not parsed.count:
        return
    is_varied = text.distinct > _FEWEST_FOR_IDENTIFIER
    if not is_varied and other is not None and other.distinct > 1 and parsed.count < _NEARLY_ALL * seen:
        return
    if parsed.count < _MOSTLY * (seen - others if is_varied else seen):
        return
    place = f"{parsed.first_other}, column {shown(column.name)}"
    share = f"{parsed.count / seen:.1%} of the values"
    if parsed is text.numbers and text.written is not None and len(text.written.units) > 1:
        raise DataError(f"{place}: expected {expected} as in {share}, got {_several_units(column, text.written)}")
    how = how_to_read(column.name, other, seen, row=parsed.first_other.row)
    raise DataError(f"{place}: expected {expected} as in {share}, got other text; {how}")


def _several_units(column: ColumnProfile, written: NumberWriting) -> str:
    """Return what a message says of numbers that are not all of one unit."""
    return (
        f"numbers in several units ({units_of(written)}): write all in one unit, or set in train.toml "
        f'{setting_of(column.name, "kind")} = "text" (or "ignore")'
    )


def _check_fits(column: ColumnProfile, wanted: Kind, reading: Reading | None) -> None:
    """Refuse a kind that the values cannot have."""
    forms = {column.form} if column.change is None else {column.form, column.change.now}
    coarse = wanted in ("categorical", "text") and any(name.startswith(_NOT_CATEGORIES) for name in column.types)
    if not forms <= KINDS[wanted].forms or coarse:
        place, got = f"column {shown(column.name)}", f"the type {' and '.join(column.types)}"
        if column.not_utf8 is not None:
            place, got = f"{column.not_utf8}, {place}", "bytes that are not UTF-8: write the column as UTF-8"
        raise DataError(f"{place}: expected values that can be {wanted}, as set in train.toml, got {got}")
    if column.text is None or (reading is not None and (reading.format or reading.unit is not None)):
        return  # The sample tells which text is not written as the reading says.
    ways = KINDS[wanted].parsed(column.text)
    if ways and all(way.first_other is not None for way in ways):
        other = column.text.other_instant if wanted == "timestamp" else column.text.other
        seen = column.observed - column.text.markers
        raise DataError(
            f"{ways[0].first_other}, column {shown(column.name)}: expected text that can be {wanted}, as set in "
            f"train.toml, got other text; {how_to_read(column.name, other, seen, wanted)}"
        )


def _check_known(name: str, names: list[str], setting: str) -> None:
    if name not in names:
        hint = nearest_hint(name, names)
        raise ConfigError(f"{setting}: expected a column of the records, got {shown(name)!r}{hint}")


def _how_to_set(name: str, change: FormChange) -> str:
    forms = {change.was, change.now} - {Form.TEXT}
    typed = [f'"{kind}"' for form, kind in _KINDS_OF_FORMS.items() if form in forms]
    kinds = ", ".join([*typed, '"categorical"', 'or "ignore"'])
    return f"correct the records, or set in train.toml {setting_of(name, 'kind')}, which may be {kinds}"

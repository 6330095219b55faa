"""Decide the kind of each column from its profile or `train.toml`, or why it is set aside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from vaegis.service.contract import NumberForm
from vaegis.service.records.column_names import nearest, shown
from vaegis.training.config import Kind, KindSettings, TrainConfig
from vaegis.training.data.profile import ColumnProfile, DataProfile, Form
from vaegis.training.data.text_profile import Parsed, TextProfile
from vaegis.training.errors import ConfigError, DataError

_MOSTLY = 0.5
"""Share of texts that parse from which the others are taken for a change of type, rather than all of it for text."""
_FEWEST_FOR_IDENTIFIER = 20
"""Values below which it says nothing that all of them differ."""
_ZONE = re.compile(r"^timestamp\[\w+, tz=(.+)\]$")
_NOT_CATEGORIES = ("float", "double", "halffloat", "decimal")
"""Arrow types that are numbers, but none that could name a category."""


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
        lambda text: (text.instants, text.numbers),
        joined_form=Form.INSTANT,
    ),
    "categorical": TrainingKind(
        frozenset({Form.NUMBER, Form.BOOLEAN, Form.TEXT}), lambda _: (), is_joined_as_text=True
    ),
}


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What training does with one column.

    Attributes:
        name: Its name.
        kind: Its kind; None if it is set aside.
        reason: Why, as is printed and as stands in the model.
        number_form: What its numbers mean if it is a timestamp.
        zone: The time zone whose hours and weekdays are scored if it is a timestamp.
        warnings: What the user should know of it beyond that, a sentence or two each.
    """

    name: str
    kind: Kind | None
    reason: str
    number_form: NumberForm = "epoch"
    zone: str = "UTC"
    warnings: tuple[str, ...] = ()


def plan_columns(profile: DataProfile, config: TrainConfig) -> tuple[ColumnPlan, ...]:
    """Return the plan for each column, in the order of the records.

    Raises:
        ConfigError: The settings name a column that the records do not have.
        DataError: A column changes its type half way, a kind that is set does not fit, or every column is set aside.
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
    plans = tuple(
        replace(_plan(column, config, is_text=profile.is_text), zone=_zone(column, config))
        for column in profile.columns
    )
    check_any_scored(plans)
    return plans


def check_any_scored(plans: tuple[ColumnPlan, ...]) -> None:
    """Raise `DataError` if every column is set aside."""
    if all(plan.kind is None for plan in plans):
        reasons = "; ".join(f"{shown(plan.name)}: {plan.reason}" for plan in plans[:10])
        raise DataError(f"expected at least one column to learn from, got {len(plans)} set aside ({reasons})")


def kind_of_joined(form: Form) -> Kind | None:
    """Return what values of one form but several types are joined as where no kind is set."""
    return next((name for name, kind in KINDS.items() if kind.joined_form is form), None)


def _zone(column: ColumnProfile, config: TrainConfig) -> str:
    """Return the zone in the settings, or else that of the Arrow type, if all values have the same."""
    setting = config.columns.get(column.name)
    if setting is not None and setting.timezone is not None:
        return setting.timezone
    zones = {found[1] if (found := _ZONE.search(name)) else "UTC" for name in column.types}
    return zones.pop() if len(zones) == 1 else "UTC"


def _plan(column: ColumnProfile, config: TrainConfig, *, is_text: bool) -> ColumnPlan:
    name = column.name
    wanted = config.columns[name].kind if name in config.columns else None
    if wanted == "ignore":
        return ColumnPlan(name, None, "set in train.toml")
    if not column.observed:
        return ColumnPlan(name, None, "every value is null")
    if wanted is not None:
        _check_fits(column, wanted)
        return ColumnPlan(name, wanted, "set in train.toml")
    if name == config.splits.group_column:
        return ColumnPlan(name, None, "splits.group_column: records that calibrate have values that were not fitted")
    if column.change is not None:
        change = column.change
        expected = f"expected {change.was} as in the records before, got {change.now}"
        raise DataError(f"{change.location}, column {shown(name)}: {expected}; {_how_to_set(name)}")
    return _inferred(column, config.kinds, is_text=is_text)


def _inferred(column: ColumnProfile, settings: KindSettings, *, is_text: bool) -> ColumnPlan:
    if column.form is Form.BOOLEAN:
        return ColumnPlan(column.name, "boolean", "true and false")
    if column.form is Form.INSTANT:
        return ColumnPlan(column.name, "timestamp", "timestamps")
    if column.form is Form.NUMBER:
        return _plan_numbers(column)
    if column.text is not None:
        return _plan_text(column, column.text, settings, is_text=is_text)
    return ColumnPlan(column.name, None, f"values of type {column.types[0]} are not scored")


def _plan_numbers(column: ColumnProfile) -> ColumnPlan:
    numbers = column.numbers
    if not numbers.count:
        return ColumnPlan(column.name, None, "every value is NaN or infinite")
    if numbers.are_consecutive:
        return ColumnPlan(column.name, None, "consecutive integers: a row number")
    if numbers.are_zero_and_one:
        return ColumnPlan(column.name, "boolean", "numbers, all 0 or 1")
    return ColumnPlan(column.name, "numeric", "numbers")


def _plan_text(column: ColumnProfile, text: TextProfile, settings: KindSettings, *, is_text: bool) -> ColumnPlan:
    """Return the plan for texts, which in CSV may stand for anything and elsewhere are never numbers."""
    if is_text and not text.has_leading_zeros:
        if text.numbers.first_other is None:
            return _plan_numbers(column)
        if text.truths.first_other is None:
            return ColumnPlan(column.name, "boolean", "text, all true or false")
        _check_all(column, text.numbers, "a number")
    if text.instants.first_other is None:
        return ColumnPlan(column.name, "timestamp", "ISO 8601 text")
    _check_all(column, text.instants, "an ISO 8601 date or timestamp")
    return _plan_categories(column, text, settings)


def _plan_categories(column: ColumnProfile, text: TextProfile, settings: KindSettings) -> ColumnPlan:
    """Return the plan for text that is a category, unless it is an identifier, free text or too varied."""
    name, seen = column.name, column.observed
    hint = "; they look like numbers with a decimal comma or separators" if text.separated >= _MOSTLY * seen else ""
    if text.mean_characters > settings.max_mean_characters:
        return ColumnPlan(name, None, f"free text: {text.mean_characters:.0f} characters on average")
    if seen >= _FEWEST_FOR_IDENTIFIER and text.distinct > settings.max_distinct_share * seen:
        return ColumnPlan(name, None, f"an identifier: {text.distinct} of {seen} values differ{hint}")
    covered = sum(text.counts[: settings.max_categories]) / seen
    more = "at least " if text.is_capped else ""
    if covered < settings.min_category_share:
        kept = min(settings.max_categories, text.distinct)
        values = f"{more}{text.distinct} values, of which the {kept} commonest cover {covered:.1%}"
        return ColumnPlan(name, None, f"too varied: {values}{hint}")
    leading = ", numbers with leading zeros" if text.has_leading_zeros else ""
    return ColumnPlan(name, "categorical", f"text with {more}{text.distinct} values{leading}{hint}")


def _check_all(column: ColumnProfile, parsed: Parsed, expected: str) -> None:
    """Refuse a column if most, but not all, of its texts parse: it changes its type half way."""
    if parsed.first_other is None or parsed.count < _MOSTLY * column.observed:
        return
    share = parsed.count / column.observed
    raise DataError(
        f"{parsed.first_other}, column {shown(column.name)}: expected {expected} as in {share:.1%} of the values, "
        f"got other text; {_how_to_set(column.name)}"
    )


def _check_fits(column: ColumnProfile, wanted: Kind) -> None:
    """Refuse a kind that the values cannot have."""
    forms = {column.form} if column.change is None else {column.form, column.change.now}
    coarse = wanted == "categorical" and any(name.startswith(_NOT_CATEGORIES) for name in column.types)
    if not forms <= KINDS[wanted].forms or coarse:
        raise DataError(
            f"column {shown(column.name)}: expected values that can be {wanted}, as set in train.toml, "
            f"got the type {' and '.join(column.types)}"
        )
    if column.text is None:
        return
    ways = KINDS[wanted].parsed(column.text)
    if ways and all(way.first_other is not None for way in ways):
        raise DataError(
            f"{ways[0].first_other}, column {shown(column.name)}: expected text that can be {wanted}, as set in "
            "train.toml, got other text"
        )


def _check_known(name: str, names: list[str], setting: str) -> None:
    if name not in names:
        meant = nearest(name, names)
        hint = f"; the nearest is {meant}" if meant else ""
        raise ConfigError(f"{setting}: expected a column of the records, got {shown(name)!r}{hint}")


def _how_to_set(name: str) -> str:
    table = f"[columns.{json.dumps(name)}]"
    return f'correct the records, or set in train.toml {table} kind = "categorical" (or "ignore")'

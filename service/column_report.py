"""Describe each column of a model for people: its kind and why, what training saw, and which faults it cannot see."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from vaegis.service.contract import Check, Column, IgnoredColumn, Schema
from vaegis.service.records.kinds import kind_of

IGNORED = "ignored"
"""Kind that is shown for a column of `Schema.ignored`: it is not read."""
WATCHED = "not scored"
"""Kind that is shown for a column of `Schema.watched`: its values are checked."""
_MOST_ALIKE = 5
"""If more columns than this have warnings that differ by name and figures alone, one line names all but the first."""


def column_kind(column: Column | IgnoredColumn) -> str:
    """Return the kind of a column, or that it is ignored."""
    return IGNORED if isinstance(column, IgnoredColumn) else column.kind


def column_description(column: Column | IgnoredColumn) -> str:
    """Return why a column has its kind, and what training saw of it."""
    if isinstance(column, IgnoredColumn):
        return column.reason
    seen = kind_of(column).statistics(column)
    return f"{column.why}: {seen}" if column.why else seen


def check_description(column: Column, check: Check) -> str:
    """Return the code of a check, and its limit as the column writes values."""
    if check.limit is None:
        return check.code.value
    kind = kind_of(column)
    shown = kind.shown(column)
    limit = shown(check.limit) if shown and kind.takes_instants else f"{check.limit:.10g}"
    return f"{check.code.value} {limit}"


def column_notes(schema: Schema) -> Iterator[str]:
    """Yield what will not be seen, then the warnings of each column; each is one paragraph."""
    if schema.watched:
        yield (
            f"Not scored, but checked: {', '.join(_named(c) for c in schema.watched)}. A record without one has a "
            "violation, unless training saw nulls there. A kind in train.toml changes that: ignore leaves the column "
            "out, numeric or categorical scores it."
        )
    if schema.ignored:
        yield f"Faults in ignored columns are not seen: {', '.join(_named(c) for c in schema.ignored)}."
    unseen: dict[str, list[str]] = {}
    for column in schema.columns:
        if not_seen := kind_of(column).not_seen(column):
            unseen.setdefault(not_seen, []).append(_named(column))
    for not_seen, names in unseen.items():
        yield f"Not seen in {', '.join(names)}: {not_seen}."
    yield (
        "Each record is judged by itself: one that comes twice, an identifier that repeats, and a value that stays the "
        "same from record to record are not seen."
    )
    yield from _warnings(schema.columns)
    for unscored in (*schema.watched, *schema.ignored):
        for warning in unscored.warnings:
            yield f"{_named(unscored)}: {warning}"


def _warnings(columns: Iterable[Column]) -> Iterator[str]:
    """Yield the warnings of columns. Where many have the same one, the others are named in one line."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for column in columns:
        for warning in column.warnings:
            form = re.sub(r"\d[\d.,]*", "", warning.replace(column.name, ""))
            alike.setdefault(form, []).append((_named(column), warning))
    for (name, warning), *others in alike.values():
        yield f"Warning: {name}: {warning}"
        if len(others) >= _MOST_ALIKE:
            yield f"Warning: the same, apart from any figures, for {', '.join(other for other, _ in others)}"
        else:
            yield from (f"Warning: {other}: {text}" for other, text in others)


def _named(column: Column | IgnoredColumn) -> str:
    return column.name if column.name and column.name == column.name.strip() else json.dumps(column.name)

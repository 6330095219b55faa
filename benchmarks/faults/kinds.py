"""Kinds of fault: what goes wrong in a pipeline, put into copies of normal records, one fault to a record."""

from __future__ import annotations

import datetime as dt
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

Record: TypeAlias = dict[str, Any]

_MOST_CATEGORIES = 256
_SENTINEL = -999.0
_PAIR = 2
_SHAPES = (
    re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+"),  # mail
    re.compile(r"\d{5}(-\d{4})?"),  # zip
    re.compile(r"\+?[\d\s()-]{7,}"),  # phone
    re.compile(r"https?://\S+"),  # URL
)
_FULL_SHAPE = 0.95  # share of a column's texts that have a shape, so that another is malformed


@dataclass(frozen=True, slots=True)
class Faulty:
    """Copies of records with one fault each.

    Attributes:
        records: n of them.
        columns: The columns that are not as they were, by record; of a duplicate none.
    """

    records: pa.Table
    columns: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """What faults are made of: the columns by role, and what training saw in them."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    times: tuple[str, ...]
    shaped: tuple[str, ...]
    never_negative: tuple[str, ...]
    shares: tuple[str, ...]
    never_null: tuple[str, ...]
    values: dict[str, list[Any]]
    stuck: Record
    others: list[Record]


_Fault: TypeAlias = Callable[[Record, _Source, np.random.Generator], tuple[str, ...]]
"""Changes a record in place and returns the columns that changed; none if the record cannot have the fault."""


class Injector:
    """Puts faults into copies of the normal records of one table."""

    def __init__(self, training: pa.Table, normal: pa.Table, generator: np.random.Generator) -> None:
        """Learn from ``training`` what a column never held, and take the records of ``normal`` to copy."""
        self._schema, self._generator = normal.schema, generator
        self._records: list[Record] = normal.to_pylist()
        names = {kind: _named(normal, is_kind) for kind, is_kind in _ROLES.items()}
        values = {name: training[name].drop_null().to_pylist() for name in normal.schema.names}
        self._source = _Source(
            numbers=names["number"],
            texts=names["text"],
            times=names["time"],
            shaped=tuple(name for name in names["text"] if _has_shape(values[name])),
            never_negative=tuple(name for name in names["number"] if values[name] and min(values[name]) >= 0),
            shares=tuple(name for name in names["number"] if _are_shares(values[name])),
            never_null=tuple(name for name in normal.schema.names if training[name].null_count == 0),
            values={name: list(dict.fromkeys(found)) for name, found in values.items() if found},
            stuck=training.slice(training.num_rows // 2, 1).to_pylist()[0],
            others=self._records,
        )

    def inject(self, kind: str, count: int) -> Faulty | None:
        """Return up to ``count`` copies with a fault of ``kind``, one of `KINDS`; None where no record can have it."""
        faulty, columns = [], []
        order = self._generator.permutation(len(self._records))
        for row in np.resize(order, count):
            record = dict(self._records[row])
            changed = _FAULTS[kind](record, self._source, self._generator)
            if changed or kind == DUPLICATE:
                faulty.append(record)
                columns.append(changed)
        if not faulty:
            return None
        return Faulty(pa.Table.from_pylist(faulty, schema=self._schema), tuple(columns))


def _scaled(factor: float, record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(record, source.numbers, generator, lambda value, _: value * factor)


def _negative(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(record, source.never_negative, generator, lambda value, _: -value)


def _percent(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(record, source.shares, generator, lambda value, _: 100.0 * value)


def _sentinel(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(
        record, source.numbers, generator, lambda _, name: None if _SENTINEL in source.values[name] else _SENTINEL
    )


def _null(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    possible = [name for name in source.never_null if record[name] is not None]
    if not possible:
        return ()
    name = possible[generator.integers(len(possible))]
    record[name] = None
    return (name,)


def _null_burst(record: Record, _: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Lose a third of the record, as where a join found nothing."""
    there = [name for name, value in record.items() if value is not None]
    chosen = generator.choice(len(there), max(1, len(there) // 3), replace=False)
    lost = tuple(there[at] for at in chosen)
    record.update(dict.fromkeys(lost))
    return lost


def _other_known(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    def other(_: str, name: str) -> str | None:
        values = source.values[name]
        found: str = values[generator.integers(len(values))]
        return found if len(values) <= _MOST_CATEGORIES else None

    return _changed(record, source.texts, generator, other)


def _unknown(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(record, source.texts, generator, lambda _, name: "zzz-new" if _is_category(source, name) else None)


def _typo(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    def typed(value: str, name: str) -> str | None:
        if not value or not _is_category(source, name):
            return None
        at = generator.integers(len(value))
        wrong = value[:at] + string.ascii_lowercase[generator.integers(26)] + value[at + 1 :]
        return wrong if wrong not in source.values[name] else None

    return _changed(record, source.texts, generator, typed)


def _rewritten(
    rewrite: Callable[[str], str], record: Record, source: _Source, generator: np.random.Generator
) -> tuple[str, ...]:
    return _changed(record, source.texts, generator, lambda value, _: rewrite(value))


def _malformed(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(record, source.shaped, generator, lambda value, _: value[: len(value) // 2] + "x y")


def _swapped(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    pools = [pool for pool in (source.numbers, source.texts) if len(pool) >= _PAIR]
    if not pools:
        return ()
    pool = pools[generator.integers(len(pools))]
    a, b = (pool[at] for at in generator.choice(len(pool), _PAIR, replace=False))
    if None in (record[a], record[b]) or record[a] == record[b]:
        return ()
    record[a], record[b] = record[b], record[a]
    return (a, b)


def _joined(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Take half of the columns from another record, as a wrong join does."""
    other = source.others[generator.integers(len(source.others))]
    names = list(record)[len(record) // 2 :]
    changed = tuple(name for name in names if record[name] != other[name])
    record.update({name: other[name] for name in changed})
    return changed


def _stuck(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    return _changed(record, tuple(record), generator, lambda _, name: source.stuck[name])


def _moved(
    move: Callable[[dt.datetime], dt.datetime], record: Record, source: _Source, generator: np.random.Generator
) -> tuple[str, ...]:
    return _changed(record, source.times, generator, lambda value, _: move(value))


def _duplicate(_: Record, __: _Source, ___: np.random.Generator) -> tuple[str, ...]:
    return ()


def _changed(
    record: Record, names: tuple[str, ...], generator: np.random.Generator, change: Callable[[Any, str], Any]
) -> tuple[str, ...]:
    """Change one of the columns, drawn at random among those in which a change makes a difference."""
    for at in generator.permutation(len(names)):
        name = names[at]
        if record[name] is None:
            continue
        value = change(record[name], name)
        if value is not None and value != record[name]:
            record[name] = value
            return (name,)
    return ()


def _is_category(source: _Source, name: str) -> bool:
    return len(source.values[name]) <= _MOST_CATEGORIES


def _has_shape(values: list[str]) -> bool:
    sample = values[:500]
    return any(
        sum(shape.fullmatch(value) is not None for value in sample) >= _FULL_SHAPE * len(sample) > 0
        for shape in _SHAPES
    )


def _are_shares(values: list[float]) -> bool:
    return bool(values) and min(values) >= 0 and 0 < max(values) <= 1 and len(set(values)) > 2  # noqa: PLR2004 - a bit


def _named(table: pa.Table, is_kind: Callable[[pa.DataType], bool]) -> tuple[str, ...]:
    return tuple(field.name for field in table.schema if is_kind(field.type))


_ROLES: MappingProxyType[str, Callable[[pa.DataType], bool]] = MappingProxyType(
    {"number": pa.types.is_floating, "text": pa.types.is_string, "time": pa.types.is_timestamp}
)

DUPLICATE = "duplicate"
_FAULTS: MappingProxyType[str, _Fault] = MappingProxyType(
    {
        "x10": partial(_scaled, 10.0),
        "x100": partial(_scaled, 100.0),
        "/1000": partial(_scaled, 0.001),
        "negative": _negative,
        "decimal as percent": _percent,
        "sentinel -999": _sentinel,
        "null": _null,
        "null burst": _null_burst,
        "other known category": _other_known,
        "unknown category": _unknown,
        "typo": _typo,
        "case": partial(_rewritten, str.swapcase),
        "truncation": partial(_rewritten, lambda value: value[: len(value) // 2]),
        "malformed": _malformed,
        "swap": _swapped,
        "join of another record": _joined,
        "stuck": _stuck,
        "1970": partial(_moved, lambda value: value.replace(year=1970, month=1, day=1)),
        "future": partial(_moved, lambda value: value.replace(year=2062, day=1)),
        "5 hours off": partial(_moved, lambda value: value + dt.timedelta(hours=5)),
        DUPLICATE: _duplicate,
    }
)

KINDS = tuple(_FAULTS)
"""The kinds of fault."""

"""Faults of known kind in copies of records: what goes wrong in a pipeline, one fault to a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NULL = "null"

Record: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Faulty:
    """Copies of records with one fault each.

    Attributes:
        kind: Of the fault, the same in all of them.
        records: n of them, with the columns of those they were copied from.
        columns: The columns that are not as they were, by record; one, or two that were swapped.
    """

    kind: str
    records: pa.Table
    columns: tuple[tuple[str, ...], ...]


class Injector:
    """Puts faults into copies of the records of one table."""

    def __init__(
        self,
        records: pa.Table,
        *,
        quantities: tuple[str, ...],
        identifiers: tuple[str, ...],
        generator: np.random.Generator,
    ) -> None:
        """Take the records to copy.

        Args:
            records: Numbers as float64, texts as categories; other types only stick or become null.
            quantities: Numbers that are measured in a unit.
            identifiers: Columns without faults.
            generator: Draws records, columns and values.
        """
        open_to_faults = [field for field in records.schema if field.name not in identifiers]
        numbers = tuple(field.name for field in open_to_faults if pa.types.is_floating(field.type))
        texts = tuple(field.name for field in open_to_faults if pa.types.is_string(field.type))
        values = {field.name: records[field.name].drop_null().to_pylist() for field in open_to_faults}
        self._table = records
        self._generator = generator
        self._source = _Source(
            quantities=quantities,
            numbers=numbers,
            texts=texts,
            values=values,
            stuck={name: _drawn(present, generator) for name, present in values.items() if present},
        )

    def inject(self, kind: str, count: int) -> Faulty:
        """Return ``count`` copies of different records, each with a fault of ``kind``, one of `KINDS`.

        Raises:
            ValueError: Fewer records can have it: one without a number other than 0 has no wrong unit.
        """
        faulty: list[Record] = []
        columns: list[tuple[str, ...]] = []
        for row in self._generator.permutation(self._table.num_rows):
            if len(faulty) == count:
                break
            record = self._table.slice(row, 1).to_pylist()[0]
            changed = _FAULTS[kind](record, self._source, self._generator)
            if changed:
                faulty.append(record)
                columns.append(changed)
        if len(faulty) < count:
            raise ValueError(f"expected {count} records that can have the fault {kind!r}, got {len(faulty)}")
        return Faulty(kind, pa.Table.from_pylist(faulty, schema=self._table.schema), tuple(columns))


def without_values(records: pa.Table, share: float, generator: np.random.Generator) -> pa.Table:
    """Return records with each value null with probability ``share``, completely at random."""
    columns = []
    for column in records.columns:
        removed = pa.array(generator.random(records.num_rows) < share)
        columns.append(pc.if_else(removed, pa.scalar(None, column.type), column))
    return pa.table(columns, schema=records.schema)


@dataclass(frozen=True, slots=True)
class _Source:
    """What faults are made of: columns by role, the values that each has, and the one at which it sticks."""

    quantities: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    values: dict[str, list[Any]]
    stuck: Record


_Fault: TypeAlias = Callable[[Record, _Source, np.random.Generator], tuple[str, ...]]
"""Changes a record in place and returns the columns that changed; none if the record cannot have the fault."""


def _wrong_unit(factor: float, record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Multiply a quantity, as minutes given in seconds are."""
    possible = [name for name in source.quantities if record[name]]  # neither null nor 0
    if not possible:
        return ()
    name = _drawn(possible, generator)
    record[name] *= factor
    return (name,)


def _swapped(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Exchange the values of two columns of one type."""
    pairs = [*combinations(source.numbers, 2), *combinations(source.texts, 2)]
    possible = [(a, b) for a, b in pairs if None not in (record[a], record[b]) and record[a] != record[b]]
    if not possible:
        return ()
    a, b = _drawn(possible, generator)
    record[a], record[b] = record[b], record[a]
    return (a, b)


def _other_category(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Take the category of another record, one that differs; common ones are as common as in the records."""
    possible = [name for name in source.texts if record[name] is not None]
    if not possible:
        return ()
    name = _drawn(possible, generator)
    others = [value for value in source.values[name] if value != record[name]]
    if not others:
        return ()
    record[name] = _drawn(others, generator)
    return (name,)


def _stuck(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Repeat the value at which a column sticks: that of one other record, the same in all records."""
    possible = [name for name, value in source.stuck.items() if record[name] not in (None, value)]
    if not possible:
        return ()
    name = _drawn(possible, generator)
    record[name] = source.stuck[name]
    return (name,)


def _null(record: Record, source: _Source, generator: np.random.Generator) -> tuple[str, ...]:
    """Lose a value."""
    possible = [name for name in source.values if record[name] is not None]
    if not possible:
        return ()
    name = _drawn(possible, generator)
    record[name] = None
    return (name,)


def _drawn(choices: list[Any], generator: np.random.Generator) -> Any:  # noqa: ANN401 - of whatever they are
    return choices[generator.integers(len(choices))]


_FAULTS: MappingProxyType[str, _Fault] = MappingProxyType(
    {
        "unit x10": partial(_wrong_unit, 10.0),
        "unit x60": partial(_wrong_unit, 60.0),
        "swapped": _swapped,
        "other category": _other_category,
        "stuck": _stuck,
        NULL: _null,
    }
)

KINDS = tuple(_FAULTS)
"""The kinds of fault."""

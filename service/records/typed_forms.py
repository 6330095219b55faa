"""Records decoded by msgspec into types made from a schema, and from there turned into columns."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from service.columns import Columns
from service.contract import NO_CATEGORY, Column, Schema
from service.records import values as rules
from service.records.instants import instants_of_iso

_UNSET = msgspec.UNSET
# Of categories, and of what was set aside: nothing can nest in it, and all text in it is checked to be Unicode.
_SCALAR: Any = str | int | float | bool | msgspec.UnsetType | None
_TYPES: dict[str, tuple[Any, object]] = {
    # NaN, which JSON does not have, stands for an absent key where only numbers may come.
    "numeric": (float | None, math.nan),
    "boolean": (bool | float | None, math.nan),
    "indicator": (bool | float | None, math.nan),
    "timestamp": (str | float | msgspec.UnsetType | None, _UNSET),
    "categorical": (_SCALAR, _UNSET),
}
"""Type of a column's value and what stands for its absence, by what `values.rule_of` gives."""
_RANKS = {"numeric": 0, "boolean": 0, "indicator": 0, "timestamp": 1, "categorical": 2}
"""Columns are laid out so that all that converts to numbers at once comes first, then instants, then categories."""

_Leaf: TypeAlias = tuple[Sequence[str], int, Any, object]
"""The keys that lead to a value, its position among all leaves, its type, and what stands for its absence."""


class UnfitError(Exception):
    """Records that are left to `service.records.json`: at fault, or of a kind that is not worth a way of its own."""


@dataclass(frozen=True, slots=True)
class _Node:
    """An object of a record. The fields of ``type`` are its ``leaves``, by their positions, and then ``children``."""

    type: type[msgspec.Struct]
    leaves: tuple[int, ...]
    children: tuple[_Node, ...]

    @property
    def levels(self) -> int:
        """Objects within each other, at least 1."""
        return 1 + max((child.levels for child in self.children), default=0)

    @property
    def objects(self) -> int:
        """Objects in all, at least 1."""
        return 1 + sum(child.objects for child in self.children)


class Form:
    """One way to write the records of a schema: with the names of columns as keys, or with objects within objects.

    Attributes:
        type: The msgspec type of a record.
        levels: Objects within each other, at least 1.
        objects: Objects in a record, at least 1.
    """

    def __init__(self, schema: Schema, *, nested: bool) -> None:
        """Make the types.

        Raises:
            ValueError: One name leads to both a value and an object, or has characters that JSON escapes.
        """
        inputs = [schema.columns[i] for i in (*schema.number_positions, *schema.string_positions)]
        order = sorted(range(len(inputs)), key=lambda at: _rank(inputs[at]))
        scored = [inputs[at] for at in order]
        ranks = [_rank(column) for column in scored]
        self._numbers, self._instants, self._categories = (ranks.count(rank) for rank in range(3))
        self._inputs = order[: self._numbers + self._instants]
        self._is_in_order = self._instants == 0 and self._inputs == sorted(self._inputs)
        self._truths = [at for at, column in enumerate(scored) if rules.rule_of(column) == "boolean"]
        fields = [(column.name, *_TYPES[rules.rule_of(column)]) for column in scored]
        fields += [(column.name, _SCALAR, _UNSET) for column in schema.ignored]
        self._width = len(fields)
        self._root = _node([(name.split(".") if nested else [name], at, *f) for at, (name, *f) in enumerate(fields)])
        self.type = self._root.type
        self.levels, self.objects = self._root.levels, self._root.objects

    def columns(self, records: Sequence[msgspec.Struct]) -> tuple[Columns, int]:
        """Return decoded records by column, and how many fields were set in them.

        Args:
            records: At least one.

        Raises:
            UnfitError: They are left to `service.records.json`.
        """
        n, instants, categories = len(records), self._instants, self._categories
        values, rest, objects = self._split(records)
        numbers, absent = _numbers(values)
        numbers = numbers.reshape(n, -1) if self._is_by_record(n) else numbers.reshape(-1, n).T
        self._check_truths(numbers)
        absent += sum(map(_absent, rest))
        if not (self._is_in_order and self._is_by_record(n)):
            numbers = self._in_order(numbers, rest[:instants])
        strings, observed = _categories(rest[instants : instants + categories], n)
        if absent and (np.isnan(numbers).all(axis=1) & ~observed.any(axis=1)).any():
            raise UnfitError  # a record with none of the columns is at fault, unless it holds nulls
        return Columns(numbers, strings, observed), n * self._width - absent + objects

    def _in_order(self, numbers: NDArray[np.float64], instants: Sequence[list[Any]]) -> NDArray[np.float64]:
        """Return numbers and instants as the model takes them."""
        inputs = np.empty((len(numbers), len(self._inputs)))
        inputs[:, self._inputs[: self._numbers]] = numbers
        for at, values in zip(self._inputs[self._numbers :], instants, strict=True):
            inputs[:, at] = _instants_of(values)
        return inputs

    def _is_by_record(self, records: int) -> bool:
        """Tell whether `_split` gives the numbers record by record, where that is the cheaper way, or by column."""
        return not self._root.children and (records == 1 or self._numbers == self._width)

    def _split(self, records: Sequence[msgspec.Struct]) -> tuple[list[Any], list[list[Any]], int]:
        """Return all numbers in one list, the other leaves in one each, and how many objects stand below a key."""
        first, width = self._numbers, self._width
        if self._root.children:
            leaves: list[list[Any]] = [[]] * width
            objects = _gather(self._root, records, leaves)
            return [*chain.from_iterable(leaves[:first])], leaves[first:], objects
        flat = [*chain.from_iterable(map(astuple, records))]
        rest = [flat[at::width] for at in range(first, width)]
        if self._is_by_record(len(records)):
            return flat[: first * len(records)], rest, 0
        return [*chain.from_iterable(flat[at::width] for at in range(first))], rest, 0

    def _check_truths(self, numbers: NDArray[np.float64]) -> None:
        if self._truths:
            truths = numbers[:, self._truths]
            if not ((truths == 0) | (truths == 1) | np.isnan(truths)).all():
                raise UnfitError


def forms(schema: Schema) -> list[Form]:
    """Return the ways to write the records of ``schema``; none where its names are such that there are no types."""
    found = []
    for nested in (False, True):
        if not nested or any("." in column.name for column in (*schema.columns, *schema.ignored)):
            with suppress(ValueError):
                found.append(Form(schema, nested=nested))
    return found


def _rank(column: Column) -> int:
    return _RANKS[rules.rule_of(column)]


def _node(leaves: Sequence[_Leaf]) -> _Node:
    """Return the type of the object that holds ``leaves``."""
    here = [(keys[0], *leaf) for keys, *leaf in leaves if len(keys) == 1]
    below: dict[str, list[_Leaf]] = {}
    for keys, *leaf in leaves:
        if len(keys) > 1:
            below.setdefault(keys[0], []).append((keys[1:], *leaf))
    names = [name for name, *_ in here] + [*below]
    if len(set(names)) != len(names):
        raise ValueError("expected names that lead either to a value or to an object, got one that leads to both")
    children = tuple(map(_node, below.values()))
    fields = [(kind, default) for _, _, kind, default in here]
    fields += [(child.type | msgspec.UnsetType | None, _UNSET) for child in children]
    made = msgspec.defstruct(
        "Record",
        [(f"field{at}", *field) for at, field in enumerate(fields)],
        rename={f"field{at}": name for at, name in enumerate(names)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return _Node(made, tuple(position for _, position, *_ in here), children)


def _gather(node: _Node, records: Sequence[msgspec.Struct], leaves: list[list[Any]]) -> int:
    """Put the leaves of a level and below into ``leaves``, and return how many keys lead to objects there."""
    flat = [*chain.from_iterable(map(astuple, records))]
    width = len(node.leaves) + len(node.children)
    for at, position in enumerate(node.leaves):
        leaves[position] = flat[at::width]
    keys = 0
    for at, child in enumerate(node.children, len(node.leaves)):
        objects, nothing = flat[at::width], child.type()
        keys += len(objects) - _absent(objects)
        keys += _gather(child, [o if isinstance(o, msgspec.Struct) else nothing for o in objects], leaves)
    return keys


def _absent(values: list[Any]) -> int:
    return sum(value is _UNSET for value in values)


def _numbers(values: list[Any]) -> tuple[NDArray[np.float64], int]:
    """Return numbers and truth values as float64, NaN where null or absent; and how many are absent."""
    try:
        # The fastest way from a list of floats to an array; it takes no None.
        converted = np.frombuffer(struct.pack(f"{len(values)}d", *values))
        nulls = 0
    except struct.error:
        converted = np.array(values, dtype=np.float64)
        nulls = values.count(None)
    return converted, int(np.count_nonzero(np.isnan(converted))) - nulls


def _instants_of(values: list[Any]) -> NDArray[np.float64]:
    """Return instants in seconds since 1970, NaN where null or absent."""
    types = set(map(type, values))
    if types == {str} and (instants := instants_of_iso(values)) is not None:
        return instants
    if types == {float}:
        seconds = rules.instants_of_numbers(np.array(values))
        if not rules.in_calendar(seconds).all():
            raise UnfitError
        return seconds
    try:
        return np.array([math.nan if value is None or value is _UNSET else rules.instant(value) for value in values])
    except rules.RefusedValueError:
        raise UnfitError from None


def _categories(leaves: list[list[Any]], records: int) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return categories and which are observed, each of shape (records, leaves)."""
    strings = np.empty((records, len(leaves)), dtype=object)
    observed = np.empty((records, len(leaves)), dtype=np.bool_)
    for at, values in enumerate(leaves):
        if set(map(type, values)) == {str}:
            observed[:, at] = True
            strings[:, at] = values
        else:
            observed[:, at] = [value is not None and value is not _UNSET for value in values]
            strings[:, at] = [_category(value) for value in values]
    return strings, observed


def _category(value: object) -> str:
    if value is None or value is _UNSET:
        return NO_CATEGORY
    try:
        return rules.category(value)
    except rules.RefusedValueError:
        raise UnfitError from None

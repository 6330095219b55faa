"""Decode records with msgspec into types made from a schema, and convert them to columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn, TypeAlias

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from vaegis.service.columns import Columns, float64_array, same_numbers, unify_categories
from vaegis.service.contract import NO_CATEGORY, Column, Schema
from vaegis.service.records import values as rules
from vaegis.service.records.cells import categories_of_values, numbers_of_values
from vaegis.service.records.column_kind import NumberKind
from vaegis.service.records.kinds import kind_of, number_kind_of

# Of categories, and of ignored columns: nothing can nest in it, and all text in it is checked to be Unicode.
SCALAR: Any = str | int | float | bool | None
_TRUTHS = (0, 1, None)

UNSET = msgspec.UNSET
"""What stands for an absent key, unless NaN does."""

Leaf: TypeAlias = tuple[Sequence[str], int, Any, object]
"""The keys that lead to a value, its position among all leaves, its type, and what stands for its absence."""


class UnfitError(Exception):
    """Records that are left to `records.json`: at fault, or of a kind that is not worth a way of its own."""


class RecordType:
    """One way to write the records of a schema: with the names of columns as keys, or with objects within objects.

    Attributes:
        type: The msgspec type of a record.
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
        self._numbers, self._parsed, self._categories = (ranks.count(rank) for rank in range(3))
        self._inputs = order[: self._numbers + self._parsed]
        self._parsed_kinds = [number_kind_of(scored[at]) for at in range(self._numbers, len(self._inputs))]
        self._is_in_order = self._parsed == 0 and self._inputs == sorted(self._inputs)
        self._text_columns = schema.categorical
        self._same = {at: same for at, column in enumerate(schema.categorical) if (same := same_numbers(column))}
        kinds = [kind_of(column) for column in scored]
        self._truths = [at for at, kind in enumerate(kinds) if kind.only_truths]
        fields = [(c.name, kind.json_type, kind.json_absent) for c, kind in zip(scored, kinds, strict=True)]
        fields += [(column.name, SCALAR, UNSET) for column in schema.ignored]
        self._width = len(fields)
        self._root = node([(name.split(".") if nested else [name], at, *f) for at, (name, *f) in enumerate(fields)])
        self.type = self._root.type
        self.objects = self._root.objects

    def columns(self, records: Sequence[msgspec.Struct]) -> tuple[Columns, int]:
        """Return decoded records by column, and how many fields were set in them.

        Args:
            records: At least one.

        Raises:
            UnfitError: They are left to `vaegis.service.records.json`.
        """
        n, parsed, categories = len(records), self._parsed, self._categories
        if n == 1 and not self._root.children:
            return self._one_record(astuple(records[0]))
        values, rest, objects = self._split(records)
        numbers, absent = _numbers(values)
        numbers = numbers.reshape(n, -1) if self._is_by_record else numbers.reshape(-1, n).T
        self._check_truths(numbers)
        for at, leaf in enumerate(rest):
            if missing := leaf.count(UNSET):
                rest[at] = [None if value is UNSET else value for value in leaf]
                absent += missing
        if not (self._is_in_order and self._is_by_record):
            numbers = self._in_order(numbers, rest[:parsed])
        strings = np.empty((n, categories), dtype=object)
        observed = np.empty((n, categories), dtype=np.bool_)
        for at, leaf in enumerate(rest[parsed : parsed + categories]):
            strings[:, at], observed[:, at] = categories_of_values(leaf, _unfit)
        is_present = observed.any(axis=1)
        unify_categories(self._text_columns, strings, observed)
        if absent and (np.isnan(numbers).all(axis=1) & ~is_present).any():
            raise UnfitError  # a record with none of the columns is at fault, unless it holds nulls
        return Columns(numbers, strings, observed), n * self._width - absent + objects

    def _one_record(self, values: tuple[Any, ...]) -> tuple[Columns, int]:
        """Return one record as `columns` does: for so few values a list is cheaper than each step of numpy."""
        first, last = self._numbers, self._numbers + self._parsed
        numbers, parsed, texts = values[:first], values[first:last], values[last : last + self._categories]
        if self._is_in_order and _are_numbers(numbers):
            inputs, absent = [*numbers], 0
        else:
            inputs = [math.nan] * last
            for at, number in zip(self._inputs, numbers, strict=False):  # those that are parsed come after them
                if number is not None:
                    inputs[at] = number
            for at, value, kind in zip(self._inputs[first:], parsed, self._parsed_kinds, strict=True):
                inputs[at] = _parsed(value, kind)
            # What is absent is NaN among the numbers, and a null None.
            absent = sum([number != number for number in numbers])  # noqa: PLR0124
        for at in self._truths:
            if numbers[at] not in _TRUTHS and numbers[at] == numbers[at]:
                raise UnfitError
        observed = [text is not None and text is not UNSET for text in texts]
        absent += values[first:].count(UNSET)
        if absent and not any(observed) and all(map(math.isnan, inputs)):
            raise UnfitError
        if NO_CATEGORY in texts:
            observed = [
                each and (text != NO_CATEGORY or column.knows_blank)
                for each, text, column in zip(observed, texts, self._text_columns, strict=True)
            ]
        strings = [text if type(text) is str and text.isascii() else _category(text) for text in texts]
        for at, same in self._same.items():
            strings[at] = same.get(strings[at], strings[at])
        columns = Columns(
            np.array([inputs], dtype=np.float64),
            np.array([strings], dtype=object),
            np.array([observed], dtype=np.bool_),
        )
        return columns, self._width - absent

    def _in_order(self, numbers: NDArray[np.float64], parsed: Sequence[list[Any]]) -> NDArray[np.float64]:
        """Return numbers, and values that are parsed to numbers, as the model takes them."""
        inputs = np.empty((len(numbers), len(self._inputs)))
        inputs[:, self._inputs[: self._numbers]] = numbers
        for at, values, kind in zip(self._inputs[self._numbers :], parsed, self._parsed_kinds, strict=True):
            inputs[:, at] = numbers_of_values(values, kind, _unfit)
        return inputs

    @property
    def _is_by_record(self) -> bool:
        """Whether `_split` gives the numbers record by record, where that is the cheaper way, or by column."""
        return not self._root.children and self._numbers == self._width

    def _split(self, records: Sequence[msgspec.Struct]) -> tuple[list[Any], list[list[Any]], int]:
        """Return all numbers in one list, the other leaves in one each, and how many objects stand below a key."""
        first, width = self._numbers, self._width
        if self._root.children:
            leaves: list[list[Any]] = [[]] * width
            objects = gather(self._root, records, leaves)
            return [*chain.from_iterable(leaves[:first])], leaves[first:], objects
        flat = [*chain.from_iterable(map(astuple, records))]
        if self._is_by_record:
            return flat, [], 0
        rest = [flat[at::width] for at in range(first, width)]
        return [*chain.from_iterable(flat[at::width] for at in range(first))], rest, 0

    def _check_truths(self, numbers: NDArray[np.float64]) -> None:
        if self._truths:
            truths = numbers[:, self._truths]
            if not ((truths == 0) | (truths == 1) | np.isnan(truths)).all():
                raise UnfitError


def record_types(schema: Schema, max_levels: int) -> list[RecordType]:
    """Return the ways to write the records of ``schema`` with a given depth of nesting.

    There are none if types cannot have the column names, or columns have a reading of their own.
    """
    if any(column.reading is not None for column in schema.columns):
        return []
    dots = max(column.name.count(".") for column in (*schema.columns, *schema.ignored))
    found = []
    for nested in (False, True):
        if not nested or 0 < dots < max_levels:
            with suppress(ValueError):
                found.append(RecordType(schema, nested=nested))
    return found


@dataclass(frozen=True, slots=True)
class Node:
    """An object of a record.

    Attributes:
        type: A struct whose fields are the leaves and then the children.
        leaves: The position of each leaf among all of the record.
        children: The objects within.
    """

    type: type[msgspec.Struct]
    leaves: tuple[int, ...]
    children: tuple[Node, ...]

    @property
    def objects(self) -> int:
        """Objects in all, at least 1."""
        return 1 + sum(child.objects for child in self.children)


def node(leaves: Sequence[Leaf]) -> Node:
    """Return the type of the object that holds ``leaves``.

    Raises:
        ValueError: One name leads to both a value and an object, or has characters that JSON escapes.
    """
    here = [(keys[0], *leaf) for keys, *leaf in leaves if len(keys) == 1]
    below: dict[str, list[Leaf]] = {}
    for keys, *leaf in leaves:
        if len(keys) > 1:
            below.setdefault(keys[0], []).append((keys[1:], *leaf))
    names = [name for name, *_ in here] + [*below]
    if len(set(names)) != len(names):
        raise ValueError("expected names that lead either to a value or to an object, got one that leads to both")
    children = tuple(map(node, below.values()))
    fields = [(kind if default is not UNSET else kind | msgspec.UnsetType, default) for _, _, kind, default in here]
    fields += [(child.type | msgspec.UnsetType | None, UNSET) for child in children]
    made = msgspec.defstruct(
        "Record",
        [(f"field{at}", *field) for at, field in enumerate(fields)],
        rename={f"field{at}": name for at, name in enumerate(names)},
        forbid_unknown_fields=True,
        gc=False,
    )
    return Node(made, tuple(position for _, position, *_ in here), children)


def gather(of: Node, records: Sequence[msgspec.Struct], leaves: list[list[Any]]) -> int:
    """Put the leaves of a level and below into ``leaves``, by their position.

    Args:
        of: The level.
        records: Its objects.
        leaves: Gets the values of each leaf, one for each object.

    Returns:
        How many keys lead to objects, or to null instead, below this level.
    """
    flat = [*chain.from_iterable(map(astuple, records))]
    width = len(of.leaves) + len(of.children)
    for at, position in enumerate(of.leaves):
        leaves[position] = flat[at::width]
    keys = 0
    for at, child in enumerate(of.children, len(of.leaves)):
        objects, nothing = flat[at::width], child.type()
        keys += sum(each is not UNSET for each in objects)
        keys += gather(child, [each if isinstance(each, msgspec.Struct) else nothing for each in objects], leaves)
    return keys


def _rank(column: Column) -> int:
    """Columns are laid out so that what converts to numbers at once comes first, then what is parsed, then text."""
    kind = kind_of(column)
    if isinstance(kind, NumberKind):
        return 0 if kind.json_is_number else 1
    return 2


def _are_numbers(values: Sequence[float | None]) -> bool:
    """Tell whether none of ``values`` is None or NaN."""
    try:
        total = sum(values)  # type: ignore[arg-type]
    except TypeError:
        return False
    return total == total  # noqa: PLR0124 - a sum of finite numbers may be infinite, but is NaN only if one of them is


def _numbers(values: list[Any]) -> tuple[NDArray[np.float64], int]:
    """Return numbers and truth values as float64, NaN where null or absent; and how many are absent."""
    converted = float64_array(values)
    missing = int(np.count_nonzero(np.isnan(converted)))
    return converted, missing - values.count(None) if missing else 0


def _parsed(value: object, kind: NumberKind[Any]) -> float:
    try:
        return math.nan if value is None or value is UNSET else kind.parse(value)
    except rules.RefusedValueError:
        raise UnfitError from None


def _category(value: object) -> str:
    if value is None or value is UNSET:
        return NO_CATEGORY
    try:
        return rules.category(value)
    except rules.RefusedValueError:
        raise UnfitError from None


def _unfit(row: int, code: str, message: str) -> NoReturn:  # noqa: ARG001 - the exact way finds them again
    raise UnfitError

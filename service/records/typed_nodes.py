"""Make the msgspec types of a record's objects from the keys that lead to its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import astuple

UNSET = msgspec.UNSET
"""What stands for an absent key, unless NaN does."""

Leaf: TypeAlias = tuple[Sequence[str], int, Any, object]
"""The keys that lead to a value, its position among all leaves, its type, and what stands for its absence."""


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
    fields = [(kind, default) for _, _, kind, default in here]
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

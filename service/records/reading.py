"""What reading a file gives, part by part, and records that it goes on past: what is wrong with each, by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record cannot be read: a code of `docs/errors.md`, and what was expected and what came."""

    code: str
    detail: str


Refusals: TypeAlias = Mapping[int, Refusal]
"""By position in a batch."""

NOT_UTF8 = Refusal("invalid_utf8", "expected UTF-8, got other bytes")


@dataclass(frozen=True, slots=True)
class Read:
    """Some consecutive records of a file.

    Attributes:
        first_row: Row of the first one, from 1.
        batch: The records; what is lost of those refused is null.
        refused: Those that cannot be read, where reading goes on past them.
        parsed: The records as JSON has them, for their values have types of their own; None for those refused.
    """

    first_row: int
    batch: pa.RecordBatch
    refused: Refusals = field(default_factory=dict)
    parsed: Sequence[object] | None = None


def within(refused: Refusals, start: int, records: int) -> Refusals:
    """Return those of so many records from ``start``, by position among them."""
    return {at - start: refused[at] for at in refused if start <= at < start + records}


def texts_of(array: pa.Array) -> tuple[pa.Array, dict[int, Refusal]]:
    """Return binary values as text, null where they are not UTF-8, and which those are."""
    texts: list[str | None] = []
    refused: dict[int, Refusal] = {}
    for at, value in enumerate(array.to_pylist()):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            texts.append(None)
            refused[at] = NOT_UTF8
    return pa.array(texts, pa.string()), refused

"""Decoders of streams run over whole bodies, and what they gave, record by record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from vaegis.service.errors import ServiceError
from vaegis.service.records.blocks import Block, Decoder, RecordLimits


class Streams:
    """What the tests of all decoders share."""

    @staticmethod
    def limits(**changes: Any) -> RecordLimits:
        usual = {
            "max_records": 1,
            "max_body_records": 1_000_000,
            "max_held_bytes": 1 << 20,
            "max_columns": 100,
            "max_values": 1000,
            "max_depth": 8,
            "max_faults": 10,
        }
        return RecordLimits(**{**usual, "unknown_columns": "reject", **changes})

    @staticmethod
    def blocks(decoder: Decoder, body: bytes, parts: int | Iterable[int] | None = None) -> list[Block]:
        """Feed a body to a decoder, ``parts`` bytes at a time, or cut where told."""
        cuts = (
            range(parts, len(body), parts)
            if isinstance(parts, int)
            else sorted(cut for cut in parts or () if cut < len(body))
        )
        blocks: list[Block] = []
        for start, stop in pairwise([0, *cuts, len(body)]):
            blocks += decoder.feed(body[start:stop])
        return [*blocks, *decoder.finish()]

    @classmethod
    def outcome(cls, decoded: Callable[..., list[Block]], *args: Any, **changes: Any) -> list[list[Any]] | type:
        """Return the rows of what is decoded, or the kind of error that it ends with."""
        try:
            return cls.rows(decoded(*args, **changes))
        except ServiceError as error:
            return type(error)

    @staticmethod
    def rows(blocks: Sequence[Block]) -> list[list[Any]]:
        """Return each record's numbers, strings and which are observed, or the columns and codes of its faults."""
        found: list[list[Any]] = []
        for block in blocks:
            assert block.first_row == len(found)
            columns, sound = block.columns, 0
            for row in range(block.records):
                faults = block.faults.get(row)
                if faults is None:
                    values = columns.numbers[sound].tolist(), columns.strings[sound], columns.strings_observed[sound]
                    found.append([value for part in values for value in part])
                    sound += 1
                else:
                    assert {fault.row for fault in faults} == {len(found)}
                    found.append([(fault.column, fault.code) for fault in faults])
            assert sound == len(columns)
        return found


@pytest.fixture(scope="session")
def streams() -> type[Streams]:
    return Streams

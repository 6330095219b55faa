"""Verdicts as CloudEvents (CloudEvents 1.0): one event for each event of the request, with its id."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from vaegis.service.http.writers.json import lines_of
from vaegis.service.http.writers.writer import JSON_END, AnswerMetadata
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import FIELDS, Verdicts

EVENT_TYPE: Final = "vaegis.verdicts"
"""The attribute `type` of answers."""
SPECVERSION: Final = "1.0"

_ENCODER: Final = msgspec.json.Encoder()


def event_source(model: str) -> str:
    """Return the attribute `source` of answers of a model.

    >>> event_source("orders")
    '/models/orders'
    """
    return f"/models/{quote(model, safe='')}"


class EventsWriter:
    """Writes events whose `data` are JSON answers with one result; a list of them for a batch."""

    def __init__(self, metadata: AnswerMetadata, *, is_batch: bool, has_errors: bool) -> None:
        """Write events by the model of ``metadata``; without errors, blocks have no faults."""
        attributes = {"source": event_source(metadata.model), "type": EVENT_TYPE, "datacontenttype": "application/json"}
        self._start = b'{"specversion":"%b","id":' % SPECVERSION.encode()
        self._middle = b"," + _ENCODER.encode(attributes)[1:-1] + b',"data":' + metadata.json_start
        self._fields = (*FIELDS, "errors") if has_errors else FIELDS
        self._is_batch = is_batch
        self._is_first = True

    def start(self) -> bytes:
        """Open the list of a batch."""
        return b"[" if self._is_batch else b""

    def part(self, block: Block, verdicts: Verdicts) -> bytes:
        """Return the events of a block."""
        ids = block.event_ids[block.first_row : block.first_row + block.records]
        events = [self._event(*pair) for pair in zip(ids, lines_of(block, verdicts), strict=True)]
        separator = b"" if self._is_first else b","
        self._is_first = False
        return separator + b",".join(events)

    def end(self) -> bytes:
        """Close the list of a batch."""
        return b"]" if self._is_batch else b""

    def _event(self, event_id: str, line: object) -> bytes:
        result = _ENCODER.encode({name: getattr(line, name) for name in self._fields})
        return b"".join((self._start, _ENCODER.encode(event_id), self._middle, result, JSON_END, b"}"))

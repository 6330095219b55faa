"""Verdicts as one JSON document, which may have the faults of records in it, as NDJSON and as CloudEvents."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import msgspec

from vaegis.service.http.writers.writer import JSON_END, AnswerMetadata, Writer, columns_of, json_rows, rows_of
from vaegis.service.records.blocks import Block, in_order
from vaegis.service.records.faults import error_fields
from vaegis.service.verdicts import FIELDS, Verdicts

LINE_FIELDS: Final = ("row", *FIELDS, "errors")
"""The fields of a line, in the order in which they are written."""
EVENT_TYPE: Final = "vaegis.verdicts"
"""The attribute `type` of answers that are CloudEvents (CloudEvents 1.0)."""
SPECVERSION: Final = "1.0"

_ENCODER: Final = msgspec.json.Encoder()
_LINE: Final = msgspec.defstruct("Line", [(name, Any, None) for name in LINE_FIELDS], gc=False)
_REPORTED_FIELDS: Final = (*FIELDS, "errors")


def json_writer(metadata: AnswerMetadata, *, has_errors: bool) -> Writer:
    """Write one document; if ``has_errors``, each result has ``errors``, and otherwise blocks have no faults."""
    return Writer(_reported if has_errors else _results, metadata.json_start, b",", JSON_END)


def ndjson_writer() -> Writer:
    """Write one line of JSON for each record."""
    return Writer(lambda block, verdicts: _ENCODER.encode_lines(_lines_of(block, verdicts)))


def events_writer(metadata: AnswerMetadata, *, is_batch: bool, has_errors: bool) -> Writer:
    """Write one event for each of the request, with its id; its `data` are a JSON answer with one result.

    Args:
        metadata: What the answer says beside its results.
        is_batch: Whether the answer is a list of events.
        has_errors: Whether each result has ``errors``; otherwise blocks have no faults.
    """
    attributes = {"source": event_source(metadata.model), "type": EVENT_TYPE, "datacontenttype": "application/json"}
    start = b'{"specversion":"%b","id":' % SPECVERSION.encode()
    middle = b"," + _ENCODER.encode(attributes)[1:-1] + b',"data":' + metadata.json_start
    fields = _REPORTED_FIELDS if has_errors else FIELDS

    def part(block: Block, verdicts: Verdicts) -> bytes:
        ids = map(_ENCODER.encode, block.event_ids[block.first_row : block.first_row + block.records])
        results = (_ENCODER.encode(_fields_of(line, fields)) for line in _lines_of(block, verdicts))
        pairs = zip(ids, results, strict=True)
        return b",".join(b"".join((start, event_id, middle, result, JSON_END, b"}")) for event_id, result in pairs)

    return Writer(part, b"[", b",", b"]") if is_batch else Writer(part, separator=b",")


def event_source(model: str) -> str:
    """Return the attribute `source` of answers of a model.

    >>> event_source("orders")
    '/models/orders'
    """
    return f"/models/{quote(model, safe='')}"


def _results(_: Block, verdicts: Verdicts) -> bytes:
    return json_rows(rows_of(verdicts))


def _reported(block: Block, verdicts: Verdicts) -> bytes:
    return _ENCODER.encode([_fields_of(line, _REPORTED_FIELDS) for line in _lines_of(block, verdicts)])[1:-1]


def _lines_of(block: Block, verdicts: Verdicts) -> list[Any]:
    """Return the lines of a block. Raises what `columns_of` does."""
    rows = range(block.first_row, block.first_row + block.records)
    sound = [row for row in rows if row - block.first_row not in block.faults] if block.faults else rows
    lines = [*map(_LINE, sound, *columns_of(verdicts))]
    faulty = (_LINE(block.first_row + row, errors=error_fields(faults)) for row, faults in block.faults.items())
    return in_order(block, lines, faulty)


def _fields_of(line: object, names: tuple[str, ...]) -> dict[str, object]:
    return {name: getattr(line, name) for name in names}

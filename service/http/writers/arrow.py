"""Verdicts as an Arrow IPC stream: a batch for each block of records, of the types that `vaegis score` writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, compress
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.http.writers.flat_builder import Item, Number, Structs, Table, flat
from vaegis.service.http.writers.json import LINE_FIELDS
from vaegis.service.http.writers.writer import NUMBERS, AnswerMetadata, Writer
from vaegis.service.records.arrow.messages import CONTINUATION, END, PREFIX_BYTES, MessageType
from vaegis.service.records.blocks import Block
from vaegis.service.verdicts import ARRAYS, Verdicts

_VERSION_5: Final = 4
_ALIGNMENT: Final = 8
_KEPT_SCHEMAS: Final = 64  # one takes milliseconds to write, and clients ask for few
_ENCODER = msgspec.json.Encoder()

# Numbers of the union `Type` of Arrow's Schema.fbs, and the fields of their tables.
_INT64 = (2, Table({0: Number("i", 64), 1: Number("?", 1)}))
_FLOAT64 = (3, Table({0: Number("h", 2)}))
_UTF8 = (5, Table({}))
_BOOL = (6, Table({}))
_LIST = (12, Table({}))
_STRUCT = (13, Table({}))


def _field(name: str, kind: tuple[int, Table], *children: Table, nullable: bool = True) -> Table:
    fields: dict[int, Item] = {0: name, 2: Number("B", kind[0]), 3: kind[1], 5: list(children)}
    if nullable:
        fields[1] = Number("?", 1)
    return Table(fields)


def _list_of(name: str, *texts: str, numbers: Sequence[str] = ()) -> Table:
    parts = [_field(part, _FLOAT64 if part in numbers else _UTF8) for part in texts]
    return _field(name, _LIST, _field("item", _STRUCT, *parts))


_FIELDS: Final = {
    "row": _field("row", _INT64, nullable=False),
    **{name: _field(name, _FLOAT64) for name in NUMBERS},
    "is_anomaly": _field("is_anomaly", _BOOL),
    "violations": _list_of("violations", "column", "code", "observed", "limit"),
    "reasons": _field("reasons", _LIST, _field("item", _UTF8)),
    "signature": _field("signature", _UTF8),
    "contributions": _list_of(
        "contributions", "column", "contribution", "observed", "expected", "reason", numbers=("contribution",)
    ),
    "errors": _list_of("errors", "column", "code", "message"),
}


def arrow_writer(metadata: AnswerMetadata) -> Writer:
    """Write record batches after a schema with ``metadata``.

    What was observed and expected in a column is JSON text, since it may be of any type.
    """
    return Writer(_batch, _schema(metadata), end=END)


def _batch(block: Block, verdicts: Verdicts) -> bytes:
    body = _Body()
    n = block.records
    valid = block.sound()
    body.numbers(np.arange(block.first_row, block.first_row + n, dtype=np.int64), None)
    for name in ARRAYS:
        body.numbers(block.spread(getattr(verdicts, name), 0), valid)
    _put_lists(body, block, verdicts, valid)
    batch = Table({0: Number("q", n), 1: Structs(2, body.nodes), 2: Structs(2, body.places)})
    return _message(MessageType.RECORD_BATCH, batch, bytes(body.data))


def _put_lists(body: _Body, block: Block, verdicts: Verdicts, valid: NDArray[np.bool_]) -> None:
    rows = np.flatnonzero(valid).tolist()
    broken = body.lists(rows, verdicts.violations, block.records)
    body.node(len(broken), None)
    body.texts([violation.column for violation in broken])
    body.texts([violation.code.value for violation in broken])
    body.encoded(_json_texts([violation.observed for violation in broken]))
    body.encoded(_json_texts([violation.limit for violation in broken]))
    body.texts([str(reason) for reason in body.lists(rows, verdicts.reasons, block.records)])
    body.sparse_texts(rows, verdicts.signature, block.records)
    items = body.lists(rows, verdicts.contributions, block.records)
    body.node(len(items), None)
    body.texts([item.column for item in items])
    body.numbers(np.array([item.contribution for item in items], dtype=np.float64), None)
    body.encoded(_json_texts([item.observed for item in items]))
    body.encoded(_json_texts([item.expected for item in items]))
    body.texts([None if item.reason is None else str(item.reason) for item in items])
    errors = body.lists(list(block.faults), list(block.faults.values()), block.records)
    body.node(len(errors), None)
    body.texts([error.column for error in errors])
    body.texts([error.code for error in errors])
    body.texts([error.message for error in errors])


class _Body:
    """The buffers of a batch as they are added, and the nodes and places that describe them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.nodes: list[int] = []
        self.places: list[int] = []

    def node(self, length: int, valid: NDArray[np.bool_] | None) -> None:
        """Add a column's length and nulls, and the buffer that says which they are."""
        nulls = 0 if valid is None else length - int(np.count_nonzero(valid))
        self.nodes += (length, nulls)
        self._buffer(np.packbits(valid, bitorder="little") if valid is not None and nulls else np.zeros(0, np.uint8))

    def numbers(self, values: NDArray[Any], valid: NDArray[np.bool_] | None) -> None:
        """Add a column of numbers, or of truth values."""
        self.node(len(values), valid)
        self._buffer(np.packbits(values, bitorder="little") if values.dtype == np.bool_ else values)

    def lists(self, rows: Sequence[int], lists: Sequence[Sequence[Any] | None], records: int) -> list[Any]:
        """Add a column of lists, null but at ``rows``; return what they hold, which is to be added next."""
        # Nearly all lists of a block are None or empty, and these cost next to nothing.
        present = [*compress(range(len(lists)), lists)]
        nulls = lists.count(None)
        if not nulls:
            there = rows
        elif nulls == len(lists) - len(present):
            there = [rows[at] for at in present]
        else:
            there = [row for row, items in zip(rows, lists, strict=True) if items is not None]
        valid = np.zeros(records, dtype=np.bool_)
        valid[there] = True
        lengths = np.zeros(records, dtype=np.int64)
        found = [lists[at] or () for at in present]
        lengths[[rows[at] for at in present]] = [*map(len, found)]
        self.node(records, valid)
        self._offsets(lengths)
        return [*chain.from_iterable(found)]

    def texts(self, texts: Sequence[str | None]) -> None:
        """Add a column of text."""
        if None in texts:
            self.node(len(texts), np.array([text is not None for text in texts], dtype=np.bool_))
        else:
            self.node(len(texts), None)
        self._put_texts([b"" if text is None else text.encode() for text in texts])

    def sparse_texts(self, rows: Sequence[int], texts: Sequence[str | None], records: int) -> None:
        """Add a column of text, null in all records but few of those at ``rows``."""
        present = [*compress(range(len(texts)), texts)]
        valid = np.zeros(records, dtype=np.bool_)
        valid[[rows[at] for at in present]] = True
        encoded = [b""] * records
        for at in present:
            encoded[rows[at]] = (texts[at] or "").encode()
        self.node(records, valid)
        self._put_texts(encoded)

    def encoded(self, texts: Sequence[bytes]) -> None:
        """Add a column of text that is UTF-8 already, and has no nulls."""
        self.node(len(texts), None)
        self._put_texts(texts)

    def _put_texts(self, encoded: Sequence[bytes]) -> None:
        self._offsets(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
        self._buffer(np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def _offsets(self, lengths: NDArray[np.int64]) -> None:
        offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
        np.cumsum(lengths, out=offsets[1:])
        self._buffer(offsets)

    def _buffer(self, values: NDArray[Any]) -> None:
        self.places += (len(self.data), values.nbytes)
        self.data += values.tobytes()
        self.data += bytes(-len(self.data) % _ALIGNMENT)


@lru_cache(_KEPT_SCHEMAS)
def _schema(metadata: AnswerMetadata) -> bytes:
    pairs = [Table({0: f"vaegis.{name}", 1: str(value)}) for name, value in metadata.fields.items()]
    return _message(MessageType.SCHEMA, Table({1: [_FIELDS[name] for name in LINE_FIELDS], 2: pairs}), b"")


def _json_texts(values: Sequence[object]) -> list[bytes]:
    """Return each value as JSON, which has no line feed in it."""
    return _ENCODER.encode_lines(values).split(b"\n")[:-1]


def _message(header: MessageType, table: Table, body: bytes) -> bytes:
    metadata = flat(Table({0: Number("h", _VERSION_5), 1: Number("B", header), 2: table, 3: Number("q", len(body))}))
    metadata += bytes(-(PREFIX_BYTES + len(metadata)) % _ALIGNMENT)
    return CONTINUATION + len(metadata).to_bytes(4, "little") + metadata + body

"""CSV decoded as it arrives: the header, then records in blocks, by the rules that files of CSV have."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from vaegis.service.contract import Schema
from vaegis.service.records import values as rules
from vaegis.service.records.cells import Cells, columns_of_cells
from vaegis.service.records.faults import FaultsByRow
from vaegis.service.records.header import positions_of
from vaegis.service.records.json import BodyError
from vaegis.service.records.kinds import kind_of
from vaegis.service.records.marks import count_marks
from vaegis.service.records.stream.blocks import (
    BLOCK_BYTES,
    Block,
    RecordLimits,
    TooMuchHeldError,
    block_of,
    most_text_records,
)
from vaegis.service.records.stream.csv_rows import (
    MAX_VALUE_CHARACTERS,
    PlainCells,
    PlainRows,
    first_row_of,
    rows_of,
    without_blank_rows,
)
from vaegis.service.records.stream.lines import LineBuffer
from vaegis.service.records.values import CSV_NULLS

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class CsvDecoder:
    """Decodes CSV with a header (RFC 4180, UTF-8). Blank lines are passed over."""

    def __init__(self, schema: Schema, limits: RecordLimits, delimiter: str = ",") -> None:
        """Decode records of ``schema``, whose values are parted by ``delimiter``."""
        csv.field_size_limit(MAX_VALUE_CHARACTERS)  # the module's own, for the whole process
        self._schema = schema
        self._limits = limits
        self._delimiter = delimiter
        self._lines = LineBuffer(limits.max_held_bytes)
        self._most_records = most_text_records(schema)
        self._header: _Header | None = None
        self._rows = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of the body that are held."""
        return len(self._lines)

    @property
    def missing_bytes(self) -> int:
        """None: the next line may be short."""
        return 0

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next part of the body, and yield the blocks that it fills.

        Raises:
            BodyError: it is no CSV.
            RecordError: the header does not fit the schema.
            TooMuchHeldError: a record is longer than allowed.
        """
        self._lines.add(data)
        while lines := self._lines.take_full():
            yield from self._decoded(lines)

    def flush(self) -> Iterator[Block]:
        """Yield the whole records that wait for their block to fill."""
        while lines := self._lines.take_whole():
            yield from self._decoded(lines)

    def end(self) -> Iterator[Block]:
        """Yield the last records.

        Raises:
            BodyError: the body ended within a quoted value, or was empty.
        """
        rest = self._lines.take_rest()
        if rest:  # all at once: a last line without an end would take the model another run
            yield from self._decoded(rest if rest.endswith(b"\n") else rest + b"\n")
        if len(self._lines):
            raise BodyError("invalid_csv", "body: expected quotes to be closed, got one that is still open at the end")
        if self._header is None:
            raise BodyError("empty_body", "body: expected a header and records, got nothing")

    def _decoded(self, lines: bytes) -> Iterator[Block]:
        """Yield the records in whole lines; what is no whole record goes back."""
        self._check_values(lines)
        if self._header is None:
            lines = lines.removeprefix(_BYTE_ORDER_MARK).lstrip(b"\r\n")
            row = first_row_of(lines, self._delimiter)
            if row is None:
                self._put_back(lines, is_first=True)
                return
            self._header, lines = _Header(row[0], self._schema, self._limits, self._delimiter), row[1]
        header, most = self._header, self._most_records
        cells = header.plain.cells(lines) if lines else None
        if cells is None and len(fewer := without_blank_rows(lines)) < len(lines):
            lines = fewer
            cells = header.plain.cells(lines) if lines else None
        if cells is not None:
            for start in range(0, len(cells[0]), most):
                part = [column[start : start + most] for column in cells] if len(cells[0]) > most else cells
                yield self._block(header, part, FaultsByRow(self._limits.max_faults, self._rows))
        elif lines:
            rows, rest = rows_of(lines, self._delimiter)
            self._put_back(rest, is_first=not rows)
            for start in range(0, len(rows), most):
                faults = FaultsByRow(self._limits.max_faults, self._rows)
                yield self._block(header, header.cells(rows[start : start + most], faults), faults)

    def _check_values(self, lines: bytes) -> None:
        """Refuse one record, which is what takes more than a block, that holds more values than may be parsed."""
        most = self._limits.max_values
        if len(lines) > BLOCK_BYTES and count_marks(lines, b"\n" + self._delimiter.encode()) > most:
            raise TooMuchHeldError(f"body: expected records of at most {most} values and lines, got a longer one")

    def _block(self, header: _Header, cells: Sequence[PlainCells], faults: FaultsByRow) -> Block:
        found = {name: _with_nulls(cells[position]) for name, position in header.positions.items()}
        block = block_of(columns_of_cells(self._schema, found, len(cells[0]), faults), faults, self._rows)
        self._rows += block.records
        return block

    def _put_back(self, rest: bytes, *, is_first: bool) -> None:
        if rest:
            self._lines.put_back(rest, is_first=is_first)


class _Header:
    """The columns of one body: where each one stands, and how plain lines of them are parsed."""

    def __init__(self, names: list[str], schema: Schema, limits: RecordLimits, delimiter: str) -> None:
        if not all(map(rules.is_text, names)):
            raise BodyError("invalid_utf8", "header: expected UTF-8, got other bytes")
        if len(names) > limits.max_columns:
            raise BodyError("too_wide", f"header: expected at most {limits.max_columns} columns, got {len(names)}")
        if len(names) == 1 and delimiter == "," and (";" in names[0] or "\t" in names[0]):
            raise BodyError("invalid_csv", "header: expected names parted by commas, got another separator")
        self.positions: Mapping[str, int] = positions_of(names, schema, limits.unknown_columns, limits.max_faults)
        plain = {column.name for column in schema.columns if kind_of(column).is_plain_number}
        numbers = {position for name, position in self.positions.items() if name in plain}
        self.plain = PlainRows(len(names), numbers, delimiter)
        self._width = len(names)

    def cells(self, rows: Sequence[list[str]], faults: FaultsByRow) -> list[PlainCells]:
        """Return rows of any form by position, adding what is wrong with them to ``faults``; a faulty one is blank."""
        even = []
        for row, cells in enumerate(rows):
            if len(cells) != self._width:
                faults.add(
                    row, None, "wrong_width", f"expected {self._width} values as in the header, got {len(cells)}"
                )
            elif not all(map(rules.is_text, cells)):
                faults.add(row, None, "invalid_utf8", "expected UTF-8, got other bytes")
            else:
                even.append(cells)
                continue
            even.append([""] * self._width)
        return [list(column) for column in zip(*even, strict=True)] if even else []


def _with_nulls(cells: PlainCells) -> Cells:
    if isinstance(cells, list):
        return [None if text in CSV_NULLS else text for text in cells]
    return cells

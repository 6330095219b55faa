"""Decode CSV as it arrives: plain lines all at once by a JSON parser, others row by row by the standard library."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import float64_array
from vaegis.service.contract import Column, Schema
from vaegis.service.errors import RecordError
from vaegis.service.records import values as rules
from vaegis.service.records.blocks import BLOCK_BYTES, Block, BodyError, RecordLimits, TooMuchHeldError
from vaegis.service.records.byte_order_marks import lines_without_marks
from vaegis.service.records.cells import Cells, columns_of_cells
from vaegis.service.records.column_names import accepted_names, positions_of
from vaegis.service.records.faults import Faults, Report
from vaegis.service.records.json import count_marks
from vaegis.service.records.kinds import kind_of
from vaegis.service.records.line_decoder import LineDecoder
from vaegis.service.records.sniffing import encoding_hint, looks_like_json
from vaegis.service.records.values import CSV_NULLS

PlainCells: TypeAlias = NDArray[np.float64] | list[str]
"""One column's values: numbers, NaN where blank, or text."""

MAX_VALUE_CHARACTERS: Final = 1 << 20
"""A longer value is refused: it is probably the rest of the body after a quote that is never closed."""
# Stands after the last line. Where it does not come back as a row of its own, a quoted value was still open.
_END: Final = "\x1e\x1e\x1e"
ESCAPED_QUOTES: Final = ["\\"]
"""Stands for a row with backslashes before quotes, which cannot be told from values that end with a backslash."""
_ESCAPED_DELIMITER: Final = "; put values in quotes rather than backslashes before delimiters"
_AFTER_A_QUOTE: Final = "expected after"
_OPEN_AT_END: Final = "unexpected end of data"
"""Of the complaints of `csv` where it is strict."""
_COMMA, _NEWLINE, _QUOTE = b',\n"'
_LINE_ENDS: Final = re.compile(rb"[\r\n]{2,}")
_NOT_UTF8: Final = "invalid_utf8", "expected UTF-8, got other bytes"
_NULL: Final = np.frombuffer(b"null", dtype=np.uint8)
_DELIMITER_NAMES: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_OTHER_DELIMITERS: Final = {
    ";": "`vaegis score` reads them by --delimiter",
    "\t": "text/tab-separated-values is for tabs",
    "|": "`vaegis score` reads them by --delimiter",
    ",": "text/csv is for commas",
}
"""What to do about delimiters that bodies of another type may not have."""
_ONE_LINE: Final = (
    "body: expected a header and records, got one line that is no header of the model; curl sends a file by "
    "--data-binary @FILE, while -d @FILE joins its lines"
)
_TOO_LONG: Final = (
    f"body: expected values of at most {MAX_VALUE_CHARACTERS} characters, got a longer one "
    "(a quote that is never closed?)"
)


class CsvDecoder(LineDecoder):
    """Decodes CSV with a header (RFC 4180, UTF-8). Blank lines are skipped."""

    def __init__(self, schema: Schema, limits: RecordLimits, delimiter: str = ",") -> None:
        """Decode records of ``schema``, whose values are separated by ``delimiter``."""
        super().__init__(schema, limits)
        self._delimiter = delimiter
        self._header: _Header | None = None

    def finish(self) -> Iterator[Block]:
        """Yield the last records.

        Raises:
            BodyError: the body ended within a quoted value, was empty, or one line that is no header of the model.
        """
        rest = self._take_rest()
        is_one_line = self._header is None and b"\n" not in rest and b"\r" not in rest
        if rest:  # all at once: a last line without an end would take the model another run
            try:
                yield from self._decoded(rest if rest.endswith(b"\n") else rest + b"\n")
            except RecordError:
                if is_one_line:
                    raise BodyError("invalid_csv", _ONE_LINE) from None
                raise
        if self._held:
            hint = "; quotes within values are doubled, without backslashes" if b'\\"' in self._held else ""
            raise BodyError("invalid_csv", f"body: expected closed quotes, got one that is open at the end{hint}")
        if self._header is None:
            raise BodyError("empty_body", "body: expected a header and records, got nothing")

    def _decoded(self, lines: bytes) -> Iterator[Block]:
        """Yield the records in complete lines, and keep an incomplete record."""
        self._check_values(lines)
        lines = lines_without_marks(lines)
        if self._header is None:
            lines = lines.lstrip(b"\r\n")
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
                yield self._block_of_cells(header, part, Faults(self._limits.max_faults, self._rows))
        elif lines:
            rows, rest = rows_of(lines, self._delimiter)
            self._put_back(rest, is_first=not rows)
            for start in range(0, len(rows), most):
                faults = Faults(self._limits.max_faults, self._rows)
                yield self._block_of_cells(header, header.cells(rows[start : start + most], faults), faults)

    def _check_values(self, lines: bytes) -> None:
        """Refuse one record, which is what takes more than a block, that holds more values than may be parsed."""
        most = self._limits.max_values
        if len(lines) > BLOCK_BYTES and count_marks(lines, b"\n" + self._delimiter.encode()) > most:
            raise TooMuchHeldError(f"body: expected records of at most {most} values and lines, got a longer one")

    def _block_of_cells(self, header: _Header, cells: Sequence[PlainCells], faults: Faults) -> Block:
        def of_column(column: Column, _: Report) -> Cells | None:
            position = header.positions.get(column.name)
            return None if position is None else _with_nulls(cells[position])

        return self._block(columns_of_cells(self._schema, of_column, len(cells[0]), faults), faults)


class _Header:
    """The columns of one body: where each one stands, and how plain lines of them are parsed."""

    def __init__(self, names: list[str], schema: Schema, limits: RecordLimits, delimiter: str) -> None:
        if not all(map(rules.is_text, names)):
            hint = encoding_hint(names[0].encode("utf-8", "surrogateescape"))
            raise BodyError("invalid_utf8", f"header: expected UTF-8, got other bytes{hint}")
        if any("\0" in name for name in names):
            raise BodyError("invalid_utf8", "header: expected UTF-8, got NUL bytes, as in UTF-16; write it as UTF-8")
        if looks_like_json(names[0].encode()):
            raise BodyError("invalid_csv", "header: expected names of columns, got JSON; Content-Type names the format")
        if len(names) > limits.max_columns:
            raise BodyError("too_wide", f"header: expected at most {limits.max_columns} columns, got {len(names)}")
        other = next((mark for mark in _OTHER_DELIMITERS if mark in names[0] and mark != delimiter), None)
        if len(names) == 1 and other and names[0] not in accepted_names(schema):
            got = f"{delimiter_name(other)}; {_OTHER_DELIMITERS[other]}"
            expected = f"names separated by {delimiter_name(delimiter)}"
            raise BodyError("invalid_csv", f"header: expected {expected}, got {got}")
        self.positions: Mapping[str, int] = positions_of(names, schema, limits.unknown_columns, limits.max_faults)
        plain = {column.name for column in schema.columns if kind_of(column).is_plain_number and column.reading is None}
        numbers = {position for name, position in self.positions.items() if name in plain}
        self.plain = PlainRows(len(names), numbers, delimiter)
        self._width = len(names)

    def cells(self, rows: Sequence[list[str]], faults: Faults) -> list[PlainCells]:
        """Return rows of any form by position, and report faults to ``faults``. A faulty row is blank."""
        even = []
        for row, cells in enumerate(rows):
            fault = row_fault(cells, self._width)
            if fault is not None:
                faults.add_fault(row, None, *fault)
            even.append(cells if fault is None else [""] * self._width)
        return [list(column) for column in zip(*even, strict=True)] if even else []


def delimiter_name(delimiter: str) -> str:
    """Return how messages name a delimiter.

    >>> delimiter_name(";"), delimiter_name("|")
    ('semicolons', '"|"')
    """
    return _DELIMITER_NAMES.get(delimiter) or json.dumps(delimiter)


def csv_reader(lines: Iterable[str], delimiter: str, **options: Any) -> Any:  # noqa: ANN401 - csv names no type of it
    """Return a `csv.reader` that refuses values of more than `MAX_VALUE_CHARACTERS`."""
    csv.field_size_limit(MAX_VALUE_CHARACTERS)  # the module has one limit for all of its readers
    return csv.reader(lines, delimiter=delimiter, **options)


def first_row_of(lines: bytes, delimiter: str, **options: Any) -> tuple[list[str], bytes] | None:  # noqa: ANN401 - of csv.reader
    """Return the first row that is not blank and the bytes after it; None if the lines end before it does.

    Raises:
        BodyError: a value is too long.
    """
    physical = _physical(lines)
    for row, _, end in _numbered(physical, delimiter, options):
        if end > len(physical):
            break
        if row:
            return row, _bytes(physical[end:])
    return None


def without_blank_rows(lines: bytes) -> bytes:
    """Return lines without blank rows; unchanged if any is quoted. A few compressed bytes may hold millions of them."""
    return lines if b'"' in lines else _LINE_ENDS.sub(b"\n", lines.lstrip(b"\r\n"))


def rows_of(lines: bytes, delimiter: str, **options: Any) -> tuple[list[list[str]], bytes]:  # noqa: ANN401 - of csv.reader
    """Return the rows in whole lines, blank ones left out, and the bytes of a last row that has not ended.

    Bytes that are not UTF-8 become lone surrogates.

    Raises:
        BodyError: a value is too long.
    """
    physical = _physical(lines)
    quote = options.get("quotechar", '"')
    if quote and options.get("escapechar") is None and b"\\" + quote.encode() in lines:
        past_backslashes = _rows_past_backslashes(physical, delimiter, quote, options)
        if past_backslashes is not None:
            return past_backslashes
    try:
        # Blank rows are left out before they gather: that takes an eighth of the time.
        rows = list(filter(None, csv_reader(chain(physical, (_END,)), delimiter, **options)))
    except csv.Error:
        raise BodyError("invalid_csv", _TOO_LONG) from None
    rest = b""
    if rows.pop() != [_END]:
        *_, (_, start, _) = _numbered(physical, delimiter, options)
        rest = _bytes(physical[start:])
    return rows, rest


def _rows_past_backslashes(
    physical: Sequence[str], delimiter: str, quote: str, options: Mapping[str, Any]
) -> tuple[list[list[str]], bytes] | None:
    r"""Return the rows and the rest as `rows_of` does, with `ESCAPED_QUOTES` for those whose quotes have backslashes.

    Without this, ``"12\" wide"`` would be read as another text. None where quotes are wrong in another way.
    """
    taken: list[str] = []

    def noted() -> Iterator[str]:
        for line in chain(physical, (_END,)):
            taken.append(line)
            yield line

    reader = csv_reader(noted(), delimiter, strict=True, **options)
    rows: list[list[str]] = []
    while True:
        taken.clear()
        try:
            row = next(reader)
        except csv.Error as error:
            if _OPEN_AT_END in str(error):
                return rows, _bytes(taken[:-1])
            if _AFTER_A_QUOTE not in str(error) or not any(f"\\{quote}" in line for line in taken):
                return None
            row = ESCAPED_QUOTES
        if row == [_END]:
            return rows, b""
        if row:
            rows.append(row)


def row_fault(cells: Sequence[str], width: int) -> tuple[str, str] | None:
    """Return the code of what is wrong with a row, and what was expected; None if it is a record."""
    if cells is ESCAPED_QUOTES:
        return "invalid_csv", "expected quotes within values to be doubled, got backslashes before them"
    if len(cells) != width:
        code, detail = wrong_width(width, len(cells))
        is_escaped = len(cells) > width and any(cell.endswith("\\") for cell in cells[:-1])
        return code, f"{detail}{_ESCAPED_DELIMITER if is_escaped else ''}"
    return None if rules.is_text("".join(cells)) else _NOT_UTF8


def wrong_width(expected: int, found: int) -> tuple[str, str]:
    """Return the code of a row that is no record because of its width, and what was expected."""
    return "wrong_width", f"expected {expected} values as in the header, got {found}"


class PlainRows:
    """Parses lines without quotes in which every row has all its values, several times as fast as row by row."""

    def __init__(self, width: int, numbers: Collection[int], delimiter: str) -> None:
        """Expect ``width`` values per row; those at the positions ``numbers`` are numbers."""
        self._width = width
        self._numbers = sorted(numbers)
        self._texts = [position for position in range(width) if position not in numbers]
        self._delimiter = delimiter.encode()
        kinds: list[tuple[str, Any]] = [
            (f"value_{position}", float | None if position in numbers else str) for position in range(width)
        ]
        row: Any = msgspec.defstruct("Row", kinds, array_like=True, gc=False, frozen=True)
        item: Any = row if self._texts else float | None
        self._decoder: msgspec.json.Decoder[list[Any]] = msgspec.json.Decoder(list[item])

    def cells(self, lines: bytes) -> list[PlainCells] | None:
        """Return the values by position; None if the lines are not plain or a number does not parse.

        Args:
            lines: Bytes that end with a line.
        """
        plain = self._plain(lines)
        document = None if plain is None else self._as_json(plain)
        if document is None:
            return None
        try:
            decoded = self._decoder.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not self._texts:
            return list(float64_array(decoded).reshape(-1, self._width).T)
        values = [*chain.from_iterable(map(msgspec.structs.astuple, decoded))]
        cells: list[PlainCells] = [values[position :: self._width] for position in range(self._width)]
        for position in self._numbers:
            cells[position] = float64_array(values[position :: self._width])
        return cells

    def _plain(self, lines: bytes) -> bytes | None:
        """Return the lines with commas and newlines alone between the values; None if they are not plain."""
        if b'"' in lines or (self._texts and b"\\" in lines):
            return None
        if b"\r" in lines:
            lines = lines.replace(b"\r\n", b"\n")
            if b"\r" in lines:
                return None
        if self._delimiter != b",":
            return None if b"," in lines else lines.replace(self._delimiter, b",")
        return lines

    def _as_json(self, lines: bytes) -> bytes | None:
        """Return the lines as JSON, a list of their lists; None if a row has too many or too few values.

        Of numbers alone, whose text nothing can hide in, it is one list.
        """
        letters = np.frombuffer(lines, dtype=np.uint8)
        separators = np.flatnonzero((letters == _COMMA) | (letters == _NEWLINE))
        if separators.size % self._width or (self._width == 1 and b"\n\n" in b"\n" + lines):
            return None
        ends = separators.reshape(-1, self._width)
        if len(ends) != lines.count(b"\n") or not (letters[ends[:, -1]] == _NEWLINE).all():
            return None
        starts = np.concatenate(([0], separators[:-1] + 1)).reshape(ends.shape)
        places, marks = self._marks(starts, ends)
        if places.size:
            lines = np.insert(letters, places, marks).tobytes()
        if not self._texts:
            return b"[" + lines[:-1].replace(b"\n", b",") + b"]"
        return b"[[" + lines[:-1].replace(b"\n", b"],[") + b"]]"

    def _marks(self, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Return what to insert before which byte: quotes around text, and null for blank numbers."""
        numbers = starts[:, self._numbers]
        blank = numbers[numbers == ends[:, self._numbers]]
        texts = np.stack((starts[:, self._texts], ends[:, self._texts]), axis=-1).ravel()
        places = np.concatenate((np.repeat(blank, _NULL.size), texts))
        marks = np.concatenate((np.tile(_NULL, blank.size), np.full(texts.size, _QUOTE, dtype=np.uint8)))
        return places, marks


def _with_nulls(cells: PlainCells) -> Cells:
    if isinstance(cells, list):
        return [None if text in CSV_NULLS else text for text in cells]
    return cells


def _physical(lines: bytes) -> list[str]:
    return list(io.StringIO(lines.decode("utf-8", "surrogateescape"), newline=""))


def _bytes(physical: Sequence[str]) -> bytes:
    return "".join(physical).encode("utf-8", "surrogateescape")


def _numbered(
    physical: Sequence[str], delimiter: str, options: Mapping[str, Any]
) -> Iterator[tuple[list[str], int, int]]:
    """Yield each row with the number of lines before it and through its end."""
    reader = csv_reader(chain(physical, (_END,)), delimiter, **options)
    start = 0
    try:
        for row in reader:
            yield row, start, reader.line_num
            start = reader.line_num
    except csv.Error:
        raise BodyError("invalid_csv", _TOO_LONG) from None

"""Parse JSON bodies strictly, and convert their records, by row or by column, to columns."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NoReturn, TypeGuard

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema
from vaegis.service.errors import Fault, RecordError, ServiceError
from vaegis.service.records.cells import columns_of_cells
from vaegis.service.records.column_names import (
    UnknownColumns,
    is_index_name,
    no_known_column,
    positions_of,
    shown,
    unknown_column,
)
from vaegis.service.records.faults import Faults
from vaegis.service.records.json_limits import count_marks, nests_deeper_than
from vaegis.service.records.values import described

_SPACE = b" \t\r\n"
_NO_SPACE = re.compile(r"[^ \t\r\n]")

VALUE_MARKS = b",[{"
"""What begins or parts values."""

_MORE = "Extra data"  # as Python's parser says it
_EXPECTED = {
    "Expecting property name enclosed in double quotes": "a name in double quotes",
    "Illegal trailing comma before end of object": "no comma before the end",
    "Illegal trailing comma before end of array": "no comma before the end",
    "Expecting value": "a value",
    "Expecting ',' delimiter": "a comma",
    "Expecting ':' delimiter": "a colon",
    "Invalid control character at": "an escape for the control character",
    "Unterminated string starting at": "an end of the text",
}
"""What is missing in a document, by what Python's parser says of it."""
_MISTAKES = (
    (re.compile(r".?\0"), "UTF-16; write it as UTF-8"),
    (re.compile(r"@|[\w./\\~-]+\.\w+\s*\Z"), "the name of a file; with curl, --data-binary @FILE sends what is in it"),
    (re.compile(r"[\s{\[]*'"), "text in single quotes; JSON has double quotes, as json.dumps writes them"),
    (re.compile(r"[\[\s]*\{\s*\w+\s*:"), "JSON without quotes, which a shell may have removed; send it from a file"),
    (re.compile(r"[\w.%+-]+=[^,\n]*\Z"), "a form; send JSON"),
    (re.compile(r"[^{}\[\]\n]*[,;\t]"), "CSV (Content-Type: text/csv, or a file named .csv)"),
)
"""What text that is no JSON seems to be, by how it begins."""
_MOST_LOOKED_AT = 200  # characters
_LATEST_MISTAKE = 2
"""Position up to which an error is rather of the whole text than of one value."""

_MAGIC = {
    b"\x1f\x8b": "gzip; send `Content-Encoding: gzip`",
    b"\x28\xb5\x2f\xfd": "zstd; send `Content-Encoding: zstd`",
    b"PK\x03\x04": "a zip or Excel file",
    b"PAR1": "Parquet, which `vaegis score` reads",
    b"\xff\xfe": "UTF-16; write it as UTF-8",
    b"\xfe\xff": "UTF-16; write it as UTF-8",
}
"""What data seem to be, by their first bytes."""

MAX_FAULTS = 100
"""Most faults that are listed, unless the caller sets another limit."""


class BodyError(ServiceError):
    """A body that is not strict JSON; ``code`` names the fault, and the text holds no part of the body but a key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooManyValuesError(ServiceError):
    """A body with more values than the service parses."""


def encoding_hint(data: bytes) -> str:
    """Return what data that are not UTF-8 seem to be, as the end of a message; nothing if their start does not say.

    >>> encoding_hint(b"PAR1")
    '; it seems to be Parquet, which `vaegis score` reads'
    """
    found = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    return "" if found is None else f"; it seems to be {found}"


def require_few_values(body: bytes, max_values: int) -> None:
    """Pass if a body can be parsed as JSON without taking too much memory.

    A value may take a hundred bytes in memory for two in the body, so that a limit of bytes alone bounds little.
    Values are counted by what begins or parts them: commas and opening brackets, also within text.

    Raises:
        TooManyValuesError: there are more than ``max_values``.
    """
    values = count_marks(body, VALUE_MARKS)
    if values > max_values:
        raise TooManyValuesError(f"body: expected at most {max_values} commas and opening brackets, got {values}")


def refused_constant(name: str) -> NoReturn:
    """Refuse a literal that JSON does not have."""
    raise BodyError("not_finite", f"body: expected finite numbers, got the literal {name}, which JSON does not have")


def null_for_nan(name: str) -> None:
    """Return a null for NaN, and refuse another literal."""
    if name != "NaN":
        refused_constant(name)


def parse_json(body: bytes, *, max_depth: int, constant: Callable[[str], object] = refused_constant) -> object:
    """Parse a body as strict JSON, in linear time and without unbounded recursion.

    Beyond RFC 8259, keys of an object must differ. Numbers beyond float64 become infinite here and are refused by the
    rules of the column that holds them.

    Args:
        body: The bytes, UTF-8; a byte order mark is skipped.
        max_depth: Levels of arrays and objects within each other, at least 1.
        constant: Returns the value of a literal NaN, Infinity or -Infinity, which Python's own encoder writes.

    Raises:
        BodyError: With code ``empty_body``, ``invalid_utf8``, ``invalid_json``, ``too_deep``, ``duplicate_key``,
            ``not_finite`` or ``too_large``.
    """
    text = _text(body, max_depth)
    with _body_errors(max_depth):
        return _decoder(constant).decode(text)


def line_fault(line: bytes, error: BodyError) -> str:
    """Return what is wrong with a line of NDJSON that cannot be parsed, with the likely cause."""
    detail = str(error).removeprefix("body: ")
    last = line.rstrip()[-1:]
    if error.code != "invalid_json" or last not in b"[{,":
        return detail
    if last == b",":
        return "expected one JSON record per line, got a comma at the end of the line"
    return f"{detail}; a line of NDJSON is a whole record, as jq -c writes it; records over several lines are JSON"


def parse_records(body: bytes, *, max_depth: int, most: int) -> list[object]:
    """Parse a body as `parse_json` does, into the list that it holds, or of the one thing that it is.

    A list is parsed element by element, so that no call keeps other threads waiting for long, up to ``most`` elements
    and one more: what comes then is not looked at.
    """
    text, decoder = _text(body, max_depth), _decoder(refused_constant)
    at = _after_space(text, 0)
    with _body_errors(max_depth):
        if text[at] != "[":
            return [decoder.decode(text)]
        records: list[object] = []
        at = _after_space(text, at + 1)
        if text.startswith("]", at):
            return _at_end(text, at + 1, records)
        while True:
            record, at = decoder.raw_decode(text, at)
            records.append(record)
            at = _after_space(text, at)
            if len(records) > most:
                return records
            if text.startswith("]", at):
                return _at_end(text, at + 1, records)
            if not text.startswith(",", at):
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at = _after_space(text, at + 1)


def columns_from_records(
    records: Sequence[object],
    schema: Schema,
    *,
    unknown_columns: UnknownColumns = "reject",
    max_faults: int = MAX_FAULTS,
) -> Columns:
    """Return records, each a parsed JSON object, by column.

    Objects within a record flatten with dots. An absent key is a null. Columns that the model ignores are accepted
    and dropped.

    Args:
        records: The parsed records, n of them.
        schema: The columns to fill.
        unknown_columns: Whether a column that is not in the schema is a fault.
        max_faults: Most faults that are listed; the others are counted.

    Raises:
        RecordError: With the faults in order of row, then of column.
    """
    faults = Faults(max_faults)
    columns = filled_columns(records, schema, faults, unknown_columns=unknown_columns)
    faults.raise_any()
    return columns


def filled_columns(
    records: Sequence[object], schema: Schema, faults: Faults, *, unknown_columns: UnknownColumns
) -> Columns:
    """Return records as `columns_from_records` does, but report faults to ``faults``. Faulty values are null."""
    shape = RecordShape(schema, ignore_unknown=unknown_columns == "ignore")
    flat = [shape.flat(row, record, faults) for row, record in enumerate(records)]
    return columns_of_cells(schema, lambda name: [record.get(name) for record in flat], len(flat), faults)


def is_by_column(document: object) -> TypeGuard[Mapping[str, list[object]]]:
    """Tell whether a parsed body holds records by column; an empty object is a record without columns."""
    return isinstance(document, dict) and bool(document) and all(isinstance(value, list) for value in document.values())


def filled_from_lists(
    lists: Mapping[str, list[object]],
    schema: Schema,
    faults: Faults,
    *,
    unknown_columns: UnknownColumns,
    max_faults: int,
) -> Columns:
    """Return records that are given as a list of values for each column. Values follow the rules of records.

    Args:
        lists: The values of each column.
        schema: The columns to fill.
        faults: Collects what is wrong with values, which then are null.
        unknown_columns: Whether a column that is not in the schema is refused.
        max_faults: Most faults of names and lengths that are listed.

    Raises:
        RecordError: The lists are not equally long, or their names do not fit the schema.
    """
    for name, values in lists.items():
        if len(lists) == 1 and name not in schema.names and values and isinstance(values[0], dict):
            hint = f"; to score the objects in it, send that list as the body, or set VAEGIS_UNWRAP=/{shown(name)}"
            raise RecordError(
                (Fault(None, shown(name), "unknown_column", f"columns.{shown(name)}: unknown column{hint}"),)
            )
    records = _length(lists, max_faults)
    parents = {name.partition(".")[0] for name in (*schema.names, *(column.name for column in schema.ignored))}
    if any(name in parents and any(isinstance(value, dict) for value in values) for name, values in lists.items()):
        rows = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
        return filled_columns(rows, schema, faults, unknown_columns=unknown_columns)
    positions_of(list(lists), schema, unknown_columns, max_faults, "columns")
    return columns_of_cells(schema, lists.get, records, faults)


class RecordShape:
    """The columns that a record may have, by name, as one schema gives them."""

    def __init__(self, schema: Schema, *, ignore_unknown: bool) -> None:
        self._names = schema.names
        self._scored = frozenset(self._names)
        self._dropped = frozenset(column.name for column in schema.ignored)
        self._known = self._scored | self._dropped
        self._parents = frozenset(
            name[:dot] for name in self._known if "." in name for dot, letter in enumerate(name) if letter == "."
        )
        self._ignore_unknown = ignore_unknown
        self._unknown_names = 0

    def flat(self, row: int, record: object, faults: Faults) -> Mapping[str, object]:
        """Return the record's known columns by full name, and report the others to ``faults``."""
        if not isinstance(record, dict):
            faults.add_fault(row, None, "not_an_object", f"expected an object, got {described(record)}")
            return {}
        if record.keys() <= self._known and not self._scored.isdisjoint(record):
            return record
        found: dict[str, object] = {}
        recognised, refused = self._walk(row, "", record, found, faults)
        if not recognised and not refused:
            faults.add_fault(row, None, "no_known_column", no_known_column(record, self._names))
        return found

    def _walk(
        self, row: int, prefix: str, part: Mapping[str, object], found: dict[str, object], faults: Faults
    ) -> tuple[bool, bool]:
        """Gather the columns under ``prefix``; return whether a scored one was among them, and whether any was refused.

        Only names under which the schema has a column are entered, so the schema bounds both depth and names.
        """
        recognised, refused = False, False
        for key, value in part.items():
            name = prefix + key
            if name in self._known:
                if name in found:
                    faults.add_fault(
                        row, name, "duplicate_key", "expected the column once, got it both nested and with dots"
                    )
                    refused = True
                found[name] = value
                recognised |= name in self._scored
            elif name not in self._parents:
                refused |= self._unknown(row, name, faults)
            elif isinstance(value, dict):
                below = self._walk(row, f"{name}.", value, found, faults)
                recognised, refused = recognised or below[0], refused or below[1]
            elif value is None:
                recognised = True
            else:
                faults.add_fault(row, name, "wrong_type", f"expected an object, got {described(value)}")
                refused = True
        return recognised, refused

    def _unknown(self, row: int, name: str, faults: Faults) -> bool:
        if self._ignore_unknown or is_index_name(name):
            return False
        if not faults.would_keep(row):
            faults.count(row, 1)
            return True
        faults.add_fault(row, name, "unknown_column", unknown_column(name, self._names, self._unknown_names))
        self._unknown_names += 1
        return True


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object's pairs as a dict, unless a key comes twice."""
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BodyError("duplicate_key", f"body: expected each key once, got {shown(key)!r} twice")
            seen.add(key)
    return built


@cache
def _decoder(constant: Callable[[str], object]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_object, parse_constant=constant)


def _text(body: bytes, max_depth: int) -> str:
    """Return a body as text, neither blank nor too deep."""
    if not body.strip(_SPACE):
        raise BodyError("empty_body", "body: expected JSON, got nothing")
    try:
        text = body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        hint = encoding_hint(body)
        raise BodyError("invalid_utf8", f"body: expected UTF-8, got an invalid byte at {error.start}{hint}") from None
    if nests_deeper_than(body, max_depth):
        raise _too_deep(max_depth)
    return text


def _after_space(text: str, at: int) -> int:
    found = _NO_SPACE.search(text, at)
    return found.start() if found else len(text)


def _at_end(text: str, at: int, records: list[object]) -> list[object]:
    end = _after_space(text, at)
    if end != len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return records


@contextmanager
def _body_errors(max_depth: int) -> Iterator[None]:
    """Turn what the parser raises into our own error."""
    try:
        yield
    except json.JSONDecodeError as error:
        detail = error.msg.split(":")[0]
        if detail == _MORE:
            several = f"expected one JSON value, got more after it at character {error.pos}"
            hint = "send one record per line as application/x-ndjson; curl -d joins lines, --data-binary keeps them"
            raise BodyError("invalid_json", f"body: {several}; {hint}") from None
        wanted = f"JSON with {_EXPECTED[detail]}" if detail in _EXPECTED else "valid JSON"
        got = "other text" if error.doc[error.pos :].strip() else "its end"
        hint = _mistake(error.doc) if error.pos <= _LATEST_MISTAKE else ""
        raise BodyError("invalid_json", f"body: expected {wanted} at character {error.pos}, got {got}{hint}") from None
    except RecursionError:  # Only where max_depth is beyond what the interpreter allows.
        raise _too_deep(max_depth) from None
    except ValueError:  # The one other: an integer with more digits than the interpreter converts.
        raise BodyError("too_large", "body: expected integers of at most 4300 digits, got a longer one") from None


def _mistake(text: str) -> str:
    """Return what text that is no JSON from its beginning on seems to be, as the end of a message."""
    beginning = text[:_MOST_LOOKED_AT]
    found = next((what for pattern, what in _MISTAKES if pattern.match(beginning)), None)
    return "" if found is None else f"; it seems to be {found}"


def _too_deep(max_depth: int) -> BodyError:
    return BodyError("too_deep", f"body: expected at most {max_depth} levels of nesting, got more")


def _length(lists: Mapping[str, list[object]], max_faults: int) -> int:
    first = len(next(iter(lists.values())))
    faults = tuple(
        Fault(
            row=None,
            column=shown(name),
            code="wrong_length",
            message=f"columns.{shown(name)}: expected {first} values as in the first column, got {len(values)}",
        )
        for name, values in lists.items()
        if len(values) != first
    )
    if faults:
        raise RecordError(faults[:max_faults], max(0, len(faults) - max_faults))
    return first

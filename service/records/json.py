"""JSON bodies and the records in them: strict parsing, and records by row turned into columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Categories, Columns, build_columns
from vaegis.service.contract import NO_CATEGORY, Column, Schema
from vaegis.service.errors import ServiceError
from vaegis.service.records import values as rules
from vaegis.service.records.cells import numbers_of_texts
from vaegis.service.records.faults import FaultList, Faults, Report
from vaegis.service.records.flatten import RecordShape
from vaegis.service.records.kinds import NumberKind, number_kind_of
from vaegis.service.records.names import UnknownColumns, shown
from vaegis.service.records.nesting import nests_deeper_than

_SPACE = b" \t\r\n"
_NO_SPACE = re.compile(r"[^ \t\r\n]")
VALUE_MARKS = b",[{"
"""What begins or parts values."""
MAX_FAULTS = 100
"""Faults told in full where the caller sets no limit of its own."""


class BodyError(ServiceError):
    """A body that is not strict JSON; ``code`` names the fault, and the text holds no part of the body but a key."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def parse_json(body: bytes, *, max_depth: int) -> object:
    """Parse a body as strict JSON, in linear time and without unbounded recursion.

    Beyond RFC 8259, keys of an object must differ. Numbers beyond float64 become infinite here and are refused by the
    rules of the column that holds them.

    Args:
        body: The bytes, UTF-8 without a byte order mark.
        max_depth: Levels of arrays and objects within each other, at least 1.

    Raises:
        BodyError: With code ``empty_body``, ``invalid_utf8``, ``invalid_json``, ``too_deep``, ``duplicate_key``,
            ``not_finite`` or ``too_large``.
    """
    text = _text(body, max_depth)
    with _told(max_depth):
        return _DECODER.decode(text)


def parse_records(body: bytes, *, max_depth: int, most: int) -> list[object]:
    """Parse a body as `parse_json` does, into the list that it holds, or of the one thing that it is.

    A list is parsed element by element, so that no call keeps other threads waiting for long, up to ``most`` elements
    and one more: what comes then is not looked at.
    """
    text = _text(body, max_depth)
    at = _after_space(text, 0)
    with _told(max_depth):
        if text[at] != "[":
            return [_DECODER.decode(text)]
        records: list[object] = []
        at = _after_space(text, at + 1)
        if text.startswith("]", at):
            return _at_end(text, at + 1, records)
        while True:
            record, at = _DECODER.raw_decode(text, at)
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

    Objects within a record flatten with dots. An absent key is a null. Columns that training set aside are accepted
    and dropped.

    Args:
        records: The parsed records, n of them.
        schema: The columns to fill.
        unknown_columns: Whether a column that is not in the schema is a fault.
        max_faults: Faults told in full; further ones are counted only.

    Raises:
        RecordError: With the faults in order of row, then of column.
    """
    faults = FaultList(max_faults)
    columns = filled_columns(records, schema, faults, unknown_columns=unknown_columns)
    faults.raise_any()
    return columns


def filled_columns(
    records: Sequence[object], schema: Schema, faults: Faults, *, unknown_columns: UnknownColumns
) -> Columns:
    """Return records as `columns_from_records` does, adding what is wrong to ``faults``; faulty values are null."""
    shape = RecordShape(schema, ignore_unknown=unknown_columns == "ignore")
    flat = [shape.flat(row, record, faults) for row, record in enumerate(records)]
    return columns_of_values(schema, len(flat), lambda name: [record.get(name) for record in flat], faults)


def columns_of_values(
    schema: Schema, records: int, values_of: Callable[[str], list[object] | None], faults: Faults
) -> Columns:
    """Return records by column, given a function that finds the values of a column by its name, if there are any."""

    def numbers(position: int, column: Column) -> NDArray[np.float64] | None:
        values = values_of(column.name)
        report = faults.of_column(column.name, position)
        return None if values is None else numbers_of_values(values, number_kind_of(column), report)

    def categories(position: int, column: Column) -> Categories | None:
        values = values_of(column.name)
        if values is None:
            return None
        found = categories_of_values(values, faults.of_column(column.name, position))
        return found, [value is not None for value in values]

    return build_columns(schema, records, numbers, categories)


def numbers_of_values(values: list[object], kind: NumberKind[Any], report: Report) -> NDArray[np.float64]:
    """Return a column's values as float64, NaN where null; the rules value by value only where a shortcut fails."""
    types = set(map(type, values))
    types.discard(type(None))
    numeric = types <= {int, float} or (kind.takes_truths and types <= {bool, int, float})
    fast = _fast_numbers(values, kind) if numeric else None
    if fast is not None:
        return fast
    if types == {str}:
        return numbers_of_texts(cast("list[str | None]", values), kind, report)
    converted = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if value is not None:
            try:
                converted[row] = kind.parse(value)
            except rules.RefusedValueError as refusal:
                report(row, refusal.code, str(refusal))
    return converted


def _fast_numbers(values: list[object], kind: NumberKind[Any]) -> NDArray[np.float64] | None:
    """Return the values, all numbers or null, at once; None where one of them breaks a rule."""
    try:
        converted = np.array(values, dtype=np.float64)  # None becomes NaN.
    except OverflowError:
        return None
    if np.count_nonzero(np.isfinite(converted)) + values.count(None) != len(values):
        return None
    converted, wrong = kind.of_numbers(converted)
    return None if wrong.any() else converted


def categories_of_values(values: list[object], report: Report) -> list[str]:
    """Return a column's values as categories, `contract.NO_CATEGORY` where null."""
    types = set(map(type, values))
    if types <= {str, type(None)}:
        texts = [NO_CATEGORY if value is None else str(value) for value in values]
        if rules.is_text("".join(texts)):
            return texts
    converted = [NO_CATEGORY] * len(values)
    for row, value in enumerate(values):
        if value is not None:
            try:
                converted[row] = rules.category(value)
            except rules.RefusedValueError as refusal:
                report(row, refusal.code, str(refusal))
    return converted


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object's pairs as a dict, unless a key comes twice."""
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise BodyError("duplicate_key", f"body: expected keys that differ, got {shown(key)!r} twice")
            seen.add(key)
    return built


def _refuse_constant(name: str) -> NoReturn:
    raise BodyError("not_finite", f"body: expected finite numbers, got the literal {name}, which JSON does not have")


def _text(body: bytes, max_depth: int) -> str:
    """Return a body as text, neither blank nor too deep."""
    if not body.strip(_SPACE):
        raise BodyError("empty_body", "body: expected JSON, got nothing")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BodyError("invalid_utf8", f"body: expected UTF-8, got an invalid byte at {error.start}") from None
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
def _told(max_depth: int) -> Iterator[None]:
    """Turn what the parser raises into our own error."""
    try:
        yield
    except json.JSONDecodeError as error:
        detail = error.msg.split(":")[0]
        raise BodyError("invalid_json", f"body: expected valid JSON, got {detail!r} at character {error.pos}") from None
    except RecursionError:  # Only where max_depth is beyond what the interpreter allows.
        raise _too_deep(max_depth) from None
    except ValueError:  # The one other: an integer with more digits than the interpreter converts.
        raise BodyError("too_large", "body: expected integers of at most 4300 digits, got a longer one") from None


def _too_deep(max_depth: int) -> BodyError:
    return BodyError("too_deep", f"body: expected at most {max_depth} levels of nesting, got more")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)

"""The types in an Arrow schema message, as far as scoring needs them.

The layouts: https://arrow.apache.org/docs/format/Columnar.html; the messages: `format/Schema.fbs` of Arrow's sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from vaegis.service.records.arrow.flat_tables import FlatTable
from vaegis.service.records.blocks import BodyError, TooMuchHeldError


class ArrowKind(Enum):
    """What a type is to scoring."""

    NULL = "null"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    TEXT_VIEW = "text view"
    TEXT_OF_WIDTH = "text of one width"
    DECIMAL = "decimal"
    INSTANT = "instant"
    DURATION = "duration"
    STRUCT = "struct"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ArrowType:
    """One type.

    Attributes:
        buffers: How many buffers a column of it has, those of its children not counted.
        form: Type of its numbers, offsets or instants, as numpy names it.
        width: Bytes of a decimal, whose decimal places are ``scale``, or of a text of one width.
        seconds: Seconds that one unit of an instant or a duration lasts, divided by the next.
        units: See above; two numbers, so that both are whole.
        is_variadic: Whether further buffers follow, whose number each batch tells.
    """

    name: str
    kind: ArrowKind = ArrowKind.OTHER
    buffers: int = 2
    form: str = ""
    width: int = 0
    scale: int = 0
    seconds: float = 1.0
    units: float = 1.0
    is_variadic: bool = False


@dataclass(frozen=True, slots=True)
class ArrowField:
    """A column, or a part of one.

    Attributes:
        name: Its name within what it is part of.
        type: Its type; of a dictionary, that of the values.
        children: Its parts.
        dictionary: Number of the dictionary that holds its values, if one does.
        index: Type of the positions in that dictionary.
    """

    name: str
    type: ArrowType
    children: tuple[ArrowField, ...]
    dictionary: int | None
    index: ArrowType


_LAYOUTS: Final = {
    1: ArrowType("null", ArrowKind.NULL, buffers=0),
    4: ArrowType("binary", ArrowKind.TEXT, 3, "<i4"),
    5: ArrowType("string", ArrowKind.TEXT, 3, "<i4"),
    6: ArrowType("bool", ArrowKind.BOOLEAN),
    11: ArrowType("interval"),
    12: ArrowType("list"),
    13: ArrowType("struct", ArrowKind.STRUCT, buffers=1),
    16: ArrowType("fixed_size_list", buffers=1),
    17: ArrowType("map"),
    19: ArrowType("large_binary", ArrowKind.TEXT, 3, "<i8"),
    20: ArrowType("large_string", ArrowKind.TEXT, 3, "<i8"),
    21: ArrowType("large_list"),
    22: ArrowType("run_end_encoded", buffers=0),
    23: ArrowType("binary_view", ArrowKind.TEXT_VIEW, is_variadic=True),
    24: ArrowType("string_view", ArrowKind.TEXT_VIEW, is_variadic=True),
    25: ArrowType("list_view", buffers=3),
    26: ArrowType("large_list_view", buffers=3),
}
"""Types without parameters that matter, by their number in the union `Type`."""
_BITS: Final = (8, 16, 32, 64)
_UNIT_NAMES: Final = ("s", "ms", "us", "ns")
_DAY: Final = 86_400.0
_LITTLE_ENDIAN: Final = 0
_INT32: Final = ArrowType("int32", ArrowKind.INTEGER, form="<i4")


class TextBudget:
    """Bytes of text that may be held at one time, counted before the text is allocated.

    A few bytes of a body can refer to one long text many times.
    """

    def __init__(self, most: int, what: str) -> None:
        """Allow ``most`` bytes of ``what``, a name for messages."""
        self._most = most
        self._left = most
        self._what = what

    def spend(self, size: int) -> None:
        """Count ``size`` bytes.

        Raises:
            TooMuchHeldError: Fewer are left.
        """
        self._left -= size
        if self._left < 0:
            raise TooMuchHeldError(f"body: expected {self._what} of at most {self._most} bytes, got more")


def arrow_error(detail: str) -> BodyError:
    """Return the error for a body that is not an Arrow stream, or has an unsupported feature."""
    return BodyError("invalid_arrow", f"body: expected {detail}")


def read_schema(schema: FlatTable, *, max_columns: int, max_depth: int, names: TextBudget) -> tuple[ArrowField, ...]:
    """Return the columns of a schema message.

    Args:
        schema: The table `Schema`.
        max_columns: Most columns, parts of columns counted.
        max_depth: Deepest nesting of them.
        names: Budget for their names.

    Raises:
        BodyError: It goes beyond a limit, or has what is not read here.
        FlatTableError: It is no such table.
        TooMuchHeldError: The names are longer than allowed.
    """
    if schema.number(0, "h", _LITTLE_ENDIAN) != _LITTLE_ENDIAN:
        raise arrow_error("little-endian buffers, got big-endian ones")
    left = iter(range(max_columns, -1, -1))
    return tuple(_field(field, left, max_depth, names) for field in schema.tables(1))


def _field(field: FlatTable, left: Iterator[int], depth: int, names: TextBudget) -> ArrowField:
    # A table may be pointed to from many places, so that few bytes hold any number of fields: they are counted.
    if next(left, 0) == 0:
        raise BodyError("too_wide", "schema: expected fewer columns and nested fields, got more than allowed")
    if depth == 0:
        raise BodyError("too_deep", "schema: expected less nesting, got more levels than allowed")
    children = tuple(_field(child, left, depth - 1, names) for child in field.tables(5))
    encoding = field.table(4)
    index = _INT32
    if encoding is not None:
        given = encoding.table(1)
        index = _INT32 if given is None else _integer(given)
    return ArrowField(
        name=field.text(0, names.spend),
        type=_type(field.number(2, "B", 0), field.table(3)),
        children=children,
        dictionary=None if encoding is None else encoding.number(0, "q", 0),
        index=index,
    )


def _type(number: int, details: FlatTable | None) -> ArrowType:
    if number in _LAYOUTS:
        return _LAYOUTS[number]
    if number not in _WITH_DETAILS or details is None:
        raise _unknown()
    return _WITH_DETAILS[number](details)


def _integer(details: FlatTable) -> ArrowType:
    bits, is_signed = details.number(0, "i", 0), bool(details.number(1, "?", default=0))
    if bits not in _BITS:
        raise _unknown()
    sign = "" if is_signed else "u"
    return ArrowType(f"{sign}int{bits}", ArrowKind.INTEGER, form=f"<{'i' if is_signed else 'u'}{bits // 8}")


def _float(details: FlatTable) -> ArrowType:
    precision = _among(details.number(0, "h", 0), 3)
    return ArrowType(
        ("float16", "float32", "float64")[precision], ArrowKind.FLOAT, form=("<f2", "<f4", "<f8")[precision]
    )


def _decimal(details: FlatTable) -> ArrowType:
    width, scale = details.number(2, "i", 128) // 8, details.number(1, "i", 0)
    if width not in (4, 8, 16, 32) or abs(scale) > 8 * width:
        raise _unknown()
    return ArrowType(f"decimal{8 * width}", ArrowKind.DECIMAL, width=width, scale=scale)


def _date(details: FlatTable) -> ArrowType:
    if details.number(0, "h", 1):
        return ArrowType("date64", ArrowKind.INSTANT, form="<i8", units=1e3)
    return ArrowType("date32", ArrowKind.INSTANT, form="<i4", seconds=_DAY)


def _timestamp(details: FlatTable) -> ArrowType:
    return _of_units("timestamp[{}]", ArrowKind.INSTANT, details.number(0, "h", 0))


def _time(details: FlatTable) -> ArrowType:
    unit, bits = details.number(0, "h", 1), details.number(1, "i", 32)
    if bits not in (32, 64):
        raise _unknown()
    return _of_units(f"time{bits}[{{}}]", ArrowKind.INSTANT, unit, form=f"<i{bits // 8}")


def _duration(details: FlatTable) -> ArrowType:
    return _of_units("duration[{}]", ArrowKind.DURATION, details.number(0, "h", 1))


def _of_units(name: str, kind: ArrowKind, unit: int, form: str = "<i8") -> ArrowType:
    """Return a type whose values count units of time; the name of the unit with this number completes ``name``."""
    _among(unit, len(_UNIT_NAMES))
    return ArrowType(name.format(_UNIT_NAMES[unit]), kind, form=form, units=10.0 ** (3 * unit))


def _union(details: FlatTable) -> ArrowType:
    return ArrowType("union", buffers=1 + _among(details.number(0, "h", 0), 2))  # dense unions have offsets


def _fixed_size_binary(details: FlatTable) -> ArrowType:
    width = details.number(0, "i", 0)
    kind = ArrowKind.TEXT_OF_WIDTH if width > 0 else ArrowKind.OTHER
    return ArrowType(f"fixed_size_binary[{width}]", kind, width=width)


def _among(value: int, count: int) -> int:
    if not 0 <= value < count:
        raise _unknown()
    return value


def _unknown() -> BodyError:
    return arrow_error("types of Arrow's columnar format, got an unknown one")


_WITH_DETAILS: Final = {
    2: _integer,
    3: _float,
    7: _decimal,
    8: _date,
    9: _time,
    10: _timestamp,
    14: _union,
    15: _fixed_size_binary,
    18: _duration,
}
"""Types with parameters, likewise."""

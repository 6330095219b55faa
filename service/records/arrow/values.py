"""Convert Arrow arrays to numpy values, and these to the cells of a column."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.records import values as rules
from vaegis.service.records.arrow.record_batches import ArrowArray
from vaegis.service.records.arrow.types import ArrowKind, ArrowType, TextBudget, arrow_error
from vaegis.service.records.blocks import BodyError
from vaegis.service.records.cells import Cells, Instants
from vaegis.service.records.column_kind import ColumnKind, NumberKind
from vaegis.service.records.faults import Report

_INLINE: Final = 12  # bytes of text that a view holds itself
_VIEW_BYTES: Final = 16
_VIEW_HEAD: Final = 4  # bytes of a view before its text
_INT64_BYTES: Final = 8
_EXACT_INTEGER: Final = 2**53
_EXACT_POWER: Final = 22  # of ten, in float64


@dataclass(frozen=True, slots=True)
class ArrowValues:
    """Some values of one column.

    Attributes:
        type: Their type.
        values: Text as `str` objects, numbers and truth values as they came, instants in seconds since 1970, decimals
            as float64; of types that no column takes, whatever it may be.
        valid: Which of them are no nulls; None if all are.
        sizes: Bytes of each text in a body of Arrow; otherwise None.
        broken: Which texts are not UTF-8; None if all are.
    """

    type: ArrowType
    values: NDArray[Any]
    valid: NDArray[np.bool_] | None
    sizes: NDArray[np.int64] | None = None
    broken: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def held_bytes(self) -> int:
        """Return about what they take in memory."""
        texts = sum(map(sys.getsizeof, self.values)) if self.values.dtype == np.object_ else 0
        return self.values.nbytes + texts

    def text_bytes(self) -> int:
        """Return the bytes of all texts."""
        return 0 if self.sizes is None else int(self.sizes.sum())

    def look_up(self, positions: NDArray[Any], valid: NDArray[np.bool_] | None, budget: TextBudget) -> ArrowValues:
        """Return the values at ``positions``, null where those are not ``valid``.

        Raises:
            BodyError: There is no value at a position.
            TooMuchHeldError: The texts there, each counted as often as it is referred to, exceed the budget.
        """
        at = positions if valid is None else np.where(valid, positions, 0)
        if at.size and (at.min() < 0 or at.max() >= len(self)) and not (valid is not None and not valid.any()):
            raise arrow_error("positions inside the dictionary, got one outside")
        if not len(self):
            return ArrowValues(self.type, np.zeros(at.size, dtype=self.values.dtype), valid)
        both = _both(valid, None if self.valid is None else self.valid[at])
        sizes = None
        if self.sizes is not None:
            sizes = self.sizes[at]
            budget.spend(int(sizes.sum() if both is None else sizes[both].sum()))
        return ArrowValues(self.type, self.values[at], both, sizes, None if self.broken is None else self.broken[at])

    def within(self, valid: NDArray[np.bool_] | None) -> ArrowValues:
        """Return the values, null also where the object that holds them is not ``valid``."""
        return self if valid is None else replace(self, valid=_both(self.valid, valid))


def stacked_values(parts: Sequence[ArrowValues]) -> ArrowValues:
    """Return the values of all parts, which are of one type; at least one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    valid = broken = sizes = None
    if any(part.valid is not None for part in parts):
        valid = np.concatenate([np.ones(len(each), np.bool_) if each.valid is None else each.valid for each in parts])
    if any(part.broken is not None for part in parts):
        broken = np.concatenate(
            [np.zeros(len(each), np.bool_) if each.broken is None else each.broken for each in parts]
        )
    known = [part.sizes for part in parts if part.sizes is not None]
    if len(known) == len(parts):
        sizes = np.concatenate(known)
    return ArrowValues(first.type, np.concatenate([part.values for part in parts]), valid, sizes, broken)


def values_of(array: ArrowArray, start: int, stop: int, budget: TextBudget) -> ArrowValues:
    """Return values ``start`` to ``stop`` of an array that does not refer to a dictionary.

    Raises:
        BodyError: Its buffers contradict each other.
        TooMuchHeldError: Its texts exceed the budget.
    """
    kind = array.layout.kind
    if kind is ArrowKind.TEXT:
        return _texts(array, start, stop, budget)
    if kind is ArrowKind.TEXT_VIEW:
        return _viewed_texts(array, start, stop, budget)
    if kind is ArrowKind.TEXT_OF_WIDTH:
        return _texts_of_width(array, start, stop, budget)
    valid = array.valid(start, stop)
    values: NDArray[Any]
    if kind in (ArrowKind.INTEGER, ArrowKind.FLOAT):
        values = array.fixed(1, array.layout.form, start, stop)
    elif kind is ArrowKind.BOOLEAN:
        values = array.bits(1, start, stop)
    elif kind in (ArrowKind.INSTANT, ArrowKind.DURATION):
        units = array.fixed(1, array.layout.form, start, stop).astype(np.float64)
        values = units * array.layout.seconds / array.layout.units
    elif kind is ArrowKind.DECIMAL:
        values = _decimals(array, start, stop)
    else:
        values = np.zeros(stop - start)
        valid = np.zeros(stop - start, dtype=np.bool_) if kind is ArrowKind.NULL else valid
    return ArrowValues(array.layout, values, valid)


def cells_of(found: ArrowValues, kind: ColumnKind[Any], report: Report) -> Cells:  # noqa: PLR0911 - one for each type
    """Return values as the cells of a column. Values of a wrong type are reported and null.

    Args:
        found: The values.
        kind: The column's.
        report: Reports refused values.
    """
    of_type = found.type.kind
    if of_type in (ArrowKind.TEXT, ArrowKind.TEXT_VIEW, ArrowKind.TEXT_OF_WIDTH):
        return _valid_texts(found, report)
    if not isinstance(kind, NumberKind):
        if of_type is ArrowKind.INTEGER:
            return _with_nulls(list(map(str, found.values.tolist())), found)
        if of_type is ArrowKind.FLOAT and (whole := _whole_texts(_numbers(found))) is not None:
            return whole
        if of_type is ArrowKind.BOOLEAN:
            return _with_nulls(["true" if value else "false" for value in found.values.tolist()], found)
    elif of_type is ArrowKind.INSTANT and kind.takes_instants:
        return Instants(_numbers(found))
    elif _holds_numbers(of_type, kind):
        return _numbers(found)
    for row in np.flatnonzero(np.ones(len(found)) if found.valid is None else found.valid).tolist():
        report(row, "wrong_type", f"expected {kind.expected}, got the type {found.type.name}")
    return [None] * len(found)


def _holds_numbers(of_type: ArrowKind, kind: NumberKind[Any]) -> bool:
    """Tell whether values of a type are numbers of a kind; a duration is no instant."""
    if of_type is ArrowKind.DURATION:
        return not kind.takes_instants
    if of_type is ArrowKind.BOOLEAN:
        return kind.takes_truths
    return of_type in (ArrowKind.INTEGER, ArrowKind.FLOAT, ArrowKind.DECIMAL)


def _whole_texts(numbers: NDArray[np.float64]) -> list[str | None] | None:
    """Return whole numbers in decimal, None for NaN; None if one is no whole number that float64 tells from others."""
    present = ~np.isnan(numbers)
    if (np.abs(numbers[present]) > _EXACT_INTEGER).any() or (numbers[present] != np.floor(numbers[present])).any():
        return None
    return [None if number != number else str(int(number)) for number in numbers.tolist()]  # noqa: PLR0124 - NaN


def _both(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _numbers(found: ArrowValues) -> NDArray[np.float64]:
    numbers = found.values.astype(np.float64, copy=False)
    return numbers if found.valid is None else np.where(found.valid, numbers, np.nan)


def _with_nulls(texts: list[Any], found: ArrowValues) -> list[str | None]:
    if found.valid is None:
        return texts
    return [text if valid else None for text, valid in zip(texts, found.valid.tolist(), strict=True)]


def broken_texts(texts: Sequence[str]) -> NDArray[np.bool_] | None:
    """Return which texts UTF-8 cannot hold; None if it can hold all of them."""
    if rules.is_text("".join(texts)):
        return None
    return np.array([not rules.is_text(text) for text in texts], dtype=np.bool_)


def _valid_texts(found: ArrowValues, report: Report) -> list[str | None]:
    texts = _with_nulls(found.values.tolist(), found)
    if found.broken is not None:
        for row in np.flatnonzero(found.broken).tolist():
            if texts[row] is not None:
                report(row, "invalid_utf8", "expected UTF-8, got other bytes")
                texts[row] = None
    return texts


def _texts(array: ArrowArray, start: int, stop: int, budget: TextBudget) -> ArrowValues:
    """Return text; bytes that are not UTF-8 become lone surrogates."""
    values = np.empty(stop - start, dtype=object)
    valid = array.valid(start, stop)
    if start == stop:
        return ArrowValues(array.layout, values, valid, np.zeros(0, dtype=np.int64))
    offsets = array.fixed(1, array.layout.form, start, stop + 1)
    held = array.buffer(2)
    if offsets[0] < 0 or offsets[-1] > len(held) or (np.diff(offsets) < 0).any():
        raise arrow_error("offsets that ascend inside their text, got others")
    budget.spend(int(offsets[-1]) - int(offsets[0]))
    data = bytes(held[int(offsets[0]) : int(offsets[-1])])
    ends = (offsets - offsets[0]).tolist()
    sizes = np.diff(offsets).astype(np.int64)
    if data.isascii():
        text = data.decode()
        values[:] = [text[begin:end] for begin, end in pairwise(ends)]
        return ArrowValues(array.layout, values, valid, sizes)
    values[:] = texts = [_decoded(data[begin:end]) for begin, end in pairwise(ends)]
    return ArrowValues(array.layout, values, valid, sizes, broken_texts(texts))


def _viewed_texts(array: ArrowArray, start: int, stop: int, budget: TextBudget) -> ArrowValues:
    """Return text of views, which hold short text themselves, and of long text in which buffer it stands and where."""
    data = array.fixed(1, f"V{_VIEW_BYTES}", start, stop).tobytes()
    views = np.frombuffer(data, dtype="<i4").reshape(-1, 4)
    valid = array.valid(start, stop)
    nulls = [False] * len(views) if valid is None else (~valid).tolist()
    sizes = views[:, 0].astype(np.int64)
    if valid is not None:
        sizes[~valid] = 0
    if (sizes < 0).any():
        raise _outside_buffers()
    budget.spend(int(sizes.sum()))
    known: dict[tuple[int, ...], str] = {}  # many views may point to one place
    values = np.empty(stop - start, dtype=object)
    for row, (view, is_null) in enumerate(zip(views.tolist(), nulls, strict=True)):
        length, _, buffer, offset = view
        if is_null or length <= _INLINE:
            begin = row * _VIEW_BYTES + _VIEW_HEAD
            values[row] = "" if is_null else _decoded(data[begin : begin + length])
            continue
        place = length, buffer, offset
        if place not in known:
            held = array.buffer(2 + buffer) if 0 <= buffer < array.buffers - 2 else memoryview(b"")
            if not 0 <= offset <= len(held) - length:
                raise _outside_buffers()
            known[place] = _decoded(bytes(held[offset : offset + length]))
        values[row] = known[place]
    return ArrowValues(array.layout, values, valid, sizes, broken_texts(values.tolist()))


def _texts_of_width(array: ArrowArray, start: int, stop: int, budget: TextBudget) -> ArrowValues:
    """Return text that is stored as bytes of one width."""
    width = array.layout.width
    sizes = np.full(stop - start, width, dtype=np.int64)
    budget.spend(width * (stop - start))
    data = array.fixed(1, f"V{width}", start, stop).tobytes()
    values = np.empty(stop - start, dtype=object)
    values[:] = texts = [_decoded(data[begin : begin + width]) for begin in range(0, len(data), width)]
    return ArrowValues(array.layout, values, array.valid(start, stop), sizes, broken_texts(texts))


def _outside_buffers() -> BodyError:
    return arrow_error("views of places inside their buffers, got one outside")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _decimals(array: ArrowArray, start: int, stop: int) -> NDArray[np.float64]:
    """Return decimals rounded to float64; infinite beyond it."""
    width, scale = array.layout.width, array.layout.scale
    data = array.fixed(1, f"V{width}", start, stop).tobytes()
    if width <= _INT64_BYTES:
        integers = np.frombuffer(data, dtype=f"<i{width}").astype(np.int64)
    else:
        words = np.frombuffer(data, dtype="<i8").reshape(stop - start, -1)
        integers = words[:, 0]
        if (words[:, 1:] != (integers >> 63)[:, None]).any():
            integers = np.full(stop - start, _EXACT_INTEGER)  # more than 64 bits are in use
    if 0 <= scale <= _EXACT_POWER and (np.abs(integers) < _EXACT_INTEGER).all():
        return np.asarray(integers / 10.0**scale, dtype=np.float64)
    whole = (int.from_bytes(data[at : at + width], "little", signed=True) for at in range(0, len(data), width))
    return np.fromiter((_rounded(integer, scale) for integer in whole), dtype=np.float64, count=stop - start)


def _rounded(integer: int, scale: int) -> float:
    try:
        return integer / 10**scale if scale >= 0 else float(integer * 10**-scale)
    except OverflowError:
        return math.copysign(math.inf, integer)

"""Profile the texts of one column: how many differ, how long they are, and as what they parse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vaegis.service.records.values import FALSE_WORDS, NULL_MARKERS, TRUE_WORDS, RefusedValueError, instant_of_text
from vaegis.training.data.profiling.number_profile import NumberTally
from vaegis.training.data.profiling.other_text import OtherText, commonest_other
from vaegis.training.data.profiling.text_patterns import (
    dated,
    first_alike,
    null_like,
    period_like,
    quantity_like,
    time_like,
)
from vaegis.training.data.profiling.written_dates import DateWriting, date_writing
from vaegis.training.data.profiling.written_numbers import NumberWriting, have_dotted_thousands, number_writing
from vaegis.training.data.profiling.written_zones import zones_of
from vaegis.training.data.row_location import RowLocation

MAX_COUNTED_CHARACTERS = 256
"""A longer text is not counted as a category, so that counting is bounded in memory."""

_NUMBER = r"(?i)^[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?|nan)$"
_LEADING_ZERO = r"^[+-]?0(\d{1,6}(\D|$)|\d{8,}|\d*[1-9])"
"""Eight zeros are no code, but no date."""
_FRACTION = r"^[+-]?\d+\.\d*[1-9]"
_EPOCH = r"^\d{9,19}(\.\d+)?$"
_INSTANT = r"^\d{4}-\d{2}-\d{2}([Tt ]\S+)?$|^\d{8}[Tt]\S+$"
_LIKE_INSTANT = (
    r"^\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|^\d{8}[Tt]"
    r"|^\[?([A-Z][a-z]{2,8},? )?\d{1,2}[ /-][A-Z][a-z]{2}[ /-]\d{2}|^\\?/Date\("
)
"""What every text that the common rules read as an instant begins with; many other texts do as well."""
_CODES = frozenset(("T", "F", "J", "SI", "NIE"))
"""Truth values that may rather be codes where the column holds no other."""
_MARKERS = pa.array(sorted(NULL_MARKERS), pa.string())


@dataclass(frozen=True, slots=True)
class Parsed:
    """How many of a column's texts can be read as one kind.

    Attributes:
        count: Their number.
        first_other: Where the first text stands that cannot; None where all can.
    """

    count: int
    first_other: RowLocation | None


@dataclass(frozen=True, slots=True)
class TextProfile:
    """The texts of a column.

    Attributes:
        distinct: Number of distinct texts, or of those counted where ``is_capped``.
        is_capped: Whether there may be more distinct texts than were counted.
        counts: Number of records per counted text, largest first.
        mean_characters: Mean length.
        numbers: Texts that are numbers.
        truths: Texts that are true, false, 0 or 1.
        instants: Texts that are dates or times by the rules that all columns share, such as ISO 8601.
        times: Texts that are such instants, or numbers of their size since 1970.
        are_flags: Whether they are truth values, and cannot be codes such as F for female: both truth values, words, or
            letters that are flags alone.
        has_leading_zeros: Whether some numbers have them, as postcodes and account numbers do.
        has_fractions: Whether some numbers have digits after a decimal point.
        markers: Texts that stand for a null in columns of numbers and times, but not in others.
        other: The commonest text that is neither a plain number nor such a marker.
        other_instant: The same for texts that are no instants.
        written: How numbers are written that are not plain.
        dates: How dates are written that are not ISO 8601.
        period_like: One of the texts if all of them name a period of a year, such as 2024-03.
        time_like: One of the texts if most of them look like dates or times.
        dated: One of the texts if most of them hold a day of one year.
        quantity_like: One of the texts if most of them look like decimals with something beside.
        alike: Two of the texts if they differ in case or blanks alone.
        null_like: The commonest of the texts that programs write for a null.
        zones: The time zones that they name, as `zones_of` has them, if they are dates and times.
    """

    distinct: int
    is_capped: bool
    counts: tuple[int, ...]
    mean_characters: float
    numbers: Parsed
    truths: Parsed
    instants: Parsed
    times: Parsed
    are_flags: bool
    has_leading_zeros: bool
    has_fractions: bool
    markers: int
    other: OtherText | None
    other_instant: OtherText | None
    written: NumberWriting | None
    dates: DateWriting | None
    period_like: str | None
    time_like: str | None
    dated: str | None
    quantity_like: str | None
    alike: tuple[str, str] | None
    null_like: str | None
    zones: frozenset[str]

    @property
    def records(self) -> int:
        """Number of records of the counted texts, without those that stand for a null."""
        return sum(self.counts) - self.markers


class TextTally:
    """Gathers a `TextProfile` batch by batch; and, of the texts that are numbers, what `NumberTally` does."""

    def __init__(self, max_distinct: int) -> None:
        self.numbers = NumberTally()
        self._max_distinct = max_distinct
        self._counts: dict[str, int] = {}
        self._is_capped = False
        self._counted: pa.Array | None = None  # The texts counted, once no others will be.
        self._seen = 0
        self._characters = 0
        self._has_leading_zeros = False
        self._has_fractions = False
        self._markers = 0
        self._parsed = {"number": 0, "truth": 0, "instant": 0, "time": 0}
        self._first_other: dict[str, RowLocation] = {}

    def observe(self, texts: pa.Array, location: Callable[[int], RowLocation]) -> None:
        """Profile texts; nulls do not count. ``location`` returns the location of the text at an index."""
        counted = pc.value_counts(texts.drop_null())
        values, counts = counted.field("values"), counted.field("counts").to_numpy()
        if not len(values):
            return
        self._seen += int(counts.sum())
        self._characters += int((pc.utf8_length(values).to_numpy() * counts).sum())
        self._count(values, counts)
        trimmed = pc.utf8_trim_whitespace(values)
        masks = {"number": _are_numbers(trimmed), "truth": _are_truths(trimmed), "instant": _are_instants(trimmed)}
        masks["time"] = masks["instant"] | _are_epochs(trimmed)
        markers = _are_markers(trimmed)
        self._markers += int(counts[markers].sum())
        for kind, mask in masks.items():
            self._parsed[kind] += int(counts[mask & ~markers].sum())
            if not (mask | markers).all() and kind not in self._first_other:
                others = pc.is_in(texts, value_set=values.filter(pa.array(~(mask | markers))))
                self._first_other[kind] = location(pc.index(others, value=True).as_py())
        self._add_numbers(trimmed, counts, masks["number"])
        self._add_order(texts, location, are_numbers=bool(masks["number"].all()))

    def profile(self) -> TextProfile:
        """Return what was gathered."""
        unsigned = (text.strip().lstrip("+-") for text in self._counts)
        are_thousands = "number" not in self._first_other and have_dotted_thousands(unsigned)
        is_plain = not are_thousands and (
            self._seen == self._markers or any(kind not in self._first_other for kind in self._parsed)
        )
        dates = None if is_plain else date_writing(self._counts, self._of_kind(_are_instants))
        return TextProfile(
            distinct=len(self._counts),
            is_capped=self._is_capped,
            counts=tuple(sorted(self._counts.values(), reverse=True)),
            mean_characters=self._characters / max(1, self._seen),
            numbers=self._result("number"),
            truths=self._result("truth"),
            instants=self._result("instant"),
            times=self._result("time"),
            are_flags="truth" not in self._first_other and self._are_flags(),
            has_leading_zeros=self._has_leading_zeros,
            has_fractions=self._has_fractions,
            markers=self._markers,
            other=self._commonest_other(_are_numbers),
            other_instant=self._commonest_other(_are_instants),
            written=None if is_plain else number_writing(self._counts),
            dates=dates,
            period_like=None if is_plain else period_like(self._counts),
            time_like=None if is_plain else time_like(self._counts),
            dated=None if is_plain else dated(self._counts),
            quantity_like=None if is_plain else quantity_like(self._counts),
            alike=None if is_plain else first_alike(self._counts),
            null_like=null_like(self._counts),
            zones=zones_of(self._counts) if dates or self._parsed["instant"] else frozenset(),
        )

    def _commonest_other(self, are_of_kind: Callable[[pa.Array], NDArray[np.bool_]]) -> OtherText | None:
        return commonest_other(self._counts, self._of_kind(are_of_kind))

    def _of_kind(self, are_of_kind: Callable[[pa.Array], NDArray[np.bool_]]) -> frozenset[str]:
        """Return the texts that can be read as one kind."""
        texts = pa.array(self._counts, pa.string())
        return frozenset(texts.filter(pa.array(are_of_kind(pc.utf8_trim_whitespace(texts)))).to_pylist())

    def _are_flags(self) -> bool:
        texts = {text.strip() for text in self._counts if text.strip()}
        return len({text.lower() for text in texts} - NULL_MARKERS) > 1 or not texts & _CODES

    def _result(self, kind: str) -> Parsed:
        return Parsed(self._parsed[kind], self._first_other.get(kind))

    def _count(self, values: pa.Array, counts: NDArray[np.int64]) -> None:
        if self._counted is not None:
            known = pc.is_in(values, value_set=self._counted)
            values, counts = values.filter(known), counts[known.to_numpy(zero_copy_only=False)]
        for value, count in zip(values.to_pylist(), counts.tolist(), strict=True):
            if value in self._counts:
                self._counts[value] += count
            elif len(self._counts) < self._max_distinct and len(value) <= MAX_COUNTED_CHARACTERS:
                self._counts[value] = count
            else:
                self._is_capped = True
        if self._counted is None and len(self._counts) == self._max_distinct:
            self._counted = pa.array(self._counts, pa.string())
            self._is_capped = True

    def _add_numbers(self, trimmed: pa.Array, counts: NDArray[np.int64], mask: NDArray[np.bool_]) -> None:
        if not mask.any():
            return
        numbers = trimmed.filter(pa.array(mask))
        self._has_leading_zeros |= bool(pc.any(pc.match_substring_regex(numbers, _LEADING_ZERO)).as_py())
        self._has_fractions |= bool(pc.any(pc.match_substring_regex(numbers, _FRACTION)).as_py())
        self.numbers.observe(numbers.cast(pa.float64()).to_numpy(), counts[mask])

    def _add_order(self, texts: pa.Array, location: Callable[[int], RowLocation], *, are_numbers: bool) -> None:
        """Pass the numbers on in order, as long as they may be row numbers."""
        if not self.numbers.may_be_consecutive:
            return
        if texts.null_count or not are_numbers:
            self.numbers.break_order()
        else:
            numbers = pc.utf8_trim_whitespace(texts).cast(pa.float64()).to_numpy()
            self.numbers.add_order(numbers, location(0).path)


def _are_numbers(texts: pa.Array) -> NDArray[np.bool_]:
    return _matches(texts, _NUMBER)


def _are_truths(texts: pa.Array) -> NDArray[np.bool_]:
    words = pa.array([*TRUE_WORDS, *FALSE_WORDS, "0", "1", "0.0", "1.0"])
    return np.asarray(pc.is_in(pc.utf8_lower(texts), value_set=words).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _are_instants(texts: pa.Array) -> NDArray[np.bool_]:
    mask = _matches(texts, _LIKE_INSTANT)
    if not mask.any():
        return mask
    candidates = texts.filter(pa.array(mask))
    for zone in ("UTC", None) if (mask == _matches(texts, _INSTANT)).all() else ():
        try:
            candidates.cast(pa.timestamp("us", zone))
        except pa.ArrowInvalid:
            continue
        return mask
    mask[mask] = [_is_common_instant(text) for text in candidates.to_pylist()]
    return mask


def _is_common_instant(text: str) -> bool:
    """Tell whether the rules that all columns share read a text as an instant."""
    try:
        instant_of_text(text)
    except RefusedValueError:
        return False
    return True


def _are_epochs(texts: pa.Array) -> NDArray[np.bool_]:
    return _matches(texts, _EPOCH)


def _are_markers(texts: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.is_in(pc.utf8_lower(texts), value_set=_MARKERS).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _matches(texts: pa.Array, pattern: str) -> NDArray[np.bool_]:
    # A copy, because what comes from Arrow cannot be written to.
    return np.array(pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False), dtype=np.bool_)

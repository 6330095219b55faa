"""Read the values of a column that is written in a way of its own: null texts, units, separators, date formats.

Each value becomes one that the rules of `values` read. Every format of records goes through here.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import Column, Reading
from vaegis.service.records import values as rules
from vaegis.service.records.calendar_names import in_english
from vaegis.service.records.faults import Report

_SPACES: Final = "\u0020\u00a0\u2009\u202f"
_GROUPS: Final = f"[{_SPACES}'\u2019_%s]"
_UNIT_BEFORE: Final = r"(?P<before>'|S?Fr\.|R[sp]\.|[Kk]r\.|[^\d\s.,+\-\u2212()'\u2019_]{1,8})"
MARK_OF_TEXT: Final = "'"
"""It stands before numbers that spreadsheets are to show as they are written, and counts as a unit."""
_WRITTEN: Final = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[+\-\u2212])?\s*{_UNIT_BEFORE}?\s*(?:(?P<inner>[+\-\u2212(])\s*)?"
    rf"(?P<digits>\d[\d.,'\u2019_{_SPACES}]*(?<!\s)|[.,]\d+)(?P<power>[eE][+-]?\d+)?"
    r"(?P<gap>\s*)(?P<after>[^\d\s.,+\-\u2212()][^\d()]{0,15}?)?\s*(?P<close>\))?(?P<behind>[+\-\u2212])?"
)
_NO_CENTS: Final = re.compile(r"(?<=\d)(?:(?P<decimal>[.,])[-\u2013\u2014]{1,2}|/-)(?!\s*\d)")
"""A dash in place of decimals: 12.- in Switzerland, 12,- in Germany, 12/- in India."""
_FULL_WIDTH: Final = {0xFF01 + at: 0x21 + at for at in range(94)}
"""Digits and signs as wide as Chinese characters, which Japanese keyboards write, by those of ASCII."""
_ZERO: Final = re.compile(rf"{_UNIT_BEFORE}\s*[-\u2013]|[-\u2013]\s*(?P<after>[^\d\s.,()-]{{1,8}})")
"""A dash beside a currency is 0 in accounts."""
_NANOSECONDS: Final = re.compile(r"([.,]\d{6})\d{1,3}(?!\d)", re.ASCII)
"""Fractions of seven to nine digits, as SQL Server and polars write them; `datetime.strptime` reads six."""
_NAMES: Final = re.compile(r"%[aAbB]")
_MOST_CHARACTERS: Final = 64
"""Longer text is left to the common rules: nobody writes a number with its unit or an instant in more."""
_FROM_TOO_MANY_DIGITS: Final = 10.0**_MOST_CHARACTERS
"""From here on, numbers have more digits than that; an integer of JSON may even be beyond what a float can be."""
_CACHED_TEXTS: Final = 1 << 16
_WRONG_FORM: Final = frozenset(("wrong_type", "invalid_timestamp"))
"""Codes of values that are refused for how they are written."""


def _digits(decimal: str, group: str) -> re.Pattern[str]:
    groups = _GROUPS % group
    grouped = (
        rf"\d{{1,3}}(?:{groups}\d{{2,3}})*{groups}\d{{3}}"  # of three digits, or as in India of two before the last
    )
    return re.compile(rf"(?:{grouped}|\d+)(?:{re.escape(decimal)}\d*)?|{re.escape(decimal)}\d+")


_DIGITS: Final = {".": _digits(".", ","), ",": _digits(",", ".")}
_NOT_DIGITS: Final = {".": re.compile(r"[^\d.]"), ",": re.compile(r"[^\d,]")}


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number in text, taken apart.

    Attributes:
        is_negative: Whether it has a minus sign, before or behind, or stands in brackets as in accounts.
        digits: Its digits with all separators.
        power: Its exponent, as in ``e3``, or nothing.
        before: The unit that stands before it, or nothing.
        after: The unit that stands after it, or nothing.
        is_apart: Whether a space stands between it and the unit after it.
    """

    is_negative: bool
    digits: str
    power: str
    before: str
    after: str
    is_apart: bool

    @property
    def unit(self) -> str:
        """What stands beside the number, or nothing."""
        return self.before or self.after

    def plain(self, decimal: str) -> str | None:
        """Return the number as it is written in English without separators; None if the separators do not fit."""
        if _DIGITS[decimal].fullmatch(self.digits) is None:
            return None
        digits = _NOT_DIGITS[decimal].sub("", self.digits)
        if self.power and len(digits) < len(self.digits):
            return None  # Nobody separates thousands before an exponent: the separator is a decimal one.
        digits = digits.replace(decimal, ".")
        if not digits.isascii():  # such as Arabic digits
            digits = "".join(letter if letter == "." else str(unicodedata.decimal(letter)) for letter in digits)
        return f"{'-' if self.is_negative else ''}{digits}{self.power}"


def written_number(text: str) -> WrittenNumber | None:
    """Split text into a number, its sign and its unit; None if it is not a number.

    >>> written_number("-1.234,50 \u20ac").plain(",")
    '-1234.50'
    """
    if len(text) > _MOST_CHARACTERS:
        return None
    if not text.isascii():
        text = text.translate(_FULL_WIDTH)
    if (zero := _ZERO.fullmatch(text)) and is_currency(zero["before"] or zero["after"]):
        before, after = zero["before"] or "", zero["after"] or ""
        return WrittenNumber(is_negative=False, digits="0", power="", before=before, after=after, is_apart=True)
    found = _WRITTEN.fullmatch(_NO_CENTS.sub(lambda dash: f"{dash['decimal']}0" if dash["decimal"] else "", text))
    if found is None:
        return None
    before, after = found["before"] or "", (found["after"] or "").rstrip()
    signs = [sign for sign in (found["sign"], found["inner"], found["behind"], found["open"]) if sign]
    if len(signs) > 1 or (before and after) or ("(" in signs) != (found["close"] is not None):
        return None
    is_negative = bool(signs) and signs[0] != "+"
    return WrittenNumber(is_negative, found["digits"], found["power"] or "", before, after, bool(found["gap"]))


def is_currency(unit: str) -> bool:
    """Tell whether a unit holds a currency sign.

    >>> is_currency("US$"), is_currency("kg")
    (True, False)
    """
    return any(unicodedata.category(letter) == "Sc" for letter in unit)


def instant_in_format(text: str, time_format: str, *, is_whole: bool = False) -> datetime | None:
    """Return the instant that a text writes in a format of `datetime.strptime`; None if it does not.

    A format may hold several, separated by ``|``; the first that reads the text counts. Unless ``is_whole``, a date
    without the time of the format is its midnight, as many programs write it, and names of months may be in one of
    several languages. Text that is far too long for an instant is none.

    >>> instant_in_format("18.03.2024", "%d.%m.%Y %H:%M").isoformat()
    '2024-03-18T00:00:00'
    >>> instant_in_format("2 mars 2024", "%d.%m.%Y|%d %b %Y").isoformat()
    '2024-03-02T00:00:00'
    """
    if len(text) > _MOST_CHARACTERS:
        return None
    for each in time_format.split("|") if is_whole else _forms_of(time_format):
        moment = _parsed(text, each)
        if moment is None and not is_whole and _NAMES.search(each) and (english := in_english(text, each)) != text:
            moment = _parsed(english, each)
        if moment is not None:
            return moment
    return None


class ColumnReader:
    """Turns the values of a column into those that the common rules read; others stay as they are."""

    def __init__(self, reading: Reading) -> None:
        """Read as ``reading`` says."""
        self._reading = reading
        self._nulls = frozenset(text.strip() for text in reading.null_values)
        self._null_numbers = [number for text in self._nulls if (number := _number(text)) is not None]
        self._null_instants = [at for text in self._nulls if (at := _instant(text)) is not None]
        self._text = lru_cache(maxsize=_CACHED_TEXTS)(self._of_text)

    def text(self, text: str) -> str | None:
        """Return a text in the form of the common rules; None for a null."""
        return self._text(text) if len(text) <= _MOST_CHARACTERS else text

    def value(self, value: object) -> object:
        """Return text or a value of JSON in the form of the common rules; None for a null."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        if value in self._null_numbers:
            return None
        if self._reading.format is not None and abs(value) < _FROM_TOO_MANY_DIGITS and value == int(value):
            digits = str(int(value))
            read = self._of_text(digits)
            return value if read == digits else read
        return value

    def numbers(self, numbers: NDArray[np.float64]) -> NDArray[np.float64] | list[str | None]:
        """Return numbers with NaN for nulls; or, where a format reads their digits, the text of each."""
        if self._reading.format is not None:
            found, back = np.unique(numbers, return_inverse=True)
            read = [None if np.isnan(number) else self.value(number) for number in found.tolist()]
            if any(isinstance(value, str) for value in read):
                texts = [None if value is None else str(value) for value in read]
                return [texts[at] for at in back.tolist()]
        if not self._null_numbers:
            return numbers
        return np.where(np.isin(numbers, self._null_numbers), np.nan, numbers)

    def without_null_instants(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return instants in seconds since 1970, NaN for those that are nulls."""
        if not self._null_instants:
            return seconds
        return np.where(np.isin(seconds, self._null_instants), np.nan, seconds)

    def explained(self, code: str, message: str) -> str:
        """Return the message of a refusal; for a value in a wrong form, with the forms that this column also reads.

        >>> ColumnReader(Reading(unit="\u20ac")).explained("wrong_type", "expected a number, got text")
        'expected a number, got text; this column also reads numbers with the unit \u20ac'
        """
        reading = self._reading
        if code not in _WRONG_FORM:
            return message
        if reading.format is not None:
            noun = "forms" if "|" in reading.format else "form"
            return f"{message}; this column also reads the {noun} {reading.format.replace('|', ' and ')}"
        comma = "a decimal comma" if reading.decimal == "," else ""
        unit = f"the unit {reading.unit}" if reading.unit else ""
        forms = [form for form in (comma, unit) if form]
        return f"{message}; this column also reads numbers with {' and '.join(forms)}" if forms else message

    def category(self, text: str) -> str | None:
        """Return a category; None for a null."""
        return None if text.strip() in self._nulls else text

    def _of_text(self, text: str) -> str | None:  # noqa: PLR0911 - one for each way to write a value
        reading, stripped = self._reading, text.strip()
        if stripped in self._nulls:
            return None
        if reading.format is not None:
            moment = instant_in_format(stripped, reading.format)
            if moment is None:
                return text
            if "%Y" not in reading.format and "%y" not in reading.format:
                moment = moment.replace(year=1970)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
        if reading.unit is None and reading.decimal == ".":
            number = _number(stripped) if self._null_numbers else None
            return None if number is not None and number in self._null_numbers else text
        written = written_number(stripped)
        if written is None or written.unit not in ("", reading.unit or ""):
            return text
        plain = written.plain(reading.decimal)
        if plain is None:
            # What the common rules would take for another number is none here.
            return text if _number(stripped) is None else f"{stripped}?"
        return None if self._null_numbers and float(plain) in self._null_numbers else plain


def reporting_forms(report: Report, reader: ColumnReader) -> Report:
    """Return ``report`` with messages that `ColumnReader.explained` has completed."""
    return lambda row, code, message: report(row, code, reader.explained(code, message))


def reader_of(column: Column) -> ColumnReader | None:
    """Return what reads the values of a column; None where the common rules do."""
    return None if column.reading is None else reader_for(column.reading)


@lru_cache(maxsize=4096)
def reader_for(reading: Reading) -> ColumnReader:
    """Return what reads values written in one way."""
    return ColumnReader(reading)


def _instant(text: str) -> float | None:
    try:
        return rules.instant_of_text(text) if _number(text) is None else None
    except rules.RefusedValueError:
        return None


@cache
def _forms_of(time_format: str) -> tuple[str, ...]:
    """Return the formats that one holds, and the part before the time of each that is a whole date."""
    forms = time_format.split("|")
    dates = [re.split(r"[ ,T:_]*%[HI]", form)[0] for form in forms]
    whole = [date for date in dates if "%d" in date and ("%Y" in date or "%y" in date)]
    return tuple(dict.fromkeys((*forms, *whole)))


def _parsed(text: str, time_format: str) -> datetime | None:
    if "%f" in time_format:
        text = _NANOSECONDS.sub(r"\1", text)
    try:
        return datetime.strptime(text, time_format)  # noqa: DTZ007 - the format may name a zone
    except (ValueError, OverflowError):
        return None


def _number(text: str) -> float | None:
    try:
        number = rules.number_of_text(text)
    except rules.RefusedValueError:
        return None
    return None if np.isnan(number) else number

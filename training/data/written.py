"""Find how the texts of a column write numbers or instants where they are not plain numbers or ISO 8601."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Literal

from vaegis.service.records.reading import WrittenNumber, instant_in_format, is_currency, written_number
from vaegis.service.records.values import RefusedValueError, instant_of_text, is_null_marker

_CODES_OF_CURRENCIES = frozenset(
    (
        *("AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP"),
        *("HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KES", "KRW", "MXN", "MYR", "NGN", "NOK", "NZD", "PEN", "PHP"),
        *("PKR", "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "VND", "ZAR"),
        *("kr", "Kr", "kr.", "Rs", "Rs.", "zl", "Ft"),
    )
)
_LONGEST_UNIT, _LONGEST_TIME = 8, 70  # characters
_UNITS = frozenset(
    (
        *("%", "\u2030", "\u00b0", "\u00b0C", "\u00b0F", "kg", "g", "mg", "\u00b5g", "ug", "t", "lb", "lbs", "oz"),
        *("km", "m", "dm", "cm", "mm", "\u00b5m", "um", "mi", "ft", "in", "yd", "l", "ml", "mL", "cl", "m2", "m3"),
        *("s", "sec", "ms", "us", "\u00b5s", "ns", "min", "h", "hr", "hrs", "d", "days", "kB", "KB", "MB", "GB", "TB"),
        *("KiB", "MiB", "GiB", "TiB", "bps", "kbps", "Mbps", "Gbps", "kW", "MW", "Wh", "kWh", "MWh", "mV", "kV", "mA"),
        *("Hz", "kHz", "MHz", "GHz", "Pa", "hPa", "kPa", "MPa", "mbar", "bar", "psi", "ppm", "ppb", "dB", "dBm", "rpm"),
        *(
            "lx",
            "lm",
            "Nm",
            "kJ",
            "cal",
            "kcal",
            "mol",
            "pcs",
            "km/h",
            "kph",
            "mph",
            "m/s",
            "mg/l",
            "mg/dl",
            "bpm",
            "px",
            "K",
            "k",
            "M",
            "bn",
            "mn",
            "\u5186",
            "\u5143",
            "\uc6d0",
        ),
    )
)
"""Units that may follow a number without a space; others are taken for part of a code, such as 12A."""
_FIRST_TEXTS = 200
"""Number of texts by which candidate formats are chosen. All texts are then compared with these."""
_MOSTLY = 0.5
_AMBIGUOUS = re.compile(r"\d{1,3}(,\d{3})+")
_CODE = re.compile(r"\d{3}(?:[^\d]\d{3}){2,}")
"""Digits of telephone numbers or IP addresses rather than of a number; if no other text is there."""
_PLAIN = frozenset("0123456789.")

_DATES = (
    *tuple(
        f"{first}{mark}{second}{mark}{year}"
        for mark in "/.-"
        for first, second in ((("%d", "%m"), ("%m", "%d")) if mark != "." else (("%d", "%m"),))
        for year in ("%Y", "%y")
    ),
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d/%b/%Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%d. %B %Y",
    "%Y%m%d",
    "%d%b%Y",
    "%Y:%m:%d",
    "%Y\u5e74%m\u6708%d\u65e5",
)
_TIMES = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
_ZONES = ("", " %z", "%z", " %Z")
TIME_FORMATS = tuple(f"{time}{zone}" for time, zone in product(_TIMES[1:], _ZONES))
_WHOLE_FORMATS = (
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %Z %Y",
    "%a %b %d %H:%M:%S %z %Y",
    "%d-%b-%y %I.%M.%S.%f %p",
    "%d%b%Y:%H:%M:%S",
    "%Y-%m-%d-%H.%M.%S.%f",
)
"""Those of C, Java, Unix, social networks, Oracle, SAS and DB2."""
DATE_FORMATS = _WHOLE_FORMATS + tuple(
    f"{date}{gap if time else ''}{time}{zone if time else ''}"
    for date in _DATES
    for time in _TIMES
    for gap in ((" ", ", ", "T") if time else ("",))
    for zone in (_ZONES if time else ("",))
)
_MARKS = "/.-:,"
_LETTER_T = re.compile(r"\dT\d")
_PERIOD = re.compile(
    r"(?:19|20)\d\d(?:[-/](?:0[1-9]|1[0-2])|[- /]?[QqHhSsTt][1-4]|[- ]?[Ww]\d\d(?:-[1-7])?|[-/](?:19|20)?\d\d)"
    r"|[QqHhSsTt][1-4][- /](?:19|20)\d\d|(?:0?[1-9]|1[0-2])[-/](?:19|20)\d\d|FY ?(?:19|20)?\d\d"
    r"|[A-Z][a-z]{2,8}[- ](?:(?:19|20)\d\d|\d\d)",
    re.ASCII,
)
_TIME_LIKE = re.compile(
    r"(?:19|20)\d\d\D{1,4}\d{1,2}\D{1,4}\d{1,2}|\b\d{1,2}\D{1,4}\d{1,2}\D{1,4}(?:19|20)\d\d"
    r"|\b\d{1,3}[:h][0-5]\d\b|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{1,2}\b"
)
_HALVES = re.compile(r"[ap]\.?m\b", re.IGNORECASE)
_DATE_LIKE = re.compile(r"\d{1,4}[-/. :\u5e74]|[A-Z][a-z]{2}|\d\d[A-Za-z]{3}\d|\d{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class NumberWriting:
    """Numbers with units or separators.

    Attributes:
        records: Records whose text is a number of this unit.
        unit: Their unit, or nothing.
        decimal: Their decimal separator.
        units: Each unit with its number of records, the commonest first.
        is_ambiguous: Whether nothing tells if the comma parts thousands, as it is read, or is the decimal separator.
        example: A text that is written so.
        example_number: The number that it is read as.
    """

    records: int
    unit: str
    decimal: Literal[".", ","]
    units: tuple[tuple[str, int], ...]
    is_ambiguous: bool
    example: str
    example_number: float


@dataclass(frozen=True, slots=True)
class DateWriting:
    """Dates and times in formats of `datetime.strptime`.

    Attributes:
        records: Records whose text is written so.
        formats: The formats that read the most of them; of several, nothing tells which one is meant.
        example: A text that the first format reads.
    """

    records: int
    formats: tuple[str, ...]
    example: str


def number_writing(counts: Mapping[str, int]) -> NumberWriting | None:
    """Return how texts write numbers; None if hardly one of them does, or all are plain numbers.

    Args:
        counts: Records of each text.
    """
    found = {text: written for text in counts if (written := written_number(text.strip())) is not None}
    found = {text: written for text, written in found.items() if _is_unit(written)}
    units = Counter[str]()
    for text, written in found.items():
        if written.unit:
            units[written.unit] += counts[text]
    unit = units.most_common(1)[0][0] if units else ""
    same = [text for text, written in found.items() if written.unit in ("", unit)]
    if not same:
        return None
    records = {
        decimal: sum(counts[text] for text in same if found[text].plain(decimal) is not None) for decimal in (".", ",")
    }
    if not any(records.values()):
        return None
    decimal: Literal[".", ","] = "," if records[","] > records["."] else "."
    if not units and decimal == "." and all(map(_is_plain, same)):
        return None  # Nothing but plain numbers, or texts that are none.
    if not units and all(_CODE.fullmatch(text.strip()) for text in same):
        return None
    digits = [found[text].digits for text in same if "," in found[text].digits]
    is_ambiguous = (
        decimal == "."
        and records["."] == records[","]
        and bool(digits)
        and all(_AMBIGUOUS.fullmatch(each) and each.count(",") == 1 for each in digits)
    )
    plain = {text: number for text in same if (number := found[text].plain(decimal)) is not None}
    example = max(plain, key=lambda text: (not _is_plain(text), len(text)))
    return NumberWriting(
        records[decimal],
        unit,
        decimal,
        tuple(units.most_common()),
        is_ambiguous,
        example.strip(),
        float(plain[example]),
    )


def date_writing(counts: Mapping[str, int]) -> DateWriting | None:
    """Return how texts write dates or times; None if hardly one of them does.

    Args:
        counts: Records of each text.
    """
    texts = [text for text in counts if not is_null_marker(text.strip())]
    first = [text.strip() for text in texts[:_FIRST_TEXTS]]
    like = [text for text in first if _DATE_LIKE.search(text)]
    if len(like) < _MOSTLY * len(first) or not like:
        return None
    hopeful = [form for form in (*DATE_FORMATS, *TIME_FORMATS) if any(_may_be(text, form) for text in like[:3])]
    hopeful = [form for form in hopeful if _share_of(like[:20], form) >= _MOSTLY]
    hopeful = [form for form in hopeful if _share_of(like, form) >= _MOSTLY]
    if not hopeful:
        return None
    records = {
        form: sum(counts[text] for text in texts if instant_in_format(text.strip(), form) is not None)
        for form in hopeful
    }
    most = max(records.values())
    formats = tuple(form for form, count in records.items() if count == most)
    kept = _distinct(formats, texts)
    return DateWriting(most, kept, next(text for text in first if instant_in_format(text, kept[0]) is not None))


def period_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the texts if all of them name a month, a quarter or another period of a year; else None.

    >>> period_like({"2024-03": 5, "NA": 1}), period_like({"2024-03": 5, "soon": 1})
    ('2024-03', None)
    """
    texts = [text.strip() for text in counts if not is_null_marker(text.strip())]
    return texts[0] if texts and all(map(_PERIOD.fullmatch, texts)) else None


def time_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the first texts if most of them look like dates or times to a person; else None."""
    texts = [text.strip() for text in list(counts)[:_FIRST_TEXTS]]
    like = [text for text in texts if _TIME_LIKE.search(text) and len(text) <= _LONGEST_TIME]
    return like[0] if len(like) > _MOSTLY * len(texts) else None


def is_common_instant(text: str) -> bool:
    """Tell whether the rules that all columns share read a text as an instant."""
    try:
        instant_of_text(text)
    except RefusedValueError:
        return False
    return True


def _distinct(formats: tuple[str, ...], texts: Iterable[str]) -> tuple[str, ...]:
    """Return the formats that differ in what they read in some text, the first of each."""
    sample = [text.strip() for text in texts]
    kept: dict[tuple[object, ...], str] = {}
    for form in formats:
        kept.setdefault(tuple(instant_in_format(text, form) for text in sample), form)
    return tuple(kept.values())


def _may_be(text: str, form: str) -> bool:
    """Tell whether a text has the separators of a format: comparing them is much faster than parsing."""
    if bool(_HALVES.search(text)) != ("%p" in form):
        return False
    if (_LETTER_T.search(text) is not None) != ("T%" in form):
        return False
    zone = {"-", ":", "."} if "%z" in form else {"."}
    return all((mark in text) == (mark in form) for mark in _MARKS if mark not in zone)


def _share_of(texts: list[str], form: str) -> float:
    return sum(instant_in_format(text, form) is not None for text in texts) / len(texts)


def _is_plain(text: str) -> bool:
    """Tell whether the common rules read what is known to be a number as the same number."""
    return _PLAIN.issuperset(text.strip().lstrip("+-").partition("e")[0].partition("E")[0])


def _is_unit(written: WrittenNumber) -> bool:
    """Tell whether what stands beside a number is a unit, rather than part of a code or of a numbered list."""
    before, after = written.before, written.after
    if before:
        return is_currency(before) or before in _CODES_OF_CURRENCIES
    if after and written.digits[-1] in ".,":
        return False  # as in "1. White"
    is_word = written.is_apart and len(after) <= _LONGEST_UNIT and not any(map(str.isspace, after))
    return not after or is_word or is_currency(after) or after in _UNITS or after in _CODES_OF_CURRENCIES

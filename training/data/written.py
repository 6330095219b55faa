"""Find how the texts of a column write numbers or instants where they are not plain numbers or ISO 8601."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Literal, TypeAlias

from vaegis.service.records.calendar_names import month_of
from vaegis.service.records.reading import WrittenNumber, instant_in_format, is_currency, written_number
from vaegis.service.records.values import RefusedValueError, instant_of_text, is_null_marker

_CODES_OF_CURRENCIES = frozenset(
    (
        *("AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP"),
        *("HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KES", "KRW", "MXN", "MYR", "NGN", "NOK", "NZD", "PEN", "PHP"),
        *("PKR", "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "VND", "ZAR"),
        *(
            "kr",
            "Kr",
            "kr.",
            "Kr.",
            "Rs",
            "Rs.",
            "Rp",
            "Rp.",
            "Fr.",
            "SFr.",
            "RM",
            "RMB",
            "TL",
            "zl",
            "z\u0142",
            "K\u010d",
            "Ft",
        ),
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
_SCALES = frozenset(("k", "K", "M", "m", "B", "b", "T", "bn", "mn", "Mio", "Mrd"))
"""Units that multiply a number, so that one without any is of another size."""
_BARE = "none"
_RARE = 0.1
"""A unit is taken for that of bare numbers, too, unless it is rarer than this beside them."""
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+", re.ASCII)
_BELOW_A_THOUSAND = re.compile(r"\d{1,3}", re.ASCII)
_FEWEST_WRITTEN = 3
"""Distinct numbers, with and without a point, by which points before three digits are told from decimal ones."""
_FIRST_TEXTS = 200
"""Number of texts by which candidate formats are chosen. All texts are then compared with these."""
_MOSTLY = 0.5
_NEARLY_ALL = 0.9
"""Share of dates of two-digit years below which they are rather numbered versions, if the others are."""
_HOPEFUL = 0.2
"""Share of the texts that a format reads from which it may be one of several."""
_FEW = 20
"""Number of texts by which formats are ruled out before all texts are tried."""
_MOST_TIMES_AS_MANY = 2
_AMBIGUOUS = re.compile(r"\d{1,3}(,\d{3})+")
_CODE = re.compile(r"\d{3}(?:[^\d]\d{3}){2,}")
"""Digits of telephone numbers rather than of a number; if no other text is there."""
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IP_ADDRESS = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
"""Many have a number's groups of two or three digits, such as 81.84.92.203."""
_PADDED = re.compile(r"0\d", re.ASCII)
_PLAIN = frozenset("0123456789.")

_DATES = (
    *tuple(
        f"{first}{mark}{second}{mark}{year}"
        for mark in "/.-"
        for first, second in ((("%d", "%m"), ("%m", "%d")) if mark != "." else (("%d", "%m"),))
        for year in ("%Y", "%y")
    ),
    *tuple(f"%y{mark}%m{mark}%d" for mark in "/.-"),
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%d/%b/%Y",
    "%b %d, %Y",
    "%b. %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
    "%d. %B %Y",
    "%d. %b %Y",
    "%d-%B-%Y",
    "%A, %B %d, %Y",
    "%A, %d %B %Y",
    "%A, %d. %B %Y",
    "%a, %d %b %Y",
    "%a %d %b %Y",
    "%a %b %d %Y",
    "%A %d %B %Y",
    "%Y%m%d",
    "%d%b%Y",
    "%Y:%m:%d",
    "%Y\u5e74%m\u6708%d\u65e5",
)
_TIMES = ("%Hh%M", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%H:%M:%S,%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%I %p")
_ZONES = ("", " %z", "%z", " %Z")
TIME_FORMATS = tuple(f"{time}{zone}" for time, zone in product(_TIMES, _ZONES))
_WHOLE_FORMATS = (
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %Z %Y",
    "%a %b %d %H:%M:%S %z %Y",
    "%d-%b-%y %I.%M.%S.%f %p",
    "%d%b%Y:%H:%M:%S",
    "%d%b%Y:%H:%M:%S.%f",
    "%Y-%m-%d-%H.%M.%S.%f",
    "%Y%m%d-%H:%M:%S",
    "%Y%m%d-%H:%M:%S.%f",
    "%Y%m%d_%H%M%S",
    "%Y-%m-%d_%H-%M-%S",
)
"""Those of C, Java, Unix, social networks, Oracle, SAS, DB2, FIX and names of files."""
_BEYOND_ISO = tuple(
    f"%Y{mark}%m{mark}%d{gap}{time}"
    for mark in "/.-"
    for time in _TIMES
    for gap in (" ", ", ")
    if gap == ", " or "%p" in time
)
"""Dates that begin with the year and are not among those that every column reads."""
DATE_FORMATS = (
    *_WHOLE_FORMATS,
    *_BEYOND_ISO,
    *_DATES,
    *tuple(f"{date}{gap}{time}{zone}" for date, gap, time, zone in product(_DATES, (" ", ", ", "T"), _TIMES, _ZONES)),
)
DAY = "%d"
"""Code of a day of the month, which formats of dates have and those of times of day have not."""
_MARKS = "/.-:,"
_LONE_MINUTE = re.compile(r":\d(?!\d)", re.ASCII)
"""As in results of matches, such as 2:1; the time of day has two digits there."""
_LETTER_T = re.compile(r"\dT\d")
_PERIOD = re.compile(
    r"(?:19|20)\d\d(?:[-/](?:0[1-9]|1[0-2])|[- /]?[QqHhSsTt][1-4]|[- ]?[Ww]\d\d(?:-[1-7])?|[-/](?:19|20)?\d\d)"
    r"|[QqHhSsTt][1-4][- /](?:19|20)\d\d|(?:0?[1-9]|1[0-2])[-/](?:19|20)\d\d|FY ?(?:19|20)?\d\d"
    r"|[A-Z][a-z]{2,8}[- ](?:19|20)\d\d|(?:KW|CW|Wk|Week|Woche)[. ]?[0-5]?\d[ /-](?:(?:19|20)\d\d|\d\d)",
    re.ASCII,
)
_MONTH_OF_A_YEAR = re.compile(r"([A-Z][a-z]{2,8})[- ]\d\d|(?:19|20)\d\d[- /]([A-Z][a-z]{2,8})")
"""If the word names a month: Plant 01 is no period."""
_WEEK_OR_QUARTER = re.compile(r"(?:KW|CW|Wk|Week|Woche)[. ]?0?([1-9]|[1-4]\d|5[0-3])|[Qq]([1-4])", re.ASCII)
_WEEKS, _QUARTERS, _MONTHS = 52, 4, 12
_TIME_LIKE = re.compile(
    r"^P(?=[\dT])(?:\d+[YMWD])*(?:T(?:\d+(?:\.\d+)?[HMS])+)?$|\b\d+ ?h(?:rs?|ours?)?,? ?\d{1,2} ?m"
    r"|\b\d{1,2}[. /-]+(?:de )?[^\W\d_]{3,10}\.?[, /-]+(?:de )?(?:19|20)\d\d\b"
    r"|(?:19|20)\d\d\D{1,4}\d{1,2}\D{1,4}\d{1,2}|\b\d{1,2}\D{1,4}\d{1,2}\D{1,4}(?:19|20)\d\d"
    r"|\b\d{1,3}[:h][0-5]\d\b|^\d+ ?min\.? ?\d+ ?s(?:ec)?$|^[0-3]?\d\.[01]?\d\.$"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{1,2}\b"
)
_QUANTITY_LIKE = re.compile(
    r"(?:[^\w\s.]{0,3} ?|[^\W\d_]{1,8}[.:]? )[+-]?\d+[.,]\d+(?:[dD][+-]\d+|[^\d]{0,16})"
    r"|(?:POINT ?)?[(\[]?-?\d+\.\d+[,; ]+-?\d+\.\d+[)\]]?|\d+(?:[.,]\d+)? ?(?:\u00b1|\+/-) ?\d+(?:[.,]\d+)?"
    r"|\d{1,3}\u00b0 ?\d{1,2}['\u2032].{0,12}|=\"-?\d+(?:[.,]\d+)?\""
)
"""Decimals between signs or words, of an exponent as in Fortran, or two of them, such as a latitude and longitude."""
_WRITTEN_NULLS = frozenset(
    ("null", "nan", "nat", "nil", r"\n", "<na>", "<null>", "(null)", "na", "n/a", "#n/a", "-", "?")
)
"""What programs write for a null, in lower case. They write None as well, but people write none for a value."""
_VERSION = re.compile(r"\d+([./-])\d+\1\d+", re.ASCII)
_HALVES = re.compile(r"[ap]\.?m\b", re.IGNORECASE)
_DATE_LIKE = re.compile(r"\d{1,4}[-/. :\u5e74]|[A-Z][a-z]{2}|\d\d[A-Za-z]{3}\d|\d{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class OtherText:
    """The commonest of the texts that are not of a column's kind.

    Attributes:
        text: The text.
        records: Records that hold it.
        distinct: Number of distinct texts that are not of the kind.
    """

    text: str
    records: int
    distinct: int


@dataclass(frozen=True, slots=True)
class NumberWriting:
    """Numbers with units or separators.

    Attributes:
        records: Records whose text is a number of this unit.
        unit: Their unit, or nothing.
        decimal: Their decimal separator.
        units: Each unit with its number of records, the commonest first.
        is_ambiguous: Whether nothing tells if the comma parts thousands, as it is read, or is the decimal separator.
        other: The commonest text that is no such number; None where all are.
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
    other: OtherText | None


@dataclass(frozen=True, slots=True)
class DateWriting:
    """Dates and times in formats of `datetime.strptime`, beside those that the rules of all columns read.

    Attributes:
        records: Records whose text is written so, or as the common rules read it.
        formats: The formats that read the most of them; of several, nothing tells which one is meant. One may hold two,
            separated by ``|``, where the records are written in both.
        example: A text that the first format reads.
        other: The commonest text that it does not read; None where it reads all.
        beside_iso: Whether the common rules read some texts, too.
        swapped: A format that reads others, and reads some of the same texts as another day; None where there is none.
    """

    records: int
    formats: tuple[str, ...]
    example: str
    other: OtherText | None
    beside_iso: bool = False
    swapped: str | None = None


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
    bare = [text for text, written in found.items() if not written.unit and written.digits.strip("0.,")]
    bare_records = sum(counts[text] for text in bare)
    if bare and (unit in _SCALES or (units and not is_currency(unit) and units[unit] < _RARE * bare_records)):
        units[_BARE] = bare_records
        found = {text: written for text, written in found.items() if written.unit}
    same = [text for text, written in found.items() if written.unit in ("", unit)]
    if not same:
        return None
    records = {
        decimal: sum(counts[text] for text in same if found[text].plain(decimal) is not None) for decimal in (".", ",")
    }
    if not any(records.values()):
        return None
    are_thousands = have_dotted_thousands(found[text].digits for text in same)
    decimal: Literal[".", ","] = "," if records[","] > records["."] or are_thousands else "."
    if not units and decimal == "." and all(map(_is_plain, same)):
        return None  # Nothing but plain numbers, or texts that are none.
    if not units and any(all(form.fullmatch(text.strip()) for text in same) for form in (_CODE, _IP_ADDRESS)):
        return None
    digits = [found[text].digits for text in same if "," in found[text].digits]
    is_ambiguous = (
        decimal == "."
        and records["."] == records[","]
        and bool(digits)
        and all(_AMBIGUOUS.fullmatch(each) and each.count(",") == 1 for each in digits)
        and not have_dotted_thousands(found[text].digits.replace(",", ".") for text in same)
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
        commonest_other(counts, plain),
    )


def have_dotted_thousands(numbers: Iterable[str]) -> bool:
    """Tell whether points part thousands: each is before three digits, and what has none is below a thousand.

    Decimals always have points, or end in other digits than three now and then.

    >>> have_dotted_thousands(["1.200", "35.000", "1.250.000", "750", "12", "980"])
    True
    >>> have_dotted_thousands(["1.250", "3.125", "1.255", "1500", "12", "980"])
    False
    """
    distinct = set(numbers)
    dotted = {number for number in distinct if "." in number}
    bare = distinct - dotted
    return (
        min(len(dotted), len(bare)) >= _FEWEST_WRITTEN
        and all(map(_BELOW_A_THOUSAND.fullmatch, bare))
        and all(map(_THOUSANDS.fullmatch, dotted))
    )


def date_writing(counts: Mapping[str, int], common: Container[str] = ()) -> DateWriting | None:
    """Return how texts write dates or times; None if hardly one of them does.

    Args:
        counts: Records of each text.
        common: Texts that the rules of all columns read as instants.
    """
    texts = {text: text.strip() for text in counts if not is_null_marker(text.strip())}
    left = {text: stripped for text, stripped in texts.items() if text not in common}
    formats = _formats_of(left, counts)
    if not formats:
        return None
    example, swapped = "", None
    while True:
        read = {text for text, stripped in left.items() if instant_in_format(stripped, formats[0])}
        example = example or max((stripped for text, stripped in left.items() if text in read), key=len)
        left = {text: stripped for text, stripped in left.items() if text not in read}
        second = _formats_of(left, counts)
        # The same dates with years of four digits tell the order of those with two.
        formats, second = _in_order_of(formats, second), _in_order_of(second, formats[0].split("|"))
        if len(formats) > 1 or len(second) != 1 or (DAY in formats[0]) != (DAY in second[0]):
            break
        if any(_are_swapped(form, second[0], texts.values()) for form in formats[0].split("|")):
            swapped = second[0]
            break
        formats = (f"{formats[0]}|{second[0]}",)
    iso = {text for text in texts if text in common}
    if DAY not in formats[0]:
        left |= {text: texts[text] for text in iso}
    total, others = _records(texts, counts), _records(left, counts)
    is_version = "%y" in formats[0] and not second and others > (1.0 - _NEARLY_ALL) * total
    if total - others < _MOSTLY * total or (is_version and all(map(_VERSION.fullmatch, left.values()))):
        return None
    other = commonest_other(counts, texts.keys() - left.keys())
    return DateWriting(total - others, formats, example, other, bool(iso), swapped)


def _formats_of(texts: Mapping[str, str], counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the format that reads the most texts; where several do, nothing tells which is meant.

    Args:
        texts: Each with itself without blanks around it.
        counts: Records of each text.
    """
    first = list(texts.values())[:_FIRST_TEXTS]
    like = [text for text in first if _DATE_LIKE.search(text) and not _LONE_MINUTE.search(text)]
    if len(like) < _MOSTLY * len(first) or not like:
        return ()
    signs = {_signs_of_text(text) for text in like[:_FEW]}
    hopeful = [form for form, sign in _SIGNS.items() if any(_may_be(text_sign, sign) for text_sign in signs)]
    hopeful = [form for form in hopeful if _share_of(like[:_FEW], form) >= _HOPEFUL]
    hopeful = [form for form in hopeful if _share_of(like, form) >= _HOPEFUL]
    read = {form: {text for text, stripped in texts.items() if instant_in_format(stripped, form)} for form in hopeful}
    whole = {form: sum(instant_in_format(text, form, is_whole=True) is not None for text in like) for form in hopeful}
    found = {form: (_records(of_form, counts), whole[form]) for form, of_form in read.items()}
    if not found:
        return ()
    best = max(found, key=lambda form: found[form])
    equal = [form for form in found if found[form] == found[best] and read[form] == read[best]]
    return _distinct(equal, texts.values())


def _in_order_of(formats: tuple[str, ...], others: Collection[str]) -> tuple[str, ...]:
    """Return those of several formats that differ from one of others by the digits of the year; all if none does."""
    return tuple(form for form in formats if len(formats) > 1 and form.replace("%y", "%Y") in others) or formats


def _are_swapped(first: str, second: str, texts: Iterable[str]) -> bool:
    """Tell whether two formats read one text as different days: some of these texts, or others that may come."""
    if re.sub("%[dm]", "%d", first) == re.sub("%[dm]", "%d", second):
        return True
    moments = ((instant_in_format(text, first), instant_in_format(text, second)) for text in texts)
    return any(moment is not None and other is not None and other != moment for moment, other in moments)


def _records(texts: Iterable[str], counts: Mapping[str, int]) -> int:
    return sum(counts[text] for text in texts)


def period_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the texts if all name a period of a year that does not come back, or some that come every year.

    >>> period_like({"2024-03": 5, "NA": 1}), period_like({"2024-03": 5, "soon": 1}), period_like({"May": 9, "June": 9})
    ('2024-03', None, 'May')
    """
    texts = [text.strip() for text in counts if not is_null_marker(text.strip())]
    return texts[0] if texts and (all(map(_is_period, texts)) or _are_part_of_a_year(texts)) else None


def _is_period(text: str) -> bool:
    named = _MONTH_OF_A_YEAR.fullmatch(text)
    return month_of(named[1] or named[2]) is not None if named else _PERIOD.fullmatch(text) is not None


def _are_part_of_a_year(texts: list[str]) -> bool:
    """Tell whether texts name some, but not all, of the months, weeks or quarters of a year."""
    if len(texts) > _WEEKS + 1:
        return False
    found = list(map(_WEEK_OR_QUARTER.fullmatch, texts))
    if all(found):
        of_year = _QUARTERS if texts[0][0] in "Qq" else _WEEKS
        return len({each[0].lower() for each in found if each}) < of_year
    months = set(map(month_of, texts))
    return None not in months and len(months) < _MONTHS


def first_alike(counts: Mapping[str, int]) -> tuple[str, str] | None:
    """Return the first two texts that differ in case or blanks alone, the commoner one first; None if no two do.

    >>> first_alike({"Berlin": 9, "Bonn": 9, " berlin": 1})
    ('Berlin', ' berlin')
    """
    found: dict[str, str] = {}
    for text in sorted(counts, key=lambda text: -counts[text]):
        other = found.setdefault(" ".join(unicodedata.normalize("NFC", text).casefold().split()), text)
        if other != text:
            return other, text
    return None


def null_like(counts: Mapping[str, int]) -> str | None:
    """Return the commonest of the texts that programs write for a null; None if there is none.

    >>> null_like({"red": 9, "None": 2, "nan": 1}), null_like({"mild": 9, "none": 9})
    ('None', None)
    """
    written = [text for text in counts if text.strip().lower() in _WRITTEN_NULLS or text.strip() == "None"]
    return max(written, key=lambda text: counts[text], default=None)


def time_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the first texts if most of them look like dates or times to a person; else None."""
    texts = [text.strip() for text in list(counts)[:_FIRST_TEXTS]]
    like = [text for text in texts if _TIME_LIKE.search(text) and len(text) <= _LONGEST_TIME]
    return like[0] if len(like) > _MOSTLY * len(texts) else None


def quantity_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the first texts if most of them look to a person like decimals with something beside; else None.

    >>> quantity_like({"~1.5 V": 1, "~12.25 V": 1}), quantity_like({"v1.5": 1}), quantity_like({"10.0.0.1": 1})
    ('~1.5 V', None, None)
    """
    texts = [text.strip() for text in list(counts)[:_FIRST_TEXTS]]
    like = [text for text in texts if _QUANTITY_LIKE.fullmatch(text)]
    return like[0] if len(like) > _MOSTLY * len(texts) else None


def is_common_instant(text: str) -> bool:
    """Tell whether the rules that all columns share read a text as an instant."""
    try:
        instant_of_text(text)
    except RefusedValueError:
        return False
    return True


def _distinct(formats: Iterable[str], texts: Iterable[str]) -> tuple[str, ...]:
    """Return the formats that differ in what they read in some text, the first of each."""
    sample = list(texts)
    kept: dict[tuple[datetime | None, ...], str] = {}
    for form in formats:
        kept.setdefault(tuple(instant_in_format(text, form) for text in sample), form)
    if len(kept) > 1:  # Of two-digit years and days, the days vary more.
        years = {form: len({moment.year for moment in moments if moment}) for moments, form in kept.items()}
        return tuple(form for form, count in years.items() if count <= _MOST_TIMES_AS_MANY * min(years.values()))
    return tuple(kept.values())


_Signs: TypeAlias = tuple[bool, bool, frozenset[str], frozenset[str]]


def _signs_of_text(text: str) -> _Signs:
    """Return what tells formats apart: whether a text has am or pm, a T, and which separators."""
    marks = frozenset(_MARKS).intersection(text)
    return _HALVES.search(text) is not None, _LETTER_T.search(text) is not None, marks, frozenset()


def _signs_of_form(form: str) -> _Signs:
    """Return the same of a format, and last the separators that a text of it may have or not."""
    either = frozenset("-:." if "%z" in form else ".")
    return "%p" in form, "T%" in form, frozenset(_MARKS).intersection(form.replace("%", "")) - either, either


def _may_be(text: _Signs, form: _Signs) -> bool:
    """Tell whether a text has the separators of a format: comparing them is much faster than parsing."""
    return text[:2] == form[:2] and text[2] - form[3] == form[2]


_SIGNS = {form: _signs_of_form(form) for form in (*DATE_FORMATS, *TIME_FORMATS)}


def commonest_other(counts: Mapping[str, int], read: Container[str]) -> OtherText | None:
    """Return the commonest text that was not read and stands for no null."""
    others = [text for text in counts if text not in read and not is_null_marker(text.strip())]
    if not others:
        return None
    text = max(others, key=lambda other: counts[other])
    return OtherText(text, counts[text], len(others))


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
    if after and not written.is_apart and _PADDED.match(written.digits):
        return False  # as in hexadecimal digits
    is_word = written.is_apart and len(after) <= _LONGEST_UNIT and not any(map(str.isspace, after))
    return not after or is_word or is_currency(after) or after in _UNITS or after in _CODES_OF_CURRENCIES

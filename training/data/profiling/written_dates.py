"""Find in which formats the texts of a column write dates and times that are not in ISO 8601."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import TypeAlias

from vaegis.service.records.reading import instant_in_format
from vaegis.service.records.values import is_null_marker
from vaegis.training.data.profiling.other_text import OtherText, commonest_other

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
_TIME_FORMATS = tuple(f"{time}{zone}" for time, zone in product(_TIMES, _ZONES))
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
_DATE_FORMATS = (
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
_VERSION = re.compile(r"\d+([./-])\d+\1\d+", re.ASCII)
_HALVES = re.compile(r"[ap]\.?m\b", re.IGNORECASE)
_DATE_LIKE = re.compile(r"\d{1,4}[-/. :\u5e74]|[A-Z][a-z]{2}|\d\d[A-Za-z]{3}\d|\d{8}", re.ASCII)


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


_SIGNS = {form: _signs_of_form(form) for form in (*_DATE_FORMATS, *_TIME_FORMATS)}


def _share_of(texts: list[str], form: str) -> float:
    return sum(instant_in_format(text, form) is not None for text in texts) / len(texts)

"""Find texts that look to a person like periods, times, numbers or nulls, and texts that look like each other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

from vaegis.service.records.calendar_names import month_of
from vaegis.service.records.values import is_null_marker

_FIRST_TEXTS = 200
"""Number of texts that are compared with the patterns."""
_MOSTLY = 0.5
_LONGEST_TIME = 70  # characters
_PERIOD = re.compile(
    r"(?:19|20)\d\d(?:[-/](?:0[1-9]|1[0-2])|[- /]?[QqHhSsTt][1-4]|[- ]?[Ww]\d\d(?:-[1-7])?|[-/](?:19|20)?\d\d)"
    r"|[QqHhSsTt][1-4][- /](?:19|20)\d\d|(?:0?[1-9]|1[0-2])[-/](?:19|20)\d\d|FY ?(?:19|20)?\d\d"
    r"|[A-Z][a-z]{2,8}[- ](?:19|20)\d\d|(?:KW|CW|Wk|Week|Woche)[. ]?[0-5]?\d[ /-](?:(?:19|20)\d\d|\d\d)",
    re.ASCII,
)
_MONTH_OF_A_YEAR = re.compile(r"([A-Z][a-z]{2,8})[- ]\d\d|(?:19|20)\d\d[- /]([A-Z][a-z]{2,8})")
"""If the word names a month: Plant 01 is no period."""
_WEEK_OR_QUARTER = re.compile(r"(?:KW|CW|Wk|Week|Woche)[. ]?0?(?:[1-9]|[1-4]\d|5[0-3])|[Qq][1-4]", re.ASCII)
_WEEKS, _QUARTERS, _MONTHS = 52, 4, 12
_TIME_LIKE = re.compile(
    r"^P(?=[\dT])(?:\d+[YMWD])*(?:T(?:\d+(?:\.\d+)?[HMS])+)?$|\b\d+ ?h(?:rs?|ours?)?,? ?\d{1,2} ?m"
    r"|\b\d{1,2}[. /-]+(?:de )?[^\W\d_]{3,10}\.?[, /-]+(?:de )?(?:19|20)\d\d\b"
    r"|(?:19|20)\d\d\D{1,4}\d{1,2}\D{1,4}\d{1,2}|\b\d{1,2}\D{1,4}\d{1,2}\D{1,4}(?:19|20)\d\d"
    r"|\b\d{1,3}[:h][0-5]\d\b|^\d+ ?min\.? ?\d+ ?s(?:ec)?$|^[0-3]?\d\.[01]?\d\.$"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]* \d{1,2}\b"
)
_DATED = re.compile(
    r"(?:19|20)\d\d[-/. _]?(?:0[1-9]|1[0-2]|[A-Z][a-z]{2,8})[-/. _]?[0-3]\d(?!\d)"
    r"|(?<!\d)[0-3]?\d[-/. _](?:[01]?\d|[A-Z][a-z]{2,8})[-/. _](?:19|20)\d\d(?!\d)"
)
"""A day of one year, which does not come back."""
_FEW_DATED = 20
"""Number of texts up to which dates within them rather name a few versions than times."""
_QUANTITY_LIKE = re.compile(
    r"(?:[^\w\s.]{0,3} ?|[^\W\d_]{1,8}[.:]? )[+-]?\d+[.,]\d+(?:[dD][+-]\d+|[^\d]{0,16})"
    r"|(?:POINT ?)?[(\[]?-?\d+\.\d+[,; ]+-?\d+\.\d+[)\]]?|\d+(?:[.,]\d+)? ?(?:\u00b1|\+/-) ?\d+(?:[.,]\d+)?"
    r"|\d{1,3}\u00b0 ?\d{1,2}['\u2032].{0,12}|=\"-?\d+(?:[.,]\d+)?\""
)
"""Decimals between signs or words, of an exponent as in Fortran, or two of them, such as a latitude and longitude."""
_WRITTEN_NULLS = frozenset(
    ("null", "nan", "nat", "nil", r"\n", "<na>", "<null>", "(null)", "na", "n/a", "#n/a", "-", "?")
)
"""Null markers that programs write, in lower case. They write None as well, but people write none for a value."""


def period_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the texts if all name a period of a year that does not come back, or some that come every year.

    >>> period_like({"2024-03": 5, "NA": 1}), period_like({"2024-03": 5, "soon": 1}), period_like({"May": 9, "June": 9})
    ('2024-03', None, 'May')
    """
    texts = [text.strip() for text in counts if not is_null_marker(text.strip())]
    return texts[0] if texts and (all(map(_is_period, texts)) or _are_part_of_a_year(texts)) else None


def time_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the first texts if most of them look like dates or times to a person; else None."""
    return _first_if_most(counts, lambda text: len(text) <= _LONGEST_TIME and bool(_TIME_LIKE.search(text)))


def dated(counts: Mapping[str, int]) -> str | None:
    """Return one of the first texts if most begin with a day of one year, or many different ones hold such a day.

    >>> dated({"2024-03-04T08:00:00Z/2024-03-04T09:00:00Z": 2}), dated({"v2024-03-04": 2, "v2024-06-01": 1})
    ('2024-03-04T08:00:00Z/2024-03-04T09:00:00Z', None)
    """
    are_many = len(counts) > _FEW_DATED
    return _first_if_most(counts, lambda text: bool(_DATED.search(text) if are_many else _DATED.match(text)))


def quantity_like(counts: Mapping[str, int]) -> str | None:
    """Return one of the first texts if most of them look to a person like decimals with something beside; else None.

    >>> quantity_like({"~1.5 V": 1, "~12.25 V": 1}), quantity_like({"v1.5": 1}), quantity_like({"10.0.0.1": 1})
    ('~1.5 V', None, None)
    """
    return _first_if_most(counts, lambda text: bool(_QUANTITY_LIKE.fullmatch(text)))


def null_like(counts: Mapping[str, int]) -> str | None:
    """Return the commonest of the texts that programs write for a null; None if there is none.

    >>> null_like({"red": 9, "None": 2, "nan": 1}), null_like({"mild": 9, "none": 9})
    ('None', None)
    """
    written = [text for text in counts if text.strip().lower() in _WRITTEN_NULLS or text.strip() == "None"]
    return max(written, key=lambda text: counts[text], default=None)


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


def _first_if_most(counts: Mapping[str, int], is_like: Callable[[str], bool]) -> str | None:
    texts = [text.strip() for text in list(counts)[:_FIRST_TEXTS]]
    like = list(filter(is_like, texts))
    return like[0] if len(like) > _MOSTLY * len(texts) else None


def _is_period(text: str) -> bool:
    named = _MONTH_OF_A_YEAR.fullmatch(text)
    return month_of(named[1] or named[2]) is not None if named else _PERIOD.fullmatch(text) is not None


def _are_part_of_a_year(texts: list[str]) -> bool:
    """Tell whether texts name some, but not all, of the months, weeks or quarters of a year."""
    if len(texts) > _WEEKS + 1:
        return False
    if all(map(_WEEK_OR_QUARTER.fullmatch, texts)):
        of_year = _QUARTERS if texts[0][0] in "Qq" else _WEEKS
        return len({text.lower() for text in texts}) < of_year
    months = set(map(month_of, texts))
    return None not in months and len(months) < _MONTHS

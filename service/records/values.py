"""The rules by which one raw value becomes a number, a truth value, an instant or a category.

JSON records, files and streams share them. Text means the same wherever it stands: what a CSV file may hold in a
column, text may hold in a JSON record, because a model may have been trained on either.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import EARLIEST_S, LATEST_S
from vaegis.service.errors import ServiceError

NUMBER = "a number"
TRUTH = "true, false, yes, no, 1 or 0"
INDICATOR = "true, false or a number"
CATEGORY = "a string, an integer or a boolean"
INSTANT = "an ISO 8601 date and time, or a number since 1970"
CALENDAR_DATE = "a date as in 20240318, or an ISO 8601 date and time"
BEYOND_FLOAT64 = "expected a number within float64, got one beyond its range, or infinity"
OUTSIDE_CALENDAR = "expected a time in the years 1 to 9999, got one outside"

CSV_NULLS = frozenset(("", "NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "NaN", "nan"))
"""Text that stands for a null in CSV, quoted or not, in files and in streams, in columns of every kind."""
NULL_MARKERS = frozenset(
    (
        *("", "na", "n/a", "n.a.", "#n/a", "#na", "null", "none", "nan", "-nan", "nat", "nil", r"\n", "<na>", "<null>"),
        *("(null)", "[null]", "(none)", "(blank)", "-", "--", "---", "\u2013", "\u2014", "\uff0d", "?", "."),
        *("..", "...", "*", "**", "***", "****", "*****", "******"),
        *("#div/0!", "#value!", "#ref!", "#num!", "#name?", "#null!", "1.#qnan", "-1.#ind"),
        *("missing", "not available", "not applicable", "no data", "n/d", "n.d.", "k.a.", "k. a.", "s/o", "(empty)"),
        *("#nv", "#wert!", "#bezug!", "#zahl!", "#valeur!", "#nom?", "#nombre!", "#\u00a1valor!", "#\u00a1div/0!"),
        *("#spill!", "#calc!", "#getting_data", "0000-00-00", "0000-00-00 00:00:00", "0000-00-00t00:00:00"),
        *("0000/00/00", "00.00.0000", "00/00/0000", "00-00-0000"),
        *("n.a", "nd", "n/v", "n.v.", "n/k", "not known", "unknown", "undefined", "not set", "no value", "tbd", "tba"),
        *("unbekannt", "keine angabe", "ohne angabe", "nicht verf\u00fcgbar", "fehlt", "inconnu", "non disponible"),
        *("non renseign\u00e9", "desconocido", "no disponible", "sin dato", "sin datos", "s/d", "sconosciuto"),
        *("desconhecido", "n\u00e3o dispon\u00edvel", "onbekend", "n.v.t.", "nvt", "ok\u00e4nd", "ukendt", "ukjent"),
        *("brak", "brak danych", "b.d.", "\u043d\u0435\u0442 \u0434\u0430\u043d\u043d\u044b\u0445"),
        *("\u4e0d\u660e", "\u672a\u77e5", "\u65e0", "\u306a\u3057", "\u8a72\u5f53\u306a\u3057"),
        *("#n/d", "#n/b", "-/-", "nan%"),
    )
)
"""Text that stands for a null in columns of numbers, truth values and instants, in every format; in lower case."""
_LONGEST_MARKER = max(map(len, NULL_MARKERS))
TRUE_WORDS = frozenset(
    (
        *("true", "t", "yes", "y", "on", "ja", "j", "wahr", "oui", "vrai", "s\u00ed", "si", "verdadero", "sim", "vero"),
        *("tak", "\u0434\u0430", "\u662f", "\u306f\u3044"),
    )
)
FALSE_WORDS = frozenset(
    (
        *("false", "f", "no", "n", "off", "nein", "falsch", "non", "faux", "falso", "n\u00e3o", "nao", "nee", "nej"),
        *("nie", "\u043d\u0435\u0442", "\u5426", "\u3044\u3044\u3048"),
    )
)
"""Text that stands for a truth value, in lower case, beside 1 and 0."""

# A number of this size or more is in the next finer unit; each reaches at least from 1973 to the year 5138.
_MILLISECONDS_FROM, _MICROSECONDS_FROM, _NANOSECONDS_FROM = 1e11, 1e14, 1e17

_MOST_CHARACTERS = 5000
"""No number and no instant is written in more; a record may refer to one long text from many places."""

_CALENDAR_FROM, _CALENDAR_BEFORE = 1900_01_01, 2101_01_01
_MONTHS = 12
_LARGEST_WHOLE = 2.0**53
"""A larger float may stand for several integers."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_NUMBER_TEXT = re.compile(
    r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", flags=re.ASCII | re.IGNORECASE
)
_INSTANT_TEXT = re.compile(r"\d{4}-\d{2}-\d{2}(?:[Tt ]\S+)?|\d{8}[Tt]\S+", re.ASCII)
# A date that begins with its year, and a zone that a space parts from the time, as many databases write them.
_LOOSE_INSTANT = re.compile(
    r"(?P<year>\d{4})(?P<part>[-/.])(?P<month>\d{1,2})(?P=part)(?P<day>\d{1,2})"
    r"(?:[Tt ]+(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)"
    r" ?(?P<zone>UTC|GMT|[Zz]|[A-Z]{3,4}|[+-]\d{2}(?::?\d{2})?)?(?P<name>(?<=\d) [A-Z]{3,5})?)?",
    re.ASCII,
)
ZONES = {
    **dict.fromkeys(("UTC", "GMT", "Z", "z", "WET"), "+00:00"),
    **dict.fromkeys(("WEST", "CET"), "+01:00"),
    **dict.fromkeys(("CEST", "EET"), "+02:00"),
    **dict.fromkeys(("EST", "CDT"), "-05:00"),
    **dict.fromkeys(("CST", "MDT"), "-06:00"),
    **dict.fromkeys(("MST", "PDT"), "-07:00"),
    **dict.fromkeys(("JST", "KST"), "+09:00"),
    "EDT": "-04:00",
    "EEST": "+03:00",
    "PST": "-08:00",
    "AEST": "+10:00",
    "AEDT": "+11:00",
}
"""Zones by their short names: those of America as in RFC 2822, and others that have one meaning."""
_NAMED_MONTH = re.compile(
    r"\[?(?P<rest>(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?"
    r"\d{1,2}[ /-][A-Z][a-z]{2}[ /-]\d{2,4}[: ][\d: +A-Z-]+)\]?",
    re.ASCII,
)
_DOT_NET = re.compile(r"\\?/Date\((?P<milliseconds>-?\d{1,16})(?:[+-]\d{4})?\)\\?/", re.ASCII)
_JAVA_ZONE = re.compile(r"(?P<instant>.+(?:[Zz]|[+-]\d{2}:?\d{2}))\[[A-Za-z0-9_/+:-]+\]", re.ASCII)
"""A zone's name after its offset, as Java writes both."""
_APACHE = "%d/%b/%Y:%H:%M:%S %z"
_EXCEL_FROM, _EXCEL_TO = 25_569, 73_050
"""Numbers between them are days as Excel counts them, of 1970 to 2099; as seconds they would be one day of 1970."""
_CALENDAR_14_FROM, _CALENDAR_14_TO = 1900_01_01_00_00_00, 2100_01_01_00_00_00
"""Numbers between them write a date and time, as in 20240318101200; as milliseconds they would be centuries ahead."""


class RefusedValueError(ServiceError):
    """A value that a column's kind does not take; ``code`` is the fault's stable name."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def number(value: object) -> float:
    """Return a quantity: an integer or a float, finite, or text that writes one; not a boolean."""
    if isinstance(value, str):
        return _finite_or_null(number_of_text(value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(NUMBER, value)
    return _finite(value)


def truth(value: object) -> float:
    """Return a truth value as 0.0 or 1.0: true, false, 0 or 1, or text that writes one; NaN for blank text."""
    if isinstance(value, str):
        found = _truth_or_number(value, TRUTH)
        return found if math.isnan(found) else truth(found)
    if not isinstance(value, bool | int | float):
        raise _wrong_type(TRUTH, value)
    if value not in (0, 1):
        raise RefusedValueError("wrong_type", f"expected {TRUTH}, got another number")
    return float(value)


def indicator(value: object) -> float:
    """Return a truth value that training saw as 0 and 1: any other finite number is legal there, and anomalous."""
    if isinstance(value, str):
        return _finite_or_null(_truth_or_number(value, INDICATOR))
    if not isinstance(value, bool | int | float):
        raise _wrong_type(INDICATOR, value)
    return _finite(value)


def instant(value: object) -> float:
    """Return an instant in seconds since 1970-01-01T00:00:00Z.

    Text is ISO 8601, taken as UTC where it names no zone, or a number. A number is in seconds, milliseconds,
    microseconds or nanoseconds, as its size shows: `instants_of_numbers`. Python's own dates and times are taken too.
    """
    if isinstance(value, str):
        return instant_of_text(value)
    if isinstance(value, date):
        return _instant_of_date(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(INSTANT, value)
    seconds = float(instants_of_numbers(np.array([_finite(value)]))[0])
    if math.isinf(seconds):
        hint = "one that looks like Excel's count of days" if value < _EXCEL_TO else "digits that are no date"
        raise RefusedValueError("invalid_timestamp", f"expected {INSTANT}, got {hint}")
    if not EARLIEST_S <= seconds < LATEST_S:
        raise _outside_calendar()
    return seconds


def iso_instant(seconds: float, timespec: str = "auto") -> str:
    """Return an instant as ISO 8601 writes it, in UTC.

    Raises:
        OverflowError: It lies outside the years 1 to 9999.

    >>> iso_instant(0.0)
    '1970-01-01T00:00:00+00:00'
    """
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec=timespec)


def category(value: object) -> str:
    """Return a category: a string unchanged, a whole number in decimal, a boolean as ``true`` or ``false``."""
    if isinstance(value, str):
        if not is_text(value):
            raise RefusedValueError("invalid_text", "expected valid Unicode text, got a lone surrogate")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_WHOLE:
        return str(int(value))
    if isinstance(value, int):
        try:
            return str(value)
        except ValueError:  # Python refuses to print more than 4,300 digits.
            raise RefusedValueError(
                "too_large", "expected an integer of at most 4300 digits, got a longer one"
            ) from None
    raise _wrong_type(CATEGORY, value)


def number_of_text(text: str) -> float:
    """Return a quantity written as text; blank and ``nan`` are NaN, and overflow is infinite."""
    stripped = _stripped(text)
    if is_null_marker(stripped):
        return math.nan
    if _NUMBER_TEXT.fullmatch(stripped) is None:
        raise RefusedValueError("wrong_type", f"expected {NUMBER}, got text")
    return float(stripped)


def is_null_marker(stripped: str) -> bool:
    """Tell whether text, without blanks around it, stands for a null in a column of numbers."""
    return len(stripped) <= _LONGEST_MARKER and stripped.lower() in NULL_MARKERS


def _stripped(text: str) -> str:
    if len(text) > _MOST_CHARACTERS:
        raise RefusedValueError("too_large", f"expected at most {_MOST_CHARACTERS} characters, got longer text")
    return text.strip()


def _truth_or_number(text: str, expected: str) -> float:
    word = _stripped(text).lower()
    if word in TRUE_WORDS or word in FALSE_WORDS:
        return float(word in TRUE_WORDS)
    try:
        return number_of_text(word)
    except RefusedValueError:
        raise RefusedValueError("wrong_type", f"expected {expected}, got other text") from None


def instant_of_text(text: str) -> float:
    """Return an instant written as text: ISO 8601, or a number since 1970; blank is NaN."""
    stripped = _stripped(text)
    # The usual case, and never a number or a null; MySQL writes 0000-00-00 for a null.
    if _INSTANT_TEXT.fullmatch(stripped) and not stripped.startswith("0000"):
        return _instant_of_iso(stripped)
    try:
        value = number_of_text(stripped)
    except RefusedValueError:
        return _instant_of_iso(stripped)
    return value if math.isnan(value) else instant(value)


def instants_of_numbers(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return instants in seconds since 1970 from numbers whose unit shows in their size.

    Below 1e11 in magnitude they are seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds.
    Fourteen digits of a date and time of the years 1900 to 2099, as in 20240318101200, are that date and time.

    Args:
        numbers: Shape (n,); NaN stays NaN.

    Returns:
        Seconds, shape (n,), not checked against the calendar; infinite for fourteen digits that are no date, and
        for days as Excel counts them.
    """
    size = np.abs(numbers)
    limits = (_MILLISECONDS_FROM, _MICROSECONDS_FROM, _NANOSECONDS_FROM)
    unit = np.select([size < limit for limit in limits], [1.0, 1e3, 1e6], 1e9)
    seconds = np.asarray(numbers / unit, dtype=np.float64)
    digits = (numbers >= _CALENDAR_14_FROM) & (numbers < _CALENDAR_14_TO)
    seconds[(numbers > _EXCEL_FROM) & (numbers < _EXCEL_TO)] = math.inf
    if digits.any():
        seconds[digits] = [_instant_of_digits(int(number)) for number in numbers[digits].tolist()]
    return seconds


def instants_of_yyyymmdd(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return instants in seconds since 1970 from dates written as in 20240318; NaN for what writes no date.

    Args:
        numbers: Shape (n,); NaN stays NaN. Dates of the years 1900 to 2100 are read.

    >>> instants_of_yyyymmdd(np.array([19700102.0, 20230229.0])).tolist()
    [86400.0, nan]
    """
    may_be = (numbers >= _CALENDAR_FROM) & (numbers < _CALENDAR_BEFORE) & (numbers == np.floor(numbers))
    whole = np.where(may_be, numbers, 1970_01_01).astype(np.int64)
    year, month, day = whole // 10_000, whole // 100 % 100, whole % 100
    may_be &= (month >= 1) & (month <= _MONTHS) & (day >= 1)
    months = (year - 1970) * 12 + np.where(may_be, month, 1) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    may_be &= first + day <= following
    return np.where(may_be, (first + day - 1) * 86_400.0, np.nan)


def in_calendar(seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which instants lie within the years 1 to 9999; a null, NaN, counts as within."""
    return np.asarray(np.isnan(seconds) | ((seconds >= EARLIEST_S) & (seconds < LATEST_S)), dtype=np.bool_)


def is_text(value: str) -> bool:
    """Tell whether ``value`` is Unicode text that UTF-8 can hold: it has no lone surrogate."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def described(value: object) -> str:
    """Return the kind of a JSON value for a message, never the value itself."""
    if value is None:
        return "null"
    names = ((bool, "a boolean"), (int | float, "a number"), (str, "a string"), (dict, "an object"), (list, "a list"))
    return next((name for kind, name in names if isinstance(value, kind)), f"a {type(value).__name__}")


def described_record(value: object) -> str:
    """Return what a message says of a JSON value in the place of a record, with the likely cause.

    >>> described_record(1), described_record('{"amount": 1}')
    ('a number', 'a string that holds JSON: was the record encoded twice?')
    """
    is_json = isinstance(value, str) and value.lstrip()[:1] in ("{", "[")
    return f"{described(value)}{' that holds JSON: was the record encoded twice?' if is_json else ''}"


def _finite_or_null(value: float) -> float:
    if math.isinf(value):
        raise _too_large()
    return value


def _finite(value: float) -> float:
    """Return an integer or float as a float64, which must hold it."""
    try:
        converted = float(value)
    except OverflowError:
        converted = math.inf
    if math.isnan(converted):
        raise RefusedValueError("not_finite", "expected a finite number, got NaN")
    if math.isinf(converted):
        raise _too_large()
    return converted


def _too_large() -> RefusedValueError:
    return RefusedValueError("too_large", BEYOND_FLOAT64)


def _instant_of_digits(number: int) -> float:
    try:
        return datetime.strptime(f"{number}+0000", "%Y%m%d%H%M%S%z").timestamp()
    except ValueError:
        return math.inf


def _instant_of_iso(text: str) -> float:
    if found := _DOT_NET.fullmatch(text):
        seconds = int(found["milliseconds"]) / 1000
        if not EARLIEST_S <= seconds < LATEST_S:
            raise _outside_calendar()
        return seconds
    if found := _JAVA_ZONE.fullmatch(text):
        text = found["instant"]
    try:
        moment = datetime.fromisoformat(text) if _INSTANT_TEXT.fullmatch(text) else _instant_of_loose(text)
    except ValueError:
        raise RefusedValueError(
            "invalid_timestamp", "expected an existing date and time, got one that does not exist"
        ) from None
    return _instant_of_date(moment)


def _instant_of_loose(text: str) -> datetime:
    """Return the instant in a text that is not ISO 8601, but has only one meaning.

    Raises:
        ValueError: The date or time does not exist.
        RefusedValueError: The text is nothing of that kind.
    """
    if found := _LOOSE_INSTANT.fullmatch(text):
        hour, _, rest = (found["time"] or "00:00").partition(":")
        zone = found["zone"] or ""
        if zone.isalpha():
            if zone not in ZONES:
                raise RefusedValueError("invalid_timestamp", f"expected {INSTANT}, got a time zone that is not known")
            zone = ZONES[zone]
        if found["name"] and not found["zone"]:
            raise RefusedValueError("invalid_timestamp", f"expected {INSTANT}, got other text")
        day = f"{found['year']}-{int(found['month']):02}-{int(found['day']):02}"
        return datetime.fromisoformat(f"{day}T{int(hour):02}:{rest}{zone}")
    if named := _NAMED_MONTH.fullmatch(text):
        if "/" in text:
            return datetime.strptime(named["rest"], _APACHE)  # noqa: DTZ007 - the format has a zone
        return parsedate_to_datetime(named["rest"])
    raise RefusedValueError("invalid_timestamp", f"expected {INSTANT}, got other text")


def _instant_of_date(day: date) -> float:
    """Return a date, or a date and time, in seconds since 1970; in UTC if it has no zone."""
    moment = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day, tzinfo=UTC)
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not EARLIEST_S <= seconds < LATEST_S:
        raise _outside_calendar()
    return seconds


def _wrong_type(expected: str, value: object) -> RefusedValueError:
    return RefusedValueError("wrong_type", f"expected {expected}, got {described(value)}")


def _outside_calendar() -> RefusedValueError:
    return RefusedValueError("invalid_timestamp", OUTSIDE_CALENDAR)

"""Find how the texts of a column write numbers with units, separators or signs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vaegis.service.records.reading import MARK_OF_TEXT, WrittenNumber, is_currency, written_number
from vaegis.training.data.profiling.other_text import OtherText, commonest_other

_CODES_OF_CURRENCIES = frozenset(
    (
        *("AED", "ARS", "AUD", "BGN", "BRL", "CAD", "CHF", "CLP", "CNY", "COP", "CZK", "DKK", "EGP", "EUR", "GBP"),
        *("HKD", "HUF", "IDR", "ILS", "INR", "JPY", "KES", "KRW", "MXN", "MYR", "NGN", "NOK", "NZD", "PEN", "PHP"),
        *("PKR", "PLN", "RON", "RUB", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "VND", "ZAR"),
        *("kr", "Kr", "kr.", "Kr.", "Rs", "Rs.", "Rp", "Rp.", "Fr.", "SFr.", "RM", "RMB", "TL", "zl", "z\u0142"),
        *("K\u010d", "Ft"),
    )
)
_LONGEST_UNIT = 8  # characters
_UNITS = frozenset(
    (
        *("%", "\u2030", "\u00b0", "\u00b0C", "\u00b0F", "kg", "g", "mg", "\u00b5g", "ug", "t", "lb", "lbs", "oz"),
        *("km", "m", "dm", "cm", "mm", "\u00b5m", "um", "mi", "ft", "in", "yd", "l", "ml", "mL", "cl", "m2", "m3"),
        *("s", "sec", "ms", "us", "\u00b5s", "ns", "min", "h", "hr", "hrs", "d", "days", "kB", "KB", "MB", "GB", "TB"),
        *("KiB", "MiB", "GiB", "TiB", "bps", "kbps", "Mbps", "Gbps", "kW", "MW", "Wh", "kWh", "MWh", "mV", "kV", "mA"),
        *("Hz", "kHz", "MHz", "GHz", "Pa", "hPa", "kPa", "MPa", "mbar", "bar", "psi", "ppm", "ppb", "dB", "dBm", "rpm"),
        *("lx", "lm", "Nm", "kJ", "cal", "kcal", "mol", "pcs", "km/h", "kph", "mph", "m/s", "mg/l", "mg/dl", "bpm"),
        *("px", "K", "k", "M", "bn", "mn", "\u5186", "\u5143", "\uc6d0"),
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
_AMBIGUOUS = re.compile(r"\d{1,3}(,\d{3})+")
_CODE = re.compile(r"\d{3}(?:[^\d]\d{3}){2,}")
"""Digits of telephone numbers rather than of a number; if no other text is there."""
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IP_ADDRESS = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)
"""Many have a number's groups of two or three digits, such as 81.84.92.203."""
_PADDED = re.compile(r"0\d", re.ASCII)
_PLAIN = frozenset("0123456789.")


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


def _is_plain(text: str) -> bool:
    """Tell whether the common rules read what is known to be a number as the same number."""
    return _PLAIN.issuperset(text.strip().lstrip("+-").partition("e")[0].partition("E")[0])


def _is_unit(written: WrittenNumber) -> bool:
    """Tell whether what stands beside a number is a unit, rather than part of a code or of a numbered list."""
    before, after = written.before, written.after
    if before == MARK_OF_TEXT:
        return _PADDED.match(written.digits) is None
    if before:
        return is_currency(before) or before in _CODES_OF_CURRENCIES
    if after and written.digits[-1] in ".,":
        return False  # as in "1. White"
    if after and not written.is_apart and _PADDED.match(written.digits):
        return False  # as in hexadecimal digits
    is_word = written.is_apart and len(after) <= _LONGEST_UNIT and not any(map(str.isspace, after))
    return not after or is_word or is_currency(after) or after in _UNITS or after in _CODES_OF_CURRENCIES

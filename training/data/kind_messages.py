"""What messages say of the texts of a column: which of them are not of its kind, where, and which settings help."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from typing import TypeAlias

from vaegis.service.records.column_names import setting_of, shown
from vaegis.training.config import Kind
from vaegis.training.data.name_words import names_codes
from vaegis.training.data.profiling.other_text import OtherText
from vaegis.training.data.profiling.text_profile import TextProfile
from vaegis.training.data.profiling.written_numbers import NumberWriting
from vaegis.training.data.row_location import RowLocation

_HALF = 0.45
_MOSTLY = 0.5
_FEWEST_VARIED = 20
_MOST_UNITS_SHOWN = 4
_FEWEST_FORMS = 20
_COMMON = 0.02
"""Texts in another form are values rather than markers of nulls if more than `_FEWEST_FORMS` differ and none has this
share."""

_TOTALS = frozenset(("total", "totals", "grand total", "sum", "subtotal", "summe", "gesamt", "totale", "suma"))

Locate: TypeAlias = Callable[[str, str], RowLocation | None]
"""Returns where a column first holds a text."""


def how_to_read(
    name: str, other: OtherText | None, seen: int, wanted: Kind | None = None, *, row: int | None = None
) -> str:
    """Return which settings help where some text is not of a column's kind, and which text that is, if it repeats."""
    null_values = setting_of(name, "null_values")
    ways = [f"{null_values}, if such a text stands for no value"]
    if other is not None:
        if other.text.strip() == name:
            return "that is the column's own name: the header seems to be repeated among the records; remove such lines"
        if other.records == other.distinct == 1 and is_total(other.text):
            return "that line seems to hold a total of the others: remove it"
        if row == 1 and other.distinct == other.records == 1:
            return "if the first line below the header belongs to it, such as units or more names, remove that line"
        if other.distinct > _FEWEST_FORMS and other.records < _COMMON * seen:
            form = json.dumps(shown(_form_of(other.text)), ensure_ascii=False)
            return (
                f"{other.distinct:,} different texts are in another form, such as {form}: write all values in one "
                f'form, or set in train.toml {setting_of(name, "kind")} = "text" (or "ignore")'
            )
        share = other.records / seen
        # A text with digits that comes once is rather a wrong value. What half of the records hold is rather no null.
        if share > _HALF or (other.records == 1 and any(map(str.isdigit, other.text))):
            return f"correct the records, or set in train.toml {'; or '.join(_other_ways(name, wanted))}"
        text = json.dumps(shown(other.text), ensure_ascii=False)
        ways = [f"{null_values} = [{text}], if this text, which {share:.1%} hold, stands for no value"]
    ways += _other_ways(name, wanted)
    return f"correct the records, or set in train.toml {'; or '.join(ways)}"


def warnings_of_text(name: str, text: TextProfile) -> tuple[str, ...]:
    """Return what to say of text that a person may take for a quantity."""
    written = text.written
    if text.has_leading_zeros and text.numbers.first_other is None:
        if not text.numbers.count or names_codes(name):
            return ()
        codes = "numbers with leading zeros are taken for codes, and their size is not watched"
        return (f"{codes}; if it matters, set {setting_line(name, 'numeric')}",)
    are_units = written is not None and 1 < len(written.units) < text.distinct  # else each text has a word of its own
    if written is not None and are_units and text.period_like is None:
        records = sum(count for _, count in written.units)
        if records >= _MOSTLY * text.records:
            several = f"looks like numbers in several units ({units_of(written)}), and their size is not watched"
            return (f"{several}; write all of them in one unit",)
    if text.time_like is not None:
        example = json.dumps(shown(text.time_like), ensure_ascii=False)
        how = f"for times set {setting_of(name, 'format')} (codes of strptime); write durations as numbers of one unit"
        return (f"looks like times or durations, such as {example}, in a form that is not known; {how}",)
    if text.quantity_like is not None and text.distinct > _FEWEST_VARIED:
        example = json.dumps(shown(text.quantity_like), ensure_ascii=False)
        return (f"looks like numbers, such as {example}, whose size is not watched; write each as a plain number",)
    return ()


def warnings_of_categories(name: str, text: TextProfile) -> tuple[str, ...]:
    """Return what to say of categories that a person may take for one, for none, or for numbers."""
    warnings = []
    if text.alike is not None:
        # Blanks of several kinds and accents in several forms look the same unless they are escaped.
        escaped = len({unicodedata.normalize("NFKC", each) for each in text.alike}) == 1
        pair = " and ".join(json.dumps(shown(each), ensure_ascii=escaped) for each in text.alike)
        warnings.append(
            f"{pair} differ in case or blanks alone, but are two values: if they mean the same, write them alike"
        )
    if text.null_like is not None:
        written = json.dumps(shown(text.null_like), ensure_ascii=False)
        warnings.append(
            f"{written} is taken for a value: if it stands for no value, set in train.toml "
            f"{setting_of(name, 'null_values')} = [{written}]"
        )
    if not text.has_leading_zeros and _MOSTLY * text.records <= text.numbers.count < text.records:
        warnings.append(
            f"{text.numbers.count / text.records:.0%} of the values are numbers, but their size is not watched: if "
            "they are quantities, correct the others, or set null_values"
        )
    return tuple(warnings)


def units_of(written: NumberWriting) -> str:
    """Return the commonest units of numbers."""
    return ", ".join(unit for unit, _ in written.units[:_MOST_UNITS_SHOWN])


def place_of(name: str, other: OtherText | None, locate: Locate) -> str:
    """Return the column of a message, after the file and row of the text in another form where it is found."""
    location = None if other is None else locate(name, other.text)
    return f"column {shown(name)}" if location is None else f"{location}, column {shown(name)}"


def setting_line(name: str, kind: str) -> str:
    """Return the line of train.toml that sets a column's kind."""
    return f'{setting_of(name, "kind")} = "{kind}" in train.toml'


def is_total(text: str) -> bool:
    """Return whether a text is a word that stands before totals, as in ``Total:``."""
    return text.strip(" :").casefold() in _TOTALS


def _form_of(text: str) -> str:
    """Return the form of a text rather than the text: a message may end in a log.

    >>> _form_of("18.03.2024 7h")
    '99.99.9999 9a'
    """
    return "".join("9" if letter.isdecimal() else "a" if letter.isalpha() else letter for letter in text.strip())


def _other_ways(name: str, wanted: Kind | None) -> list[str]:
    formats = [f'{setting_of(name, "format")}, such as "%d/%m/%Y %H:%M"'] if wanted == "timestamp" else []
    return [*formats, f'{setting_of(name, "kind")} = "categorical" (or "ignore")']

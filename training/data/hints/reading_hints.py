"""Tell what the user should know of how the lines of CSV files were read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from vaegis.service.records.column_names import shown
from vaegis.service.terminal import counted
from vaegis.training.data.profiling.profile import ColumnProfile, DataProfile

_MOST_NAMES_SHOWN = 3
_VALUE = re.compile(
    r"[+-]?\d+\.\d+|\d{1,3}(,\d{3})+(\.\d+)?|[$\u20ac\u00a3]\s?\d[\d.,]*|\d+[.,]\d+\s?[%$\u20ac\u00a3]|"
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*|.*\b\d\d:\d\d:\d\d\b.*"
)
"""Names of columns that are rather numbers, amounts or times of a first record."""
_UNSEEN = re.compile(r"^[\s\u200b-\u200f\u2060\ufeff]|[\s\u200b-\u200f\u2060\ufeff]$")
"""Names that begin or end with a character that is not seen."""
_SINGLE_QUOTED = re.compile(r"'.*'", re.DOTALL)


def reading_hints(profile: DataProfile) -> Iterator[str]:
    """Yield what the user should know of how the lines of CSV files were read."""
    if profile.blank_lines:
        yield f"{profile.blank_lines:,} lines without any value are skipped."
    padded = [column.name for column in profile.columns if _UNSEEN.search(column.name)]
    if padded:
        shown_names = padded[:_MOST_NAMES_SHOWN]
        names = ", ".join(json.dumps(shown(name), ensure_ascii=not name.isprintable()) for name in shown_names)
        yield (
            f"Warning: the names of {counted(len(padded), 'column')} begin or end with a blank ({names}). Records that "
            "are scored need the same names."
        )
    name = next((column.name for column in profile.columns if profile.is_text and _VALUE.fullmatch(column.name)), None)
    if name is not None:
        yield (
            f'Warning: the first line is taken for the header, but "{shown(name)}" looks like a value. If there is no '
            "header, add a line with the names of the columns."
        )
    quoted = next((column.name for column in profile.columns if profile.is_text and _is_single_quoted(column)), None)
    if quoted is not None:
        yield (
            f"Warning: {shown(quoted)}: the values stand between single quotes. If these are no part of them, set "
            'data.quote = "\'" in train.toml, or --quote "\'".'
        )


def _is_single_quoted(column: ColumnProfile) -> bool:
    """Tell whether no text of a column is a number, and the commonest stands between single quotes."""
    text = column.text
    if text is None or text.other is None or text.numbers.count:
        return False
    return _SINGLE_QUOTED.fullmatch(text.other.text) is not None

"""Convert the cells of a column, text or numbers, to what the graph takes, and report every fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import NO_CATEGORY
from vaegis.service.records import values as rules
from vaegis.service.records.faults import Report
from vaegis.service.records.instants import instants_of_iso

_MEAN_CHARACTERS: Final = 64

_NUMBERS: Final = msgspec.json.Decoder(list[float])
_WORDS: Final = {
    word: float(index)
    for index, words in enumerate((("0", "false", "False", "FALSE"), ("1", "true", "True", "TRUE")))
    for word in words
}


def numbers_of_texts(texts: Sequence[str | None], kind: str, report: Report) -> NDArray[np.float64]:
    """Return text as the numbers, truth values or instants that `values.TEXT_RULES` makes of it.

    Args:
        texts: n cells; None is a null.
        kind: What `values.rule_of` a column gives.
        report: Told of each cell that is refused.

    Returns:
        Shape (n,); NaN where null or refused.
    """
    if None in texts:
        present = [(index, text) for index, text in enumerate(texts) if text is not None]
        rows = [index for index, _ in present]
        converted = np.full(len(texts), np.nan)
        converted[rows] = numbers_of_texts(
            [text for _, text in present], kind, lambda row, code, detail: report(rows[row], code, detail)
        )
        return converted
    told = [text or "" for text in texts]
    at_once = _at_once(told, kind) if told else None
    return _one_by_one(told, kind, report) if at_once is None else at_once


def checked_numbers(numbers: NDArray[np.float64], kind: str, report: Report) -> NDArray[np.float64]:
    """Return numbers as the quantities, truth values or instants that ``kind`` makes of them.

    Args:
        numbers: Shape (n,), of the caller's making; NaN is a null.
        kind: What `values.rule_of` a column gives.
        report: Told of each number that is refused.

    Returns:
        Shape (n,); NaN where null or refused.
    """
    converted = numbers
    if kind == "timestamp":
        converted = rules.instants_of_numbers(numbers)
        wrong = ~rules.in_calendar(converted)
    elif kind == "boolean":
        wrong = ~((numbers == 0) | (numbers == 1) | np.isnan(numbers))
    else:
        wrong = np.isinf(numbers)
    if not wrong.any():
        return converted
    rule = rules.RULES[kind]
    for row in np.flatnonzero(wrong).tolist():
        try:
            rule(float(numbers[row]))
        except rules.RefusedValueError as refusal:
            report(row, refusal.code, str(refusal))
    return np.where(wrong, np.nan, converted)


def checked_instants(seconds: NDArray[np.float64], report: Report) -> NDArray[np.float64]:
    """Return instants in seconds since 1970; those outside the calendar are reported, and null."""
    wrong = ~rules.in_calendar(seconds)
    for row in np.flatnonzero(wrong).tolist():
        report(row, "invalid_timestamp", rules.OUTSIDE_CALENDAR)
    return np.where(wrong, np.nan, seconds)


def categories_of_texts(texts: Sequence[str | None]) -> tuple[NDArray[np.object_], NDArray[np.bool_]]:
    """Return text as categories, `contract.NO_CATEGORY` where null, and which are not null; both of shape (n,)."""
    strings = np.empty(len(texts), dtype=object)
    observed = np.ones(len(texts), dtype=np.bool_)
    if None in texts:
        observed[:] = [text is not None for text in texts]
        texts = [NO_CATEGORY if text is None else text for text in texts]
    strings[:] = texts
    return strings, observed


def _at_once(texts: list[str], kind: str) -> NDArray[np.float64] | None:
    """Return the values of uniform text; None if each value must be parsed by itself."""
    if kind in rules.TRUTHS:
        words = [_WORDS.get(text) for text in texts]
        if None not in words:
            return np.array(words, dtype=np.float64)
    if sum(map(len, texts)) > _MEAN_CHARACTERS * len(texts):
        return None  # which may be one text, held once, that all records refer to
    try:
        # JSON's numbers are among those that the rules take, and its parser is several times as fast as Python's.
        decoded = _NUMBERS.decode("[" + ",".join(texts) + "]")
    except msgspec.DecodeError:
        return instants_of_iso(texts) if kind == "timestamp" else None
    if len(decoded) != len(texts):
        return None
    refused = False

    def refuse(*_: object) -> None:
        nonlocal refused
        refused = True

    numbers = checked_numbers(np.array(decoded), kind, refuse)
    return None if refused else numbers


def _one_by_one(texts: list[str], kind: str, report: Report) -> NDArray[np.float64]:
    rule = rules.RULES[kind]
    converted = np.full(len(texts), np.nan)
    for row, text in enumerate(texts):
        try:
            converted[row] = rule(text)
        except rules.RefusedValueError as refusal:
            report(row, refusal.code, str(refusal))
    return converted

"""The form of a text: its pattern of character classes, its length, and how usual its pairs of characters are."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from operator import and_
from string import ascii_letters
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import MOST_FORM_CHARACTERS, OTHER_FORM, CharacterClasses, TextColumn

OTHER: Final = OTHER_FORM
"""Form of a text whose pattern is not known, but whose length, characters and spelling are usual."""

UNUSUAL: Final = "unusual"
"""Form of a text of unusual length, characters or spelling. It is no category, so the graph has it as unseen."""

_ANY: Final = "*"
_MOST_PATTERN_CHARACTERS: Final = 128
_EDGE: Final = "\n"  # between texts, and before and after one; white space within one is a space
_ASCII: Final = 128
_UNNAMED: Final = "\x7f"
_MOST_READ_SINGLY: Final = 8  # texts that numpy would cost more than it saves


class Forms:
    """Judges the texts of one column. It may be called from several threads."""

    def __init__(self, column: TextColumn) -> None:
        """Read what is usual from ``column``."""
        self._column = column
        self._known = frozenset(column.categories) - {OTHER}
        self._counts = [(symbol, *usual) for symbol, usual in column.usual_counts.items()]
        self._surprises = np.full(_ASCII * _ASCII, column.rare_pair, dtype=np.int64)
        for pair, surprise in column.pairs.items():
            self._surprises[_ASCII * ord(pair[0]) + ord(pair[1])] = surprise
        self._listed: list[int] = self._surprises.tolist()

    def of(self, texts: Sequence[str]) -> list[str]:
        """Return what the graph takes for texts: the pattern of each, `OTHER` or `UNUSUAL`."""
        column, known = self._column, self._known
        patterns = patterns_of(texts, column.classes, column.longest_run)
        usual = list(map(and_, self.have_usual_lengths(texts), self.have_usual_spelling(texts)))
        usual = list(map(and_, usual, self.have_usual_characters(texts)))
        if all(usual) and known.issuperset(patterns):
            return patterns
        return [
            (pattern if pattern in known else OTHER) if is_usual else UNUSUAL
            for pattern, is_usual in zip(patterns, usual, strict=True)
        ]

    def have_usual_lengths(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts are about as long as those that training saw."""
        shortest, longest = self._column.usual_lengths
        if longest is None:
            return [shortest <= length for length in map(len, texts)]
        return [shortest <= length <= longest for length in map(len, texts)]

    def have_usual_characters(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts hold only classes of characters that training saw, and each about as often."""
        return list(map(self._has_usual_characters, classes_of(texts)))

    def _has_usual_characters(self, classes: str) -> bool:
        others = len(classes)
        for symbol, least, most in self._counts:
            count = classes.count(symbol)
            if not least <= count <= most:
                return False
            others -= count
        return others == 0

    def have_usual_spelling(self, texts: Sequence[str]) -> list[bool]:
        """Tell which texts have pairs of characters that are, on average, about as common as in training."""
        limit = self._column.usual_surprise
        if limit is None:
            return [True] * len(texts)
        return [total <= limit * pairs for total, pairs in zip(*self.surprises(texts), strict=True)]

    def surprises(self, texts: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return for each text the sum over its pairs of characters of -log P(second | first), and how many there are.

        The sums are in whole hundredths of a nat, so that they are the same in any batch.
        """
        if len(texts) <= _MOST_READ_SINGLY:
            each = [_spelled([text]).encode() for text in texts]
            listed = self._listed
            sums = [sum([listed[_ASCII * a + b] for a, b in pairwise(codes)]) for codes in each]
            return sums, [len(codes) - 1 for codes in each]
        pairs, starts = pairs_of(texts)
        return np.add.reduceat(self._surprises[pairs], starts).tolist(), np.diff(starts, append=len(pairs)).tolist()


def patterns_of(texts: Sequence[str], classes: CharacterClasses, longest_run: int) -> list[str]:
    """Return the pattern of each text: the classes of its characters, with runs of letters or digits cut to a length.

    Args:
        texts: At least one; what is beyond the first `contract.MOST_FORM_CHARACTERS` characters of one is not seen.
        classes: How finely letters and digits are told apart.
        longest_run: Most letters of one class, or digits, in a row.

    >>> patterns_of(["Ann.Lee@mail.example", "b@@c"], "case", 3), patterns_of(["b, a"], "set", 1)
    (['Aaa.Aaa@aaa.aaa', 'a@@a'], [' ,a'])
    """
    if classes == "any":
        return [_ANY] * len(texts)
    translated = _joined(texts).translate(_TABLES[classes])
    if classes == "set":
        return ["".join(sorted(set(text))) for text in translated.split(_EDGE)]
    for symbol in _RUNNING[classes]:
        cut = symbol * longest_run
        longer = cut + symbol
        while longer in translated:
            translated = translated.replace(longer, cut)
    return [pattern[:_MOST_PATTERN_CHARACTERS] for pattern in translated.split(_EDGE)]


def classes_of(texts: Sequence[str]) -> list[str]:
    """Return the class of each character of texts, as the classes `case` tell them apart."""
    return _joined(texts).translate(_TABLES["case"]).split(_EDGE)


def pairs_of(texts: Sequence[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the pairs of neighbouring characters of texts, their edges included, and where each text's begin.

    A pair of the ASCII codes a and b is 128 a + b. Capitals count as small letters and digits as 9.

    Args:
        texts: At least one.
    """
    codes = np.frombuffer(_spelled(texts).encode(), dtype=np.uint8).astype(np.intp)
    return _ASCII * codes[:-1] + codes[1:], np.flatnonzero(codes[:-1] == ord(_EDGE))


def pair_name(pair: int) -> str:
    """Return the two characters of a pair of `pairs_of`."""
    return chr(pair // _ASCII) + chr(pair % _ASCII)


class _Classes(dict[int, str]):
    """The class of each character by its code point. Only those of ASCII are kept, so that it does not grow."""

    def __init__(self, upper: str, lower: str, digit: str, other: str) -> None:
        self._upper, self._lower, self._digit, self._other = upper, lower, digit, other
        super().__init__({code: self[code] for code in range(_ASCII)})
        self[ord(_EDGE)] = _EDGE

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character.isspace():
            return " "
        category = unicodedata.category(character)
        if category in ("Lu", "Lt"):
            return self._upper
        if category[0] in "LM":
            return self._lower
        if category[0] == "N":
            return self._digit
        return character if code < _ASCII and category != "Cc" else self._other


_TABLES: Final = {
    "case": _Classes("A", "a", "9", "\ufffd"),
    "letters": _Classes("a", "a", "9", "\ufffd"),
    "alphanumeric": _Classes("x", "x", "x", "\ufffd"),
    "set": _Classes("A", "a", "9", "\ufffd"),
}
_RUNNING: Final = {"case": "Aa9", "letters": "a9", "alphanumeric": "x"}
_SPELLING: Final = _Classes(_UNNAMED, _UNNAMED, "9", _UNNAMED)
_SPELLING.update({ord(letter): letter.lower() for letter in ascii_letters})


def _joined(texts: Sequence[str]) -> str:
    """Return the beginnings of texts, with an edge between each and the next."""
    whole = _EDGE.join(texts)
    if len(whole) > MOST_FORM_CHARACTERS:  # else none is longer
        whole = _EDGE.join([text[:MOST_FORM_CHARACTERS] for text in texts])
    if whole.count(_EDGE) != len(texts) - 1:
        whole = _EDGE.join([text[:MOST_FORM_CHARACTERS].replace(_EDGE, " ") for text in texts])
    return whole


def _spelled(texts: Sequence[str]) -> str:
    """Return texts as their pairs are counted, in ASCII."""
    return f"{_EDGE}{_joined(texts).translate(_SPELLING)}{_EDGE}"

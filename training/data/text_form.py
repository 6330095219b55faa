"""Learn the form of a column of text: which patterns it has, and which lengths and spellings are usual."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import (
    LONGEST_RUN,
    MOST_FORM_CHARACTERS,
    QUANTILE_FRACTIONS,
    CharacterClasses,
    TextColumn,
)
from vaegis.service.records.forms import OTHER, Forms, classes_of, pair_name, pairs_of, patterns_of

FEWEST_SHARING = 20
"""A pattern, and a pair of characters, stands in the model only if at least this many fitted records hold it."""

MOST_PATTERNS = 32

_RUNS = (LONGEST_RUN, 3, 2, 1)
_RULES: tuple[tuple[CharacterClasses, int], ...] = tuple(
    (classes, run) for classes in ("case", "letters", "alphanumeric") for run in _RUNS
)
"""Rules for patterns, the finest first."""
_SACRIFICED = 0.001  # share of the values for whose sake no coarser rule is taken
_MOST_UNSEEN = 0.1  # a rule by which more of the values have no known pattern is not taken
_TAIL = 0.0005  # share of the values beyond each limit, before its margin
_BULK = (0.05, 0.5, 0.95)
_MOST_LEARNED_FROM = 20_000  # values, evenly spaced, by which a rule is chosen and pairs are counted
_BLOCK = 1_000
_PAIRS = 128 * 128
_GROWING = "Aa9"
_SYMBOLS = 64  # about, of pairs
_IN_ORDER = 0.95
_FEWEST_IN_ORDER = 20


def text_column(
    name: str, texts: Sequence[str], missing_share: float, *, grows: bool, most_patterns: int
) -> TextColumn:
    """Return a column of text, with the usual form of its values.

    Args:
        name: Of the column.
        texts: The values that the fitted records hold, at least one.
        missing_share: Share of those records that hold none.
        grows: Whether the values grow from record to record, as numbered ones do. Later ones may then be longer.
        most_patterns: Most patterns that are known, at most `MOST_PATTERNS`.
    """
    most = min(most_patterns, MOST_PATTERNS)
    learned = texts[:: math.ceil(len(texts) / _MOST_LEARNED_FROM)]
    classes, longest_run = _rule(learned, most, grows=grows)
    patterns = _in_blocks(texts, lambda some: patterns_of(some, classes, longest_run))
    if not (known := _known(patterns, most)):
        classes, known = "any", patterns_of(texts[:1], "any", 1)
    lengths = np.array(list(map(len, texts)))
    column = TextColumn(
        name=name,
        missing_share=missing_share,
        categories=tuple(known),
        shares=(0.0,) * len(known),
        classes=classes,
        longest_run=longest_run,
        lengths=tuple(np.quantile(lengths, QUANTILE_FRACTIONS, method="nearest").tolist()),
        usual_lengths=_usual_lengths(lengths, grows=grows),
        usual_counts=_usual_counts(learned, grows=grows),
    )
    if not grows:  # later numbers have more digits, and so another mean over their pairs
        column = _with_spelling(column, learned)
    count = Counter(_in_blocks(texts, Forms(column).of))
    categories = (*known, OTHER) if count[OTHER] else tuple(known)
    shares = tuple(count[category] / len(texts) for category in categories)
    return column.model_copy(update={"categories": categories, "shares": shares})


def are_growing(texts: Sequence[str]) -> bool:
    """Tell whether nearly every text is longer than the one before or comes after it in the alphabet; or each before.

    >>> are_growing([f"A-{number}" for number in range(90, 120)]), are_growing(["b", "a"] * 30)
    (True, False)
    """
    if len(texts) < _FEWEST_IN_ORDER:
        return False
    keys = [(len(text), text) for text in texts]
    later = sum(first < second for first, second in pairwise(keys))
    earlier = sum(first > second for first, second in pairwise(keys))
    return max(later, earlier) >= _IN_ORDER * (len(texts) - 1)


def _rule(texts: Sequence[str], most: int, *, grows: bool) -> tuple[CharacterClasses, int]:
    """Return the finest rule by which nearly as many values as by any have a known pattern."""
    unseen = {}
    for rule in _RULES:
        if grows and rule[1] == LONGEST_RUN:
            continue
        unseen[rule] = _unseen_share(texts, rule, most)
        if unseen[rule] <= _SACRIFICED:
            return rule
    least = min(unseen.values())
    if least <= _MOST_UNSEEN:
        return next(rule for rule, share in unseen.items() if share <= least + _SACRIFICED)
    return ("set" if _unseen_share(texts, ("set", 1), most) <= _MOST_UNSEEN else "any"), 1


def _unseen_share(texts: Sequence[str], rule: tuple[CharacterClasses, int], most: int) -> float:
    patterns = _in_blocks(texts, lambda some: patterns_of(some, *rule))
    count = Counter(patterns)
    return 1.0 - sum(count[pattern] for pattern in _known(patterns, most)) / len(patterns)


def _in_blocks(texts: Sequence[str], of: Callable[[Sequence[str]], list[str]]) -> list[str]:
    return [form for at in range(0, len(texts), _BLOCK) for form in of(texts[at : at + _BLOCK])]


def _known(patterns: Sequence[str], most: int) -> list[str]:
    """Return the commonest of the patterns that enough texts share."""
    shared = [(pattern, count) for pattern, count in Counter(patterns).items() if count >= FEWEST_SHARING]
    # Ties by name, so that the same records give the same file.
    return [pattern for pattern, _ in sorted(shared, key=lambda item: (-item[1], item[0]))[:most]]


def _usual_lengths(lengths: NDArray[np.int64], *, grows: bool) -> tuple[int, int | None]:
    if len(lengths) < FEWEST_SHARING:
        return 0, None
    shortest, longest = np.quantile(lengths, (_TAIL, 1.0 - _TAIL), method="nearest").tolist()
    low, _, high = np.quantile(lengths, _BULK)
    margin = 0 if shortest == longest else max(1, math.ceil(high - low))
    return max(0, shortest - margin), None if grows else longest + margin


def _usual_counts(texts: Sequence[str], *, grows: bool) -> dict[str, tuple[int, int]]:
    """Return how often texts usually hold each class of characters; where they differ, a half more is usual as well."""
    counts = [Counter(classes) for classes in _in_blocks(texts, classes_of)]
    usual = {}
    for symbol in sorted({symbol for count in counts for symbol in count}):
        held = [count[symbol] for count in counts]
        least, most = min(held), max(held)
        if least == most and not (grows and symbol in _GROWING):
            usual[symbol] = (least, most)
        else:
            usual[symbol] = (min(least, 1), MOST_FORM_CHARACTERS if grows else most + math.ceil(most / 2))
    return usual


def _with_spelling(column: TextColumn, texts: Sequence[str]) -> TextColumn:
    """Return the column with the pairs of characters that enough texts hold, and how surprising a text may be."""
    held, occurrences = np.zeros(_PAIRS, dtype=np.int64), np.zeros(_PAIRS, dtype=np.int64)
    for at in range(0, len(texts), _BLOCK):
        pairs, starts = pairs_of(texts[at : at + _BLOCK])
        record = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(pairs)))
        occurrences += np.bincount(pairs, minlength=_PAIRS)
        held += np.bincount(np.unique(record * _PAIRS + pairs) % _PAIRS, minlength=_PAIRS)
    kept = np.flatnonzero(held >= FEWEST_SHARING)
    if not kept.size:
        return column
    firsts = occurrences.reshape(128, 128).sum(axis=1)
    surprises = np.rint(-100.0 * np.log(occurrences[kept] / firsts[kept // 128])).astype(np.int64)
    total, rare = int(occurrences.sum()), int(occurrences.sum() - occurrences[kept].sum())
    column = column.model_copy(
        update={
            "pairs": {pair_name(pair): value for pair, value in zip(kept.tolist(), surprises.tolist(), strict=True)},
            "rare_pair": round(100.0 * (math.log((total + 1) / (rare + 1)) + math.log(_SYMBOLS))),
        }
    )
    forms = Forms(column)
    totals = [forms.surprises(texts[at : at + _BLOCK]) for at in range(0, len(texts), _BLOCK)]
    means = np.concatenate([np.array(sums) / np.array(pairs) for sums, pairs in totals])
    _, middle, high = np.quantile(means, _BULK)
    limit = float(np.quantile(means, 1.0 - _TAIL, method="higher")) + high - middle
    return column.model_copy(update={"usual_surprise": math.ceil(limit)})

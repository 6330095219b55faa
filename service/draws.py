"""Draw random values of one column, from the distributions that the decoder gave for n records."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable, Sequence
from functools import cache
from string import ascii_lowercase, digits
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaegis.service.contract import (
    CALENDAR_SIZES,
    DAYS_PER_WEEK,
    EPOCH_WEEKDAY,
    MOST_FORM_CHARACTERS,
    OTHER_FORM,
    QUANTILE_FRACTIONS,
    BooleanColumn,
    NumericColumn,
    StringColumn,
    TextColumn,
    TimestampColumn,
)
from vaegis.service.grid import decimals

_REDRAWS = 8
"""How often a value outside the training range is drawn anew before it is moved to the nearest bound."""

_MOST_DAYS = 40 * 366
"""Days among which one is chosen by its month and its day: those of a longer history are drawn at random first."""

_SECONDS_PER_HOUR, _SECONDS_PER_DAY = 3600, 86400


class DecodedColumn(NamedTuple):
    """What the decoder gives for one column of n records.

    Attributes:
        location: The output `location`, shape (n,).
        probabilities: Of each categorical field of the column, shape (n, size).
    """

    location: NDArray[np.float64]
    probabilities: Sequence[NDArray[np.float64]] = ()


def numbers(column: NumericColumn, decoded: DecodedColumn, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw placeholders, and other numbers from the Student-t likelihood, in the training range and on the grid.

    Values outside are drawn anew rather than moved to the bound, where they would pile up. Going to the grid adds the
    variance of a uniform over one step, step^2 / 12, which the learned scale contains: it is taken off the noise, whose
    variance is scale^2 * nu / (nu - 2).
    """
    nu = column.degrees_of_freedom
    tails = (nu - 2.0) / nu if nu > 2.0 else 0.0  # noqa: PLR2004 - the variance is infinite up to 2
    scale = math.sqrt(max(0.0, column.noise_scale**2 - tails * column.step**2 / 12.0))
    known = np.array(column.values)

    def draw(mean: NDArray[np.float64]) -> NDArray[np.float64]:
        drawn = mean + scale * random.standard_t(column.degrees_of_freedom, mean.size)
        return _nearest(drawn, known) if known.size else _on_grid(drawn, column.step)

    location = decoded.location
    drawn = draw(location)
    for _ in range(_REDRAWS):
        outside = (drawn < column.minimum) | (drawn > column.maximum)
        drawn[outside] = draw(location[outside])
    drawn = np.clip(drawn, column.minimum, column.maximum)
    if not decoded.probabilities:
        return drawn
    code = codes(decoded.probabilities[0], random)
    return np.where(code > 0, np.array([0.0, *column.placeholders])[code], drawn)


def _on_grid(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Return the multiples of ``step`` nearest to ``values``, as their decimal text is read; 0 means no grid."""
    if step == 0:
        return values
    return np.round(np.rint(values / step) * step, decimals(step)) + 0.0  # turns -0.0 into 0.0


def _nearest(values: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest known value; those beyond the outermost by more than half a gap stay outside the range."""
    if known.size == 1:
        return np.full_like(values, known[0])
    middles = (known[1:] + known[:-1]) / 2.0
    nearest = known[np.searchsorted(middles, values)]
    beyond = (values < known[0] - (middles[0] - known[0])) | (values > known[-1] + (known[-1] - middles[-1]))
    return np.where(beyond, values, nearest)


def possible(probability: NDArray[np.float64], training_share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return a probability with what training never saw, or always saw, made impossible or certain."""
    share = np.broadcast_to(training_share, probability.shape)
    return np.where(share == 0, 0.0, np.where(share == 1, 1.0, probability))


def codes(probabilities: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """Draw one code a row, by the inverse of its cumulative distribution."""
    cumulative = np.cumsum(probabilities, axis=1)
    drawn = random.random(len(cumulative)) * cumulative[:, -1]
    # A product that rounds up to the total would lie behind the last code.
    code: NDArray[np.int64] = (cumulative <= drawn[:, None]).sum(axis=1, dtype=np.int64)
    bounded: NDArray[np.int64] = np.minimum(code, probabilities.shape[1] - 1)
    return bounded


def instants(column: TimestampColumn, decoded: DecodedColumn, random: np.random.Generator) -> NDArray[np.float64]:
    """Draw an hour and a weekday, then a day and a second that they leave open, inside the training range.

    The probabilities are those of 24 hours, of 7 weekdays, and of the parts of the date in `TimestampColumn.calendar`.
    The day follows those of these parts, and is uniform where there are none.
    """
    hours, weekdays, *dates = decoded.probabilities
    low, high = np.ceil(column.earliest), np.floor(column.latest)
    changes, ahead = _offsets(column)
    # Drawn by the local clock, inside the local training range.
    low, high = (end + ahead[np.searchsorted(changes, end, side="right")] for end in (low, high))
    if low > high:
        return np.full(len(hours), column.earliest)
    hour, weekday = codes(hours, random), codes(weekdays, random)

    def draw(hour: NDArray[np.int64], weekday: NDArray[np.int64]) -> NDArray[np.float64]:
        first, last = low // _SECONDS_PER_DAY, high // _SECONDS_PER_DAY
        start = first + (weekday - first - EPOCH_WEEKDAY) % DAYS_PER_WEEK
        weeks = (last - start) // DAYS_PER_WEEK + 1
        within = np.floor(random.random(hour.size) * weeks) * DAYS_PER_WEEK + start
        # A range of less than a week lacks some weekdays.
        anywhere = np.floor(random.random(hour.size) * (last - first + 1)) + first
        midnight = np.where(weeks > 0, within, anywhere) * _SECONDS_PER_DAY
        second: NDArray[np.int64] = hour * _SECONDS_PER_HOUR + random.integers(_SECONDS_PER_HOUR, size=hour.size)
        instant: NDArray[np.float64] = midnight + second
        return instant

    drawn = draw(hour, weekday)
    if column.calendar:
        days = _likely_days(column, (low // _SECONDS_PER_DAY, high // _SECONDS_PER_DAY), weekday, dates, random)
        drawn += (days - drawn // _SECONDS_PER_DAY) * _SECONDS_PER_DAY
    for _ in range(_REDRAWS):
        outside = (drawn < low) | (drawn > high)
        drawn[outside] = draw(hour[outside], weekday[outside])
    local = np.clip(drawn, low, high)
    # A clock change is taken at its time in UTC less the old offset, as the clock showed it.
    utc = local - ahead[np.searchsorted(changes + ahead[:-1], local, side="right")]
    return np.clip(utc, np.ceil(column.earliest), np.floor(column.latest))


def _likely_days(
    column: TimestampColumn,
    span: tuple[float, float],
    weekday: NDArray[np.int64],
    dates: Sequence[NDArray[np.float64]],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return a day of the given weekday for each record, with a chance that follows the parts of its date."""
    first, last = map(int, span)
    days = np.arange(first, last + 1)
    if len(days) > _MOST_DAYS:
        days = np.unique(random.integers(first, last + 1, _MOST_DAYS))
    dated = days.astype("datetime64[D]")
    months = dated.astype("datetime64[M]")
    month = months.astype(np.int64) % CALENDAR_SIZES["month"]
    parts = {"month": month, "day": (dated - months.astype("datetime64[D]")).astype(np.int64)}
    chosen = np.full(len(weekday), float(first))
    for at in range(DAYS_PER_WEEK):
        of_records, of_days = (
            np.flatnonzero(weekday == at),
            np.flatnonzero((days + EPOCH_WEEKDAY) % DAYS_PER_WEEK == at),
        )
        if of_records.size and of_days.size:
            weights = np.ones((of_records.size, of_days.size))
            for field, probabilities in zip(column.calendar, dates, strict=True):
                weights *= probabilities[np.ix_(of_records, parts[field][of_days])]
            chosen[of_records] = days[of_days[codes(weights, random)]]
    return chosen


def _offsets(column: TimestampColumn) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the instants of clock changes, and how far local time is ahead of UTC before, between and after them."""
    pairs = np.array(column.offsets or ((0.0, 0.0),))
    return pairs[1:, 0], pairs[:, 1]


def truths(column: BooleanColumn, decoded: DecodedColumn, random: np.random.Generator) -> NDArray[np.bool_]:
    """Draw truth values. The location is the probability of true."""
    probability = possible(decoded.location, column.true_share)
    drawn: NDArray[np.bool_] = random.random(probability.size) < probability
    return drawn


def categories(column: StringColumn, decoded: DecodedColumn, random: np.random.Generator) -> NDArray[np.object_]:
    """Draw known categories."""
    known: NDArray[np.object_] = np.array(column.categories, dtype=object)
    return known[codes(decoded.probabilities[0], random)]


def texts(column: TextColumn, decoded: DecodedColumn, random: np.random.Generator) -> NDArray[np.object_]:
    """Draw a pattern, then an invented text of that pattern."""
    return texts_of_patterns(column, categories(column, decoded, random).tolist(), random)


def texts_of_patterns(column: TextColumn, patterns: Sequence[str], random: np.random.Generator) -> NDArray[np.object_]:
    """Draw an invented text of each pattern: letters as their pairs are common in training, any digits.

    Runs as long as a pattern can show are made longer, up to a length drawn from those of training.
    """
    lengths = np.interp(random.random(len(patterns)), QUANTILE_FRACTIONS, column.lengths)
    spelled = _speller(column)
    drawn = np.empty(len(patterns), dtype=object)
    commonest = max((share, known) for share, known in zip(column.shares, column.categories, strict=True))[1]
    for at, (pattern, length) in enumerate(zip(patterns, lengths.tolist(), strict=True)):
        symbols = _symbols(
            column, commonest if pattern == OTHER_FORM else pattern, round(min(length, MOST_FORM_CHARACTERS)), random
        )
        drawn[at] = spelled(symbols, random.random(len(symbols)).tolist())
    return drawn


def _symbols(column: TextColumn, pattern: str, length: int, random: np.random.Generator) -> str:
    """Return the classes of the characters of a text of a pattern, as near to a length as the pattern allows."""
    if column.classes == "any":
        return "a" * max(1, length)
    lacking = length - len(pattern)
    if column.classes == "set":
        more = random.choice(list(pattern), max(0, lacking)).tolist() if pattern else []
        return "".join(random.permutation([*pattern, *more]).tolist())
    runs = [symbol * column.longest_run for symbol in _CANDIDATES if symbol * column.longest_run in pattern]
    if lacking <= 0 or not runs:
        return pattern
    starts = [at for at in range(len(pattern)) if any(pattern.startswith(run, at) for run in runs)]
    added = random.multinomial(lacking, [1.0 / len(starts)] * len(starts)).tolist()
    longer = dict(zip(starts, added, strict=True))
    return "".join(symbol * (1 + longer.get(at, 0)) for at, symbol in enumerate(pattern))


_CANDIDATES = {"a": ascii_lowercase, "A": ascii_lowercase, "9": digits, "x": ascii_lowercase + digits}
"""What a symbol of a pattern stands for."""


def _speller(column: TextColumn) -> Callable[[str, list[float]], str]:
    """Return the function that replaces classes by characters, one random number in [0, 1) for each."""

    @cache
    def cumulative(before: str, symbol: str) -> list[float]:
        candidates = _CANDIDATES[symbol]
        pairs = [before + ("9" if candidate.isdigit() else candidate) for candidate in candidates]
        weights = np.exp([-column.pairs.get(pair, column.rare_pair) / 100.0 for pair in pairs])
        weights[[candidate.isdigit() for candidate in candidates]] /= len(digits)  # they have one probability together
        cumulative: list[float] = (np.cumsum(weights) / weights.sum()).tolist()
        return cumulative

    def spelled(symbols: str, uniform: list[float]) -> str:
        text, before = "", "\n"
        for symbol, share in zip(symbols, uniform, strict=True):
            if (candidates := _CANDIDATES.get(symbol)) is None:
                before = symbol if symbol.isascii() else "\x7f"
                text += symbol
                continue
            at = bisect(cumulative(before, symbol), share)
            chosen = candidates[min(at, len(candidates) - 1)]
            before = "9" if chosen.isdigit() else chosen
            text += chosen.upper() if symbol == "A" else chosen
        return text

    return spelled

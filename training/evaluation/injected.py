"""What training measures on calibration records: residuals that correlate, and which injected faults are found.

Copies of normal records get one wrong value each, so it is known without labels which records are wrong. This shows
what a detector can see, not how many of a user's anomalies it finds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import (
    HOURS_PER_DAY,
    MOST_CORRELATED,
    NO_CATEGORY,
    Calibration,
    EvaluationDocument,
    FaultsFound,
    Schema,
)
from vaegis.service.pvalues import calibration_records_needed, p_values, threshold
from vaegis.service.records.kinds import kind_of
from vaegis.service.scorer import Scorer, graph_strings
from vaegis.service.violations import ViolationChecks

UNALTERED: Final = "none"
"""Fault of records as they were: what is flagged of them are false alarms."""

_MOST_RECORDS: Final = 2000
_MOST_FAULTY: Final = 500  # of one kind of fault
_DIGITS: Final = 3
_PAIR: Final = 2
_HOUR_S: Final = 3600.0
_LARGEST: Final = 1e300  # ten times more is finite
_Fault: TypeAlias = Callable[[Schema, Columns, np.random.Generator], Columns]
"""Takes records and returns copies of those that can have the fault, with it."""
_Detectors: TypeAlias = Callable[[Columns], dict[str, NDArray[np.bool_]]]
"""Returns which records each of some detectors flags, by its name."""


def evaluate(
    scorer: Scorer,
    schema: Schema,
    calibration: Calibration,
    held_out: Columns,
    seed: int,
    reference: Columns | None = None,
) -> EvaluationDocument:
    """Measure a model on the records that calibrate it.

    Args:
        scorer: The exported graph.
        schema: Its columns.
        calibration: Its calibration.
        held_out: Records that the first member was not fitted to, at least one.
        seed: Chooses the records and the faults.
        reference: The records that the first member was fitted to, which baselines are fitted to beside it; None to
            leave them out, because their library takes seconds to load.
    """
    random = np.random.default_rng(seed)
    records = held_out.rows(np.sort(random.permutation(len(held_out))[:_MOST_RECORDS]))
    detectors = [_own_detectors(scorer, schema, calibration)]
    if reference is not None and len(records) >= calibration_records_needed(calibration.alpha):
        detectors.append(_baselines(schema, reference, records, calibration.alpha, seed))
    columns, correlations = residual_correlations(schema, records, scorer.score(records).expected)
    return EvaluationDocument(
        residual_columns=columns,
        residual_correlations=correlations,
        residual_records=len(records),
        faults=_faults_found(schema, records, detectors, random),
    )


def residual_correlations(
    schema: Schema, records: Columns, expected: NDArray[np.float64]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Return columns, and Spearman's correlation of the residuals of each two, as `EvaluationDocument` has them.

    A null counts as the middle of its column. Columns whose residuals are all the same are left out.

    Args:
        schema: The columns.
        records: n records, by the scored columns.
        expected: As `Scores` has it, shape (n, columns).
    """
    ranks = np.stack([_centred_ranks(column) for column in _residuals(schema, records, expected).T])
    lengths = np.sqrt((ranks**2).sum(axis=1))
    unit = np.divide(ranks, lengths[:, None], out=np.zeros_like(ranks), where=lengths[:, None] > 0)
    correlations = np.clip(unit @ unit.T, -1.0, 1.0)
    strongest = np.abs(correlations - np.diag(np.diag(correlations))).max(axis=1)
    varying = np.flatnonzero(lengths > 0)
    chosen = np.sort(varying[np.argsort(-strongest[varying], kind="stable")[:MOST_CORRELATED]])
    lower = correlations[np.ix_(chosen, chosen)][np.tril_indices(len(chosen), -1)]
    return tuple(schema.names[at] for at in chosen), tuple(lower.round(_DIGITS).tolist())


def _residuals(schema: Schema, records: Columns, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the residuals of records, shape (n, columns); NaN where null.

    That of a number or a truth value is what was observed less what was expected; of a time, the hours of the day
    between the two; of a category or a pattern, whether it is another one than the likeliest.
    """
    residuals = np.empty_like(expected)
    for at, position in enumerate(schema.number_positions):
        observed = records.numbers[:, at]
        if kind_of(schema.columns[position]).takes_instants:
            hours = np.floor(observed / _HOUR_S) - expected[:, position]
            residuals[:, position] = (hours + HOURS_PER_DAY / 2) % HOURS_PER_DAY - HOURS_PER_DAY / 2
        else:
            with np.errstate(over="ignore"):
                residuals[:, position] = observed - expected[:, position]
    strings = graph_strings(schema, records.strings)
    for at, (position, column) in enumerate(zip(schema.string_positions, schema.categorical, strict=True)):
        codes = {category: code for code, category in enumerate(column.categories)}
        observed = np.array([codes.get(value, -1) for value in strings[:, at]])
        residuals[:, position] = observed != np.rint(expected[:, position])
        residuals[~records.strings_observed[:, at], position] = np.nan
    return residuals


def _centred_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value less the middle one; equal values share a rank, and a null has the middle one."""
    known = np.isfinite(values)
    _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    centred = np.zeros(len(values))
    centred[known] = ranks[inverse] - (known.sum() + 1) / 2.0
    return centred


def _faults_found(
    schema: Schema, records: Columns, detectors: Sequence[_Detectors], random: np.random.Generator
) -> tuple[FaultsFound, ...]:
    chosen = records.rows(np.sort(random.permutation(len(records))[:_MOST_FAULTY]))
    rows = []
    for fault, inject in _FAULTS.items():
        faulty = inject(schema, chosen, random)
        if len(faulty):
            flags = [item for each in detectors for item in each(faulty).items()]
            found = {name: int(np.count_nonzero(flagged)) for name, flagged in flags}
            rows.append(FaultsFound(fault=fault, records=len(faulty), found=found))
    return tuple(rows)


def _own_detectors(scorer: Scorer, schema: Schema, calibration: Calibration) -> _Detectors:
    folds = [np.array(fold) for fold in calibration.folds]
    checks = ViolationChecks(schema.model_copy(update={"watched": ()}))

    def flags(columns: Columns) -> dict[str, NDArray[np.bool_]]:
        by_score = p_values(folds, scorer.score(columns).fold_scores) <= calibration.alpha
        by_check = np.array([bool(found) for found in checks.violations(columns)], dtype=np.bool_)
        return {"limits": _beyond_limits(schema, columns), "score": by_score, "score_or_check": by_score | by_check}

    return flags


def _beyond_limits(schema: Schema, columns: Columns) -> NDArray[np.bool_]:
    """Return which records a rule a column finds: beyond its extremes, no known category, null where none was."""
    found = np.zeros(len(columns), dtype=np.bool_)
    ranges = {column.name: (column.minimum, column.maximum) for column in schema.numeric}
    ranges |= {column.name: (column.earliest, column.latest) for column in schema.timestamps}
    for at, position in enumerate(schema.number_positions):
        column, values = schema.columns[position], columns.numbers[:, at]
        low, high = ranges.get(column.name, (-np.inf, np.inf))
        found |= (values < low) | (values > high) | (np.isnan(values) & (column.missing_share == 0))
    for at, position in enumerate(schema.string_positions):
        column, observed = schema.columns[position], columns.strings_observed[:, at]
        if (known := kind_of(column).known_categories(column)) is not None:
            found |= observed & np.array([value not in known for value in columns.strings[:, at]], dtype=np.bool_)
        found |= ~observed & (column.missing_share == 0)
    return found


def _baselines(schema: Schema, reference: Columns, held_out: Columns, alpha: float, seed: int) -> _Detectors:
    """Return detectors that were fitted to ``reference``, each with a threshold by its scores of ``held_out``."""
    from vaegis.training.evaluation.baselines import Baselines  # noqa: PLC0415 - scikit-learn takes seconds to load

    fitted = Baselines(schema, reference, seed)
    limits = {name: threshold([np.sort(scores)], alpha) for name, scores in fitted.score(held_out).items()}
    return lambda columns: {name: scores > limits[name] for name, scores in fitted.score(columns).items()}


def _unaltered(_: Schema, columns: Columns, __: np.random.Generator) -> Columns:
    return columns


def _ten_times(schema: Schema, columns: Columns, random: np.random.Generator) -> Columns:
    is_number = np.array([kind_of(schema.columns[at]).is_plain_number for at in schema.number_positions], np.bool_)
    size = np.abs(columns.numbers)  # a null is NaN, which compares to nothing
    rows, at = _one_of((size > 0) & (size < _LARGEST) & is_number, random)
    faulty = columns.rows(rows)
    faulty.numbers[np.arange(len(rows)), at] *= 10.0
    return faulty


def _lost(_: Schema, columns: Columns, random: np.random.Generator) -> Columns:
    width = columns.numbers.shape[1]
    rows, at = _one_of(np.concatenate([~np.isnan(columns.numbers), columns.strings_observed], axis=1), random)
    faulty = columns.rows(rows)
    for row, position in enumerate(at.tolist()):
        if position < width:
            faulty.numbers[row, position] = np.nan
        else:
            faulty.strings[row, position - width] = NO_CATEGORY
            faulty.strings_observed[row, position - width] = False
    return faulty


def _exchanged(_: Schema, columns: Columns, random: np.random.Generator) -> Columns:
    other = columns.rows(random.permutation(len(columns)))
    width = columns.numbers.shape[1]
    differs = [columns.numbers != other.numbers, columns.strings != other.strings]
    known = [~np.isnan(columns.numbers) & ~np.isnan(other.numbers), columns.strings_observed & other.strings_observed]
    possible = np.concatenate([np.asarray(d, np.bool_) & k for d, k in zip(differs, known, strict=True)], axis=1)
    rows, at = _one_of(possible, random)
    faulty = columns.rows(rows)
    for row, (source, position) in enumerate(zip(rows.tolist(), at.tolist(), strict=True)):
        if position < width:
            faulty.numbers[row, position] = other.numbers[source, position]
        else:
            faulty.strings[row, position - width] = other.strings[source, position - width]
    return faulty


def _mistyped(schema: Schema, columns: Columns, random: np.random.Generator) -> Columns:
    """Exchange two neighbouring characters of a text that then is no known category."""
    known = [{*column.categories} for column in schema.categorical]
    made = np.empty_like(columns.strings)
    for (row, at), text in np.ndenumerate(columns.strings):
        pairs = [i for i in range(len(text) - 1) if text[i] != text[i + 1]]
        i = pairs[random.integers(len(pairs))] if pairs else 0
        swapped = text[:i] + text[i : i + _PAIR][::-1] + text[i + _PAIR :]
        made[row, at] = swapped if swapped not in known[at] else text
    rows, at = _one_of(np.asarray(made != columns.strings, np.bool_), random)
    faulty = columns.rows(rows)
    faulty.strings[np.arange(len(rows)), at] = made[rows, at]
    return faulty


def _one_of(possible: NDArray[np.bool_], random: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows in which anything is possible, and for each one of the possible places, at random."""
    rows = np.flatnonzero(possible.any(axis=1))
    if not rows.size:
        return rows, rows
    chance = random.random(possible.shape) * possible
    return rows, chance[rows].argmax(axis=1)


_FAULTS: Final[Mapping[str, _Fault]] = MappingProxyType(
    {UNALTERED: _unaltered, "ten_times": _ten_times, "lost": _lost, "exchanged": _exchanged, "mistyped": _mistyped}
)

"""Explain a record's score: what each column added, what it held, and what was expected there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import takewhile
from math import isnan
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import Schema, Value, ViolationCode
from vaegis.service.reasons import Reason
from vaegis.service.records.kinds import kind_of
from vaegis.service.scorer import Scores
from vaegis.service.violations import REASONS, Violation

NOTABLE_SHARE = 0.1
"""A column is given a reason when it makes up this share of the positive contributions of all columns; the largest is
in any case. The latent term is, when it makes up this share of all positive terms."""

LEADING_SHARE = 0.5
"""A term leads when it is at least this share of the largest. Smaller ones vary among records with the same fault."""

_MOST_PARTS = 2
_MORE = "more"  # stands for all parts of a signature but the first


class Contribution(msgspec.Struct, frozen=True, gc=False):
    """What one column adds to a record's score.

    Attributes:
        column: Name of the column.
        contribution: Its part of the score; negative where the value is likelier than usual.
        observed: The record's value.
        expected: What the model expected, given the record as a whole.
        reason: Why the value is unusual; None where it breaks no check and did not make the record an anomaly.
    """

    column: str
    contribution: float
    observed: Value
    expected: Value
    reason: Reason | None


Explanation: TypeAlias = tuple[tuple[Reason, ...], str | None, tuple[Contribution, ...]]
"""The reasons of a record, its signature if it is an anomaly, and the contributions of its columns: those that break a
check first, then the others, both by size."""


class Explainer:
    """Explains the scores of records of one schema. Thread-safe."""

    def __init__(self, schema: Schema) -> None:
        """Prepare what formats the values of each of the D columns of ``schema``, and says why they are unusual."""
        columns = schema.columns
        kinds = [kind_of(column) for column in columns]
        order = (*schema.number_positions, *schema.string_positions)
        self._names = [column.name for column in columns]
        self._inputs = [order.index(at) for at in range(len(columns))]  # numbers come first among those of the graph
        self._ranges = [kind.observed_range(column) for kind, column in zip(kinds, columns, strict=True)]
        self._reasons = [partial(kind.reason, column) for kind, column in zip(kinds, columns, strict=True)]
        self._shown = [kind.shown(column) for kind, column in zip(kinds, columns, strict=True)]
        self._expected = [kind.expectation(column) for kind, column in zip(kinds, columns, strict=True)]

    def explain(
        self,
        columns: Columns,
        scores: Scores,
        rows: NDArray[np.intp],
        is_anomaly: NDArray[np.bool_],
        violations: Sequence[Sequence[Violation]],
        *,
        whole: bool,
    ) -> Iterator[Explanation]:
        """Yield the explanation of each record at ``rows``.

        Args:
            columns: Records.
            scores: Their statistics.
            rows: Positions of k of the records.
            is_anomaly: Which of the k are anomalies, shape (k,); only these have reasons.
            violations: Of each of the k. Their columns always have a reason.
            whole: Whether to return every column's contribution, or only those with a reason.
        """
        # Lists: few records are explained, and for one record a numpy step costs more than a column does here.
        for row, is_one, broken in zip(rows.tolist(), is_anomaly.tolist(), violations, strict=True):
            *terms, latent = scores.contributions[row].tolist()
            order = sorted(range(len(terms)), key=terms.__getitem__, reverse=True)  # equal ones stay in order
            of_columns = sum(term for term in terms if term > 0)
            notable = _notable(terms, order, of_columns) if is_one else []
            values = self._record(columns, row)
            found = [self._reasons[at](values[at]) for at in notable]
            reasons = {violation.column: REASONS[violation.code] for violation in broken}
            # These come first: a value that is certainly wrong explains the values that do not fit it.
            violating = [at for at in order if self._names[at] in reasons] if reasons else []
            reasons |= {self._names[at]: reason for at, reason in zip(notable, found, strict=True)}
            shown = [*violating, *(at for at in (order if whole else notable) if at not in violating)]
            contributions = self._contributions(shown, terms, values, scores.expected[row].tolist(), reasons)
            key = self._signature(terms, latent, order, notable, values, found, broken) if is_one else None
            if is_one and latent > 0 and latent >= NOTABLE_SHARE * (of_columns + latent):
                found.insert(sum(terms[at] > latent for at in notable), Reason.FAR_FROM_KNOWN)
            of_violations = [reasons[self._names[at]] for at in violating] if is_one else []
            yield tuple(dict.fromkeys([*of_violations, *found])), key, contributions

    def _signature(
        self,
        terms: Sequence[float],
        latent: float,
        order: Sequence[int],
        notable: Sequence[int],
        values: Sequence[float | str | None],
        reasons: Sequence[Reason],
        violations: Sequence[Violation],
    ) -> str:
        """Return the signature of an anomaly, given all columns in order and the notable ones with their reasons."""
        names = self._names
        codes = {violation.column: violation.code for violation in violations}
        broken = [(names[at], codes.pop(names[at])) for at in order if names[at] in codes] if codes else []
        least = LEADING_SHARE * max(latent, terms[order[0]])
        leading = [
            (names[at], _with_side(reason, values[at], self._ranges[at]))
            for at, reason in zip(notable, reasons, strict=True)
            if terms[at] >= least
        ]
        unscored = list(codes.items())  # of columns that are checked alone, and made no record an anomaly
        return signature(
            [*broken, *unscored] if broken else [], [*leading, *unscored], latent_leads=latent >= least > 0
        )

    def _contributions(
        self,
        order: Sequence[int],
        terms: Sequence[float],
        values: Sequence[float | str | None],
        expected: Sequence[float],
        reasons: Mapping[str, Reason],
    ) -> tuple[Contribution, ...]:
        """Return one record's contributions by the columns in ``order``, with the ``reasons`` of some columns."""
        names, shown, tell = self._names, self._shown, self._expected
        return tuple(
            [
                Contribution(
                    names[at],
                    terms[at],
                    value if (value := values[at]) is None or (show := shown[at]) is None else show(value),
                    tell[at](expected[at]),
                    reasons.get(names[at]),
                )
                for at in order
            ]
        )

    def _record(self, columns: Columns, row: int) -> list[float | str | None]:
        """Return the values of one record in schema order, nulls as None."""
        numbers = columns.numbers[row].tolist()
        values: list[float | str | None] = [None if isnan(number) else number for number in numbers]
        if columns.strings.shape[1]:
            pairs = zip(columns.strings[row].tolist(), columns.strings_observed[row].tolist(), strict=True)
            values += [text if is_there else None for text, is_there in pairs]
        return [values[at] for at in self._inputs]


def signature(broken: Sequence[tuple[str, str]], leading: Sequence[tuple[str, str]], *, latent_leads: bool) -> str:
    """Return the signature of an anomaly: a short key to group and filter by, the same for anomalies of one cause.

    It names the checks that the record breaks. A record that breaks none has the columns that lead, each with its
    reason. `docs/adr/0032` says why, with figures.

    Args:
        broken: The columns that break a check, the largest contribution first, each with its check.
        leading: The columns that lead, in the same order, each with its reason.
        latent_leads: Whether the latent term leads.

    >>> signature([], [("price", "rare_value"), ("area", "rare_combination")], latent_leads=False)
    'area:rare_combination+price:rare_value'
    >>> signature([], [("price", "rare_value"), ("area", "rare_combination")], latent_leads=True)
    'price:rare_value+more'
    >>> signature([("state", "unseen_category")], [("price", "rare_value")], latent_leads=True)
    'state:unseen_category'
    """
    parts = [f"{column}:{why}" for column, why in broken or leading]
    if not parts or (latent_leads and not broken):
        parts.append(Reason.FAR_FROM_KNOWN)
    return "+".join(sorted(parts) if len(parts) <= _MOST_PARTS else (parts[0], _MORE))


def _notable(terms: Sequence[float], order: Sequence[int], of_columns: float) -> list[int]:
    """Return the columns that get a reason, the largest contribution first."""
    least = min(NOTABLE_SHARE * of_columns, terms[order[0]])
    return list(takewhile(lambda at: 0 < terms[at] >= least, order))


def _with_side(reason: Reason, observed: float | str | None, seen: tuple[float, float]) -> Reason | ViolationCode:
    """Return the side on which a number left the range that training saw, and any other reason as it is."""
    if reason is not Reason.OUT_OF_RANGE or not isinstance(observed, float):
        return reason
    least, greatest = seen
    if observed > greatest:
        return ViolationCode.ABOVE_RANGE
    return ViolationCode.BELOW_RANGE if observed < least else reason

"""Find values that are certainly wrong by the checks of a model's columns, whatever the record's score is."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.contract import CategoricalColumn, Column, NumericColumn, Schema, TextColumn, Value, ViolationCode
from vaegis.service.reasons import Reason
from vaegis.service.records.forms import Forms
from vaegis.service.records.kinds import kind_of
from vaegis.service.records.misspellings import COMMON_SHARE, Misspellings

_ROUNDING: Final = 1e-6
_ROUNDED_SHARE: Final = 2.0**-23
"""A number this near a multiple of the step, in steps or as a share of them, lies on the grid: float32 rounds so."""

_OF_FORMS: Final = {ViolationCode.UNUSUAL_FORM, ViolationCode.UNUSUAL_LENGTH}
_OF_LISTS: Final = {ViolationCode.UNSEEN_CATEGORY, ViolationCode.MISSPELLED_CATEGORY, *_OF_FORMS}

REASONS: Final = {
    ViolationCode.BELOW_RANGE: Reason.OUT_OF_RANGE,
    ViolationCode.ABOVE_RANGE: Reason.OUT_OF_RANGE,
    ViolationCode.OFF_GRID: Reason.RARE_VALUE,
    ViolationCode.UNSEEN_CATEGORY: Reason.UNSEEN_CATEGORY,
    ViolationCode.MISSPELLED_CATEGORY: Reason.UNSEEN_CATEGORY,
    ViolationCode.UNUSUAL_FORM: Reason.UNUSUAL_FORM,
    ViolationCode.UNUSUAL_LENGTH: Reason.UNUSUAL_LENGTH,
    ViolationCode.UNEXPECTED_MISSING: Reason.UNEXPECTED_MISSING,
}
"""Why a value that breaks a check is unusual, where the record is explained."""


class Violation(msgspec.Struct, frozen=True, gc=False):
    """A value that breaks a check.

    Attributes:
        column: Name of the column.
        code: The check.
        observed: The record's value.
        limit: The least or the greatest value that passes, the step of the grid, the category that is misspelled, or
            the one truth value that training saw; None for other checks.
    """

    column: str
    code: ViolationCode
    observed: Value
    limit: Value


class _FormCheck:
    """Checks texts by their form."""

    def __init__(self, column: TextColumn, codes: Collection[ViolationCode]) -> None:
        self._forms, self._known, self._codes = Forms(column), frozenset(column.categories), codes

    def __call__(self, text: str) -> tuple[ViolationCode, Value] | None:
        """Return the check that a text breaks, and what that allows; None if it breaks none."""
        if self._known.issuperset(self._forms.of([text])):
            return None
        is_usual = all(self._forms.have_usual_lengths([text]))
        code = ViolationCode.UNUSUAL_FORM if is_usual else ViolationCode.UNUSUAL_LENGTH
        return (code, None) if code in self._codes else None


class _ListCheck:
    """Checks texts that are not in the list of a column."""

    def __init__(self, column: CategoricalColumn, codes: Collection[ViolationCode]) -> None:
        self._is_complete = ViolationCode.UNSEEN_CATEGORY in codes
        has_form = column.form is not None and not _OF_FORMS.isdisjoint(codes)
        self._form = _FormCheck(column.form, codes) if has_form and column.form is not None else None
        is_spelled = ViolationCode.MISSPELLED_CATEGORY in codes
        common = [value for value, share in zip(column.categories, column.shares, strict=True) if share >= COMMON_SHARE]
        self._misspellings = Misspellings(column.categories, common) if is_spelled else None

    def __call__(self, text: str) -> tuple[ViolationCode, Value] | None:
        """Return the check that a text breaks, and what that allows; None if it breaks none."""
        if self._is_complete:
            return ViolationCode.UNSEEN_CATEGORY, None
        meant = None if self._misspellings is None else self._misspellings.meant(text)
        if meant is not None:
            return ViolationCode.MISSPELLED_CATEGORY, meant
        return None if self._form is None else self._form(text)


@dataclass(frozen=True, slots=True)
class _Checked:
    """One column with its checks.

    Attributes:
        name: Its name.
        limits: Of each check, None where it has none.
        known: Its categories, or the forms of its texts, where others are checked.
        forms: Makes forms of its texts, where `known` are forms.
        of_text: Returns the check that a text breaks which is not known, and what that allows.
        shown: Formats a value; None if it needs no formatting.
        numbers: The numbers within the range that pass; empty where all do.
    """

    name: str
    limits: dict[ViolationCode, float | None]
    known: frozenset[str] | None
    forms: Callable[[Sequence[str]], list[str]] | None
    of_text: _FormCheck | _ListCheck | None
    shown: Callable[[Any], Value] | None
    numbers: frozenset[float] = frozenset()

    @classmethod
    def of(cls, column: Column) -> _Checked:
        limits = {check.code: check.limit for check in column.checks}
        shown = kind_of(column).shown(column)
        if isinstance(column, TextColumn) and not _OF_FORMS.isdisjoint(limits):
            known = frozenset(column.categories)
            return cls(column.name, limits, known, Forms(column).of, _FormCheck(column, limits), shown)
        if isinstance(column, CategoricalColumn) and not _OF_LISTS.isdisjoint(limits):
            return cls(column.name, limits, frozenset(column.categories), None, _ListCheck(column, limits), shown)
        return cls(column.name, limits, None, None, None, shown, _listed(column, limits))

    def limit(self, code: ViolationCode, default: float) -> float:
        limit = self.limits.get(code)
        return default if limit is None else limit

    def violation(self, observed: float | str | None) -> Violation | None:
        """Return the check that a value breaks, if it breaks one."""
        if isinstance(observed, str):
            broken = None if self.known is None or self.of_text is None else self.of_text(observed)
            return None if broken is None else Violation(self.name, broken[0], observed, broken[1])
        code = self._code(observed)
        if code is None:
            return None
        limit = self.limits[code]
        show = self.shown or _as_it_is
        return Violation(
            column=self.name,
            code=code,
            observed=None if observed is None else show(observed),
            limit=limit if limit is None or code is ViolationCode.OFF_GRID else show(limit),
        )

    def _code(self, observed: float | None) -> ViolationCode | None:
        if observed is None:
            return ViolationCode.UNEXPECTED_MISSING if ViolationCode.UNEXPECTED_MISSING in self.limits else None
        if observed < self.limit(ViolationCode.BELOW_RANGE, -math.inf):
            return ViolationCode.BELOW_RANGE
        if observed > self.limit(ViolationCode.ABOVE_RANGE, math.inf):
            return ViolationCode.ABOVE_RANGE
        step = self.limit(ViolationCode.OFF_GRID, 0.0)
        if step and bool(is_off_grid(np.float64(observed), step)):
            return ViolationCode.OFF_GRID
        if self.numbers and min(abs(observed - number) for number in self.numbers) > _ROUNDED_SHARE * abs(observed):
            return ViolationCode.UNSEEN_CATEGORY
        return None

    def suspects(self, values: Sequence[str], observed: Sequence[bool]) -> list[int]:
        """Return the rows of the texts that are not known, and of nulls that may break a check."""
        seen = values if self.forms is None or not values else self.forms(values)
        may_be_null = _may_be_null(self) or all(observed)
        if may_be_null and (self.known is None or self.known.issuperset(seen)):
            return []
        known = self.known or ()
        return [row for row, value in enumerate(seen) if not observed[row] or value not in known]


class ViolationChecks:
    """The checks of all columns of a schema, arranged so that a batch without violations costs a few array steps."""

    def __init__(self, schema: Schema) -> None:
        """Take the checks from ``schema``."""
        self._numbers = [_Checked.of(schema.columns[at]) for at in schema.number_positions]
        self._strings = [_Checked.of(schema.columns[at]) for at in schema.string_positions]
        self._limits = [
            (
                each.limit(ViolationCode.BELOW_RANGE, -math.inf),
                each.limit(ViolationCode.ABOVE_RANGE, math.inf),
                each.limit(ViolationCode.OFF_GRID, 0.0),
            )
            for each in self._numbers
        ]
        self._lower, self._upper, steps = np.array(self._limits).reshape(-1, 3).T
        self._listed = [(at, each.numbers, [*each.numbers]) for at, each in enumerate(self._numbers) if each.numbers]
        self._gridded = steps.nonzero()[0]
        self._steps = steps[self._gridded]
        self._may_be_null = np.array([_may_be_null(each) for each in self._numbers], dtype=np.bool_)

    def violations(self, columns: Columns) -> list[tuple[Violation, ...]]:
        """Return the violations of each record, in the order of the graph's inputs; empty where there are none."""
        found: list[tuple[Violation, ...]] = [()] * len(columns.numbers)
        for row, at in self._suspect_numbers(columns.numbers):
            number = float(columns.numbers[row, at])
            violation = self._numbers[at].violation(None if math.isnan(number) else number)
            found[row] += () if violation is None else (violation,)
        for at, checked in enumerate(self._strings):
            values, observed = columns.strings[:, at].tolist(), columns.strings_observed[:, at].tolist()
            for row in checked.suspects(values, observed):
                violation = checked.violation(values[row] if observed[row] else None)
                found[row] += () if violation is None else (violation,)
        return found

    def _suspect_numbers(self, numbers: NDArray[np.float64]) -> Iterable[Sequence[int]]:
        """Return row and column of the numbers that may break a check, and of all that do."""
        if len(numbers) == 1:  # array steps would take longer than the columns of one record
            row = numbers[0].tolist()
            found = [at for at, number in enumerate(row) if _is_suspect(number, *self._limits[at])]
            unlisted = [at for at, known, _ in self._listed if row[at] not in known]
            return [(0, at) for at in (sorted({*found, *unlisted}) if unlisted else found)]
        is_inside = (numbers >= self._lower) & (numbers <= self._upper)  # no null is
        is_suspect = None if is_inside.all() else ~is_inside & ~(np.isnan(numbers) & self._may_be_null)
        if self._gridded.size:
            is_off = is_off_grid(numbers[:, self._gridded], self._steps)
            if is_off.any():
                is_suspect = np.zeros_like(is_inside) if is_suspect is None else is_suspect
                is_suspect[:, self._gridded] |= is_off
        for at, _, known in self._listed:
            is_unlisted = ~np.isin(numbers[:, at], known) & ~np.isnan(numbers[:, at])
            if is_unlisted.any():
                is_suspect = np.zeros_like(is_inside) if is_suspect is None else is_suspect
                is_suspect[:, at] |= is_unlisted
        return [] if is_suspect is None else np.argwhere(is_suspect).tolist()


def is_off_grid(
    numbers: NDArray[np.float64] | np.float64, step: NDArray[np.float64] | float
) -> NDArray[np.bool_] | np.bool_:
    """Return which numbers are no multiples of the step, beyond what rounding leaves; a null is none of them."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is whole
        scaled = numbers / step
        rounding = np.maximum(_ROUNDING, _ROUNDED_SHARE * np.abs(scaled))
        away: NDArray[np.bool_] = np.abs(scaled - np.rint(scaled)) > rounding
    return away


def _is_suspect(number: float, lower: float, upper: float, step: float) -> bool:
    """Return whether a number may break a check; a null may."""
    if not lower <= number <= upper:
        return True
    if not step:
        return False
    scaled = abs(number) / step
    beyond = scaled % 1.0
    return min(beyond, 1.0 - beyond) > max(_ROUNDING, _ROUNDED_SHARE * scaled)


def _listed(column: Column, limits: Mapping[ViolationCode, float | None]) -> frozenset[float]:
    """Return the numbers that pass where others between them do not: a truth value, or the few that training saw."""
    if ViolationCode.UNSEEN_CATEGORY not in limits:
        return frozenset()
    if isinstance(column, NumericColumn):
        return frozenset(column.values)
    only = limits[ViolationCode.UNSEEN_CATEGORY]
    return frozenset() if only is None else frozenset((only,))


def _may_be_null(checked: _Checked) -> bool:
    return ViolationCode.UNEXPECTED_MISSING not in checked.limits


def _as_it_is(value: Any) -> Value:  # noqa: ANN401 - a float or a str by kind
    shown: Value = value
    return shown

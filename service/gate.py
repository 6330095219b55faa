"""The gate of a promotion: conditions on what a service measured of the version in shadow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vaegis.service.errors import GateError, SettingsError

MEASURES: Final = ("records", "dropped", "failed", "flagged_ratio", "disagreement", "p_value_shift")
"""What a condition can be of: fields of the answer of GET /models/NAME/shadow."""

_CONDITION: Final = re.compile(r"\s*([a-z_]+)\s*([<>])\s*([0-9]+(?:\.[0-9]+)?)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: a measure that must be below or above a bound.

    >>> parse_gate("flagged_ratio<1.5, records>1000")
    [Condition(measure='flagged_ratio', sign='<', bound=1.5), Condition(measure='records', sign='>', bound=1000.0)]
    """

    measure: str
    sign: str
    bound: float

    def holds(self, value: float | None) -> bool:
        """Return whether it holds; it does not if the measure is not known."""
        if value is None:
            return False
        return value < self.bound if self.sign == "<" else value > self.bound


def parse_gate(text: str) -> list[Condition]:
    """Return the conditions of a gate.

    Raises:
        SettingsError: one cannot be read, or its measure is unknown.
    """
    conditions = []
    for part in text.split(","):
        found = _CONDITION.fullmatch(part)
        if found is None or found[1] not in MEASURES:
            raise SettingsError(
                f"gate: expected conditions such as disagreement<0.02, of {', '.join(MEASURES)}, got {part[:100]!r}"
            )
        conditions.append(Condition(found[1], found[2], float(found[3])))
    return conditions


def not_in_shadow(name: str, version: str) -> GateError:
    """Return the error for a version that was not measured: none is in shadow, or another, or its file was another."""
    return GateError(f"gate: the file of version {version!r} is not in shadow; run `vaegis shadow {name} {version}`")


def require_conditions(conditions: Iterable[Condition], measured: object) -> None:
    """Pass if all conditions hold for the fields of ``measured``.

    Raises:
        GateError: one does not.
    """
    for condition in conditions:
        value: float | None = getattr(measured, condition.measure)
        if not condition.holds(value):
            expected = f"{condition.measure}{condition.sign}{condition.bound:g}"
            got = "no figure" if value is None else f"{value:g}"
            records = getattr(measured, MEASURES[0])
            raise GateError(f"gate: expected {expected}, got {got} after {records} records")

"""What training measured: correlations of residuals as a map, and which faults are found beside other detectors."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

from vaegis.service.contract import EvaluationDocument
from vaegis.service.report.columns import short_name

_SIZE: Final = 340.0
_LARGEST_CELL: Final = 36.0
_LABEL: Final = 120.0
_LEVELS: Final = 5
_MOST_PAIRS: Final = 8
_BY_CHANCE: Final = 0.01
_FAULTS: Final = {
    "none": "none: false alarms",
    "ten_times": "a number ten times as large",
    "lost": "a value lost: null",
    "exchanged": "the value of another record",
    "mistyped": "a text mistyped",
}
_DETECTORS: Final = {"limits": "column limits", "score": "score", "score_or_check": "score or check"}


@dataclass(frozen=True, slots=True)
class ResidualMap:
    """A lower triangle of cells, one for each pair of columns.

    Attributes:
        cell: Width and height of a cell.
        width: Of the drawing.
        labels: Name of each column, with x and y of where it stands: the end of its row, and the top of its column.
        shades: Places of the cells by their sign and strength, as in ``plus3``.
        pairs: The strongest pairs, with their correlation.
        records: Records that they were measured on.
        by_chance: What all pairs of unrelated columns stay within, 99 times in 100.
    """

    cell: float
    width: float
    labels: tuple[tuple[str, float, float], ...]
    shades: dict[str, tuple[tuple[float, float], ...]]
    pairs: tuple[tuple[str, str, float], ...]
    records: int
    by_chance: float


@dataclass(frozen=True, slots=True)
class FaultTable:
    """Which faults are found.

    Attributes:
        detectors: Their names.
        rows: Kind of fault, number of records, and the share that each detector flags; None where it was not measured.
    """

    detectors: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[float | None, ...]], ...]


def residual_map(evaluation: EvaluationDocument, scored_columns: int) -> ResidualMap | None:
    """Return the map; None if there are fewer than two columns.

    Args:
        evaluation: What was measured.
        scored_columns: Number of columns that those of ``evaluation`` were chosen from.
    """
    names, records = evaluation.residual_columns, evaluation.residual_records
    pairs = [(low, high) for high in range(len(names)) for low in range(high)]
    if not pairs or not records:
        return None
    # A file may name columns that it does not score.
    compared = max(len(pairs), scored_columns * (scored_columns - 1) // 2)
    by_chance = min(1.0, NormalDist().inv_cdf(1.0 - _BY_CHANCE / 2.0 / compared) / records**0.5)
    cell = min(_LARGEST_CELL, _SIZE / len(names))
    correlated = list(zip(pairs, evaluation.residual_correlations, strict=True))
    shades: dict[str, list[tuple[float, float]]] = {}
    for (column, row), value in correlated:
        level = 0 if abs(value) <= by_chance else min(_LEVELS, 1 + int(abs(value) * _LEVELS))
        shade = "chance" if not level else f"{'plus' if value > 0 else 'minus'}{level}"
        shades.setdefault(shade, []).append((round(column * cell, 1), round(row * cell, 1)))
    ordered = sorted(correlated, key=lambda pair: -abs(pair[1]))
    return ResidualMap(
        cell=round(cell, 2),
        width=round(len(names) * cell + _LABEL, 1),
        labels=tuple(
            (short_name(name), round(at * cell + 4, 1), round((at + 0.5) * cell + 4, 1))
            for at, name in enumerate(names)
        ),
        shades={shade: tuple(places) for shade, places in sorted(shades.items())},
        pairs=tuple((names[a], names[b], value) for (a, b), value in ordered[:_MOST_PAIRS] if abs(value) > by_chance),
        records=records,
        by_chance=by_chance,
    )


def fault_table(evaluation: EvaluationDocument) -> FaultTable | None:
    """Return the faults with what each detector finds, those of the model last; None if there are none."""
    if not evaluation.faults:
        return None
    named = dict.fromkeys(name for row in evaluation.faults for name in row.found)
    of_model = [name for name in ("score", "score_or_check") if name in named]
    order = [*(name for name in named if name not in of_model), *of_model]
    return FaultTable(
        tuple(_DETECTORS.get(name, name) for name in order),
        tuple(
            (
                _FAULTS.get(row.fault, row.fault),
                row.records,
                tuple(None if name not in row.found else row.found[name] / row.records for name in order),
            )
            for row in evaluation.faults
        ),
    )

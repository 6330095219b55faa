"""The report of scored files: what was flagged beside what was promised, why, in which columns, when, and the worst."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from vaegis.service.contract import Column
from vaegis.service.explanations import Contribution
from vaegis.service.model import Model
from vaegis.service.records.blocks import Block
from vaegis.service.report.page import environment, page_style
from vaegis.service.report.timeline import SeriesChart, Timeline
from vaegis.service.score_result import ScoreResult

MOST_SIGNATURES: Final = 1000
"""Signatures that are counted by themselves; others are counted together."""
MOST_WORST: Final = 25
"""Records that the report names."""
MOST_OF_SIGNATURE: Final = 5
"""Most of these with one signature, so that one cause does not hide the others."""

_SHOWN_SIGNATURES: Final = 20
_SHOWN_OVER_TIME: Final = 6
_SHOWN_COLUMNS: Final = 100
_SHOWN_CAUSES: Final = 3
_P_VALUE_BOUNDS: Final = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
_Z: Final = 2.576  # 99% of a normal distribution


class WorstRecord(NamedTuple):
    """One of the records with the highest scores. Tuples compare by score first.

    Attributes:
        score: Its score.
        order: Position among all records, so that no two compare equal.
        p_value: Its p-value.
        signature: Its signature.
        path: Its file.
        row: Its row there, from 1.
        causes: What contributes most.
    """

    score: float
    order: int
    p_value: float
    signature: str
    path: Path
    row: int
    causes: tuple[Contribution, ...]


@dataclass(slots=True)
class Group:
    """The anomalies of one signature."""

    path: Path
    """The file of the first."""
    row: int
    """Its row there."""
    count: int = 0
    worst: list[WorstRecord] = field(default_factory=list)
    """A heap of those with the highest scores, the lowest of them first."""


@dataclass(slots=True)
class ColumnCounts:
    """What was seen in one column.

    Attributes:
        caused: Anomalies of which the column is a cause.
        violations: Values that break a check, by check.
        missing: Records in which it is null.
    """

    caused: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    missing: int = 0


class ScoredReport:
    """Gathers what the report shows while files are scored, in memory that does not grow with them."""

    def __init__(self, model: Model, alpha: float, *, with_values: bool) -> None:
        """Begin.

        Args:
            model: The model that scores.
            alpha: Share of normal records that may be flagged.
            with_values: Whether the values of the worst records are shown.
        """
        self._model, self._alpha, self._with_values = model, alpha, with_values
        schema = model.artifact.contract.columns.of_records
        self._schema = schema
        self._columns = {column.name: ColumnCounts() for column in schema.columns}
        numbers = [schema.columns[position] for position in schema.number_positions]
        time = schema.timestamps[0] if schema.timestamps else None
        self._time = None if time is None else numbers.index(time)
        self._timeline = Timeline(None if time is None else time.name)
        self._groups: dict[str, Group] = {}
        self._others = 0
        self._p_values = np.zeros(len(_P_VALUE_BOUNDS), dtype=np.int64)
        self._files: dict[Path, int] = {}
        self._records = self._flagged = self._violating = self._refused = 0

    def add(self, path: Path, first_row: int, block: Block, result: ScoreResult) -> None:
        """Count some records of a file.

        Args:
            path: The file.
            first_row: Row of the first of them, from 1.
            block: The records.
            result: Their verdicts.
        """
        sound = np.flatnonzero(~result.refused())
        self._files[path] = self._files.get(path, 0) + len(result)
        start = self._records + self._refused
        flagged = result.is_anomaly[sound]
        self._records += sound.size
        self._refused += len(result) - sound.size
        self._flagged += int(np.count_nonzero(flagged))
        self._p_values += np.bincount(np.searchsorted(_P_VALUE_BOUNDS, result.p_value[sound]), minlength=8)[
            : len(_P_VALUE_BOUNDS)
        ]
        positions = start + sound if self._time is None else block.columns.numbers[:, self._time]
        signatures = [result.signature[row] for row in sound.tolist()]
        self._timeline.add(np.asarray(positions, dtype=np.float64), flagged, signatures)
        self._count_columns(block, result)
        for row in np.flatnonzero(result.is_anomaly).tolist():
            self._add_anomaly(start + row, path, first_row + row, row, result)

    def page(self) -> str:
        """Return the report as an HTML page that loads nothing."""
        ranked = sorted(self._groups.items(), key=lambda item: -item[1].count)
        shown = ranked[:_SHOWN_SIGNATURES]
        over_time = self._timeline.chart(self._alpha)
        return (
            environment()
            .get_template("scored.html.j2")
            .render(
                **page_style("report.css"),
                model=self._model,
                alpha=self._alpha,
                guarantee=self._model.guarantee_at(self._alpha),
                records=self._records,
                flagged=self._flagged,
                violating=self._violating,
                refused=self._refused,
                expected_violating=self._model.artifact.contract.columns.violating_share,
                gauge=self._gauge(),
                p_values=self._p_value_rows(),
                groups=shown,
                more_groups=(
                    len(ranked) - len(shown),
                    sum(group.count for _, group in ranked[len(shown) :]) + self._others,
                ),
                columns=self._column_rows()[:_SHOWN_COLUMNS],
                more_columns=max(0, len(self._columns) - _SHOWN_COLUMNS),
                over_time=over_time,
                by_signature=[] if over_time is None else self._signature_charts([name for name, _ in shown]),
                worst=sorted((record for group in self._groups.values() for record in group.worst), reverse=True)[
                    :MOST_WORST
                ],
                with_values=self._with_values,
                files=list(self._files.items()),
            )
        )

    def _count_columns(self, block: Block, result: ScoreResult) -> None:
        schema, columns = self._schema, block.columns
        missing = np.isnan(columns.numbers).sum(axis=0).tolist()
        absent = (~columns.strings_observed).sum(axis=0).tolist()
        for position, count in (
            *zip(schema.number_positions, missing, strict=True),
            *zip(schema.string_positions, absent, strict=True),
        ):
            self._columns[schema.columns[position].name].missing += count
        for broken in filter(None, result.violations):
            self._violating += 1
            for violation in broken:
                self._columns[violation.column].violations[violation.code.value] += 1

    def _add_anomaly(self, order: int, path: Path, file_row: int, row: int, result: ScoreResult) -> None:
        signature = result.signature[row] or ""
        contributions = [item for item in result.contributions[row] or () if item.reason is not None]
        for item in contributions:
            self._columns[item.column].caused += 1
        group = self._groups.get(signature)
        if group is None:
            if len(self._groups) >= MOST_SIGNATURES:
                self._others += 1
                return
            group = self._groups[signature] = Group(path, file_row)
        group.count += 1
        causes, p_value = tuple(contributions[:_SHOWN_CAUSES]), float(result.p_value[row])
        record = WorstRecord(float(result.score[row]), -order, p_value, signature, path, file_row, causes)
        if len(group.worst) < MOST_OF_SIGNATURE:
            heapq.heappush(group.worst, record)
        else:
            heapq.heappushpop(group.worst, record)

    def _gauge(self) -> Gauge | None:
        if not self._records:
            return None
        return gauge(
            self._flagged / self._records, self._alpha, self._records, self._model.artifact.contract.calibration.records
        )

    def _p_value_rows(self) -> list[tuple[float, float, float]]:
        """Return bound, share of the records up to it and above the one before, and share of normal records."""
        total = max(1, self._records)
        before = (0.0, *_P_VALUE_BOUNDS[:-1])
        return [
            (bound, count / total, bound - low)
            for bound, low, count in zip(_P_VALUE_BOUNDS, before, self._p_values.tolist(), strict=True)
        ]

    def _column_rows(self) -> list[tuple[Column, ColumnCounts]]:
        """Return the columns, those that caused or broke most first."""
        by_name = {column.name: column for column in self._schema.columns}
        rows = [(by_name[name], counts) for name, counts in self._columns.items()]
        return sorted(rows, key=lambda row: -(row[1].caused + row[1].violations.total()))

    def _signature_charts(self, signatures: Sequence[str]) -> list[tuple[str, SeriesChart]]:
        return [(name, self._timeline.signature_chart(name)) for name in signatures[:_SHOWN_OVER_TIME]]


@dataclass(frozen=True, slots=True)
class Gauge:
    """The flagged share beside what is promised, and where a drawing of width 1 has them.

    Attributes:
        share: Flagged share.
        low: It stays above this 99 times in 100 if all records are normal.
        high: It stays below this.
        is_beyond: Whether it is above.
        places: Of the band's ends, alpha and the share.
    """

    share: float
    low: float
    high: float
    is_beyond: bool
    places: tuple[float, float, float, float]


def gauge(share: float, alpha: float, records: int, calibration_records: int) -> Gauge:
    """Return the flagged share of records beside the band that alpha gives normal ones.

    The number of flagged ones among n normal records is beta-binomial, because the threshold is a rank among the
    calibration scores; here with the normal approximation.
    """
    variance = alpha * (1 - alpha) * (1 + (records - 1) / (calibration_records + 2)) / records
    half = _Z * math.sqrt(variance)
    low, high = max(0.0, alpha - half), min(1.0, alpha + half)
    most = 1.15 * max(share, high)
    return Gauge(share, low, high, share > high, (low / most, high / most, alpha / most, share / most))

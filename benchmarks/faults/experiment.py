"""One table: the share of each kind of fault that the model finds, beside a rule, neighbours and a forest."""

from __future__ import annotations

import io
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.faults.kinds import KINDS, Faulty, Injector
from benchmarks.faults.tables import TABLES, split
from benchmarks.mixed.baselines import baseline_scores
from benchmarks.mixed.experiment import Sizes
from benchmarks.quality.figures import Ranking, ranking
from benchmarks.quality.trained import with_attainable_alpha
from vaegis.service.artifact import Artifact, load_artifact
from vaegis.service.files.arrow_data import block_of_batch
from vaegis.service.pvalues import p_values
from vaegis.service.records.blocks import Block
from vaegis.service.scorer import Scores
from vaegis.service.violations import Violation
from vaegis.training.config import TrainConfig
from vaegis.training.evaluation.intervals import promised_band
from vaegis.training.progress import Progress
from vaegis.training.train import train

MODEL = "vaegis"

_MOST_KNOWN_TEXTS = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """How one kind of fault was found, shares of its records.

    Attributes:
        records: Number of records with the fault.
        flagged: Share that the model flags, at the alpha of the row.
        reported: Share that it flags, that breaks a check, or that is refused because a value is of another kind.
        culprit_first: Of those flagged whose fault is in one column, the share whose explanation has that column first;
            None where none is.
        largest_first: The share in which that column contributes most.
        rule: Share that breaks the rule, in any column.
        outside: Share that breaks the rule in a column with the fault. The values of the others are ordinary ones.
        baselines: By detector, the share above the score that 1% of the normal test records exceed.
        auroc: By detector, the model included: how well its score alone tells the records from the normal test records.
    """

    records: int
    flagged: float
    reported: float
    culprit_first: float | None
    largest_first: float | None
    rule: float
    outside: float
    baselines: dict[str, float]
    auroc: dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one table.

    Attributes:
        table: Its name.
        records: Records of the table.
        training_records: Records that the model was trained on.
        columns: Columns of the table.
        scored_columns: Columns that the model scores. It sees no fault in others.
        alpha: The promised false-alarm rate: 1%, or the least that so few records can promise.
        normal_records: Test records without a fault.
        false_alarms: Share of the normal test records that the model flags.
        false_alarm_band: Interval in which that share lies with a probability of 95%, if the promise holds.
        violating: Share of the normal test records that break a check or are refused.
        stored_violating: The share that the model says, of the records that calibrate.
        broken_checks: How many normal test records break each check, `column:code`.
        rule_false_alarms: Share of the normal test records that the rule flags.
        kinds: Figures by kind of fault, without the kinds that no record can have.
        fit_seconds: Time of training, beside other processes.
    """

    table: str
    records: int
    training_records: int
    columns: int
    scored_columns: int
    alpha: float
    normal_records: int
    false_alarms: float
    false_alarm_band: tuple[float, float]
    violating: float
    stored_violating: float
    broken_checks: dict[str, int]
    rule_false_alarms: float
    kinds: dict[str, Found]
    fit_seconds: float


class Rule:
    """A plain rule from the training records: ranges of numbers and times, known texts, and whether nulls occur."""

    def __init__(self, training: pa.Table) -> None:
        """Learn the rule. Columns with more than 1,000 different texts have no known texts."""
        self._ranges = {}
        self._known = {}
        self._never_null = [name for name in training.schema.names if training[name].null_count == 0]
        for field in training.schema:
            values = training[field.name].drop_null()
            if not len(values):
                continue
            if pa.types.is_string(field.type):
                known = pc.unique(values)
                if len(known) <= _MOST_KNOWN_TEXTS:
                    self._known[field.name] = known
            elif not pa.types.is_boolean(field.type):
                self._ranges[field.name] = pc.min_max(values)

    def broken_by(self, records: pa.Table) -> dict[str, NDArray[np.bool_]]:
        """Return which records break it, by column, each of shape (n,)."""
        broken = {name: np.zeros(records.num_rows, dtype=np.bool_) for name in records.schema.names}
        for name in self._never_null:
            broken[name] |= _array(pc.is_null(records[name]))
        for name, bounds in self._ranges.items():
            low, high = pc.less(records[name], bounds["min"]), pc.greater(records[name], bounds["max"])
            broken[name] |= _array(pc.fill_null(pc.or_(low, high), fill_value=False))
        for name, known in self._known.items():
            outside = pc.invert(pc.is_in(records[name], value_set=known))
            broken[name] |= _array(pc.and_(outside, pc.is_valid(records[name])))
        return broken


def measured(name: str, sizes: Sizes, config: TrainConfig, seed: int) -> Row:
    """Train and score by the product's own files, fit and score the baselines, and return the figures.

    Args:
        name: Of the table.
        sizes: How many records to use.
        config: Training settings.
        seed: Of parts, faults and baselines.

    Raises:
        TrainingError, ServiceError: The product refused the records.
    """
    table = next(each for each in TABLES if each.name == name).load()
    parting, injecting = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(2))
    parts = split(table, sizes.training, sizes.normal, parting)
    injector = Injector(parts.training, parts.normal, injecting)
    faults = {kind: made for kind in KINDS if (made := injector.inject(kind, sizes.faults)) is not None}
    test = pa.concat_tables([parts.normal, *(made.records for made in faults.values())])
    config = with_attainable_alpha(config, parts.training.num_rows)
    with tempfile.TemporaryDirectory() as folder:
        artifact, seconds = _trained(parts.training, Path(folder), config)
        block = _block(test, artifact)
        scores = artifact.scorer.score(block.columns)
        violations = artifact.checks.violations(block.columns)
    calibration = artifact.contract.calibration
    p = p_values([np.array(fold) for fold in calibration.folds], scores.fold_scores)
    # A record that is refused has no score, and its error names the column.
    is_refused = ~block.sound()
    is_flagged = block.spread(p <= calibration.alpha, blank=False)
    breaks_check = block.spread(np.array([*map(bool, violations)], dtype=np.bool_), blank=False)
    is_reported = is_flagged | breaks_check | is_refused
    baselines = baseline_scores(parts.training, _without_refused(test, block), config, seed)
    broken = Rule(parts.training).broken_by(test)
    is_broken = np.logical_or.reduce([*broken.values()])
    normal = parts.normal.num_rows
    band = promised_band(calibration.records, normal, calibration.alpha)
    names = [column.name for column in artifact.contract.columns.columns]
    largest = block.spread(scores.contributions[:, : len(names)].argmax(1), blank=0)
    leading = [names[at] for at in largest]
    first = _explained_first(artifact, block, scores, p <= calibration.alpha, violations)
    found = block.spread(np.fromiter(violations, dtype=object, count=len(violations)), blank=None)
    # A record that is refused has no score; it is known to be wrong.
    by_score = {MODEL: block.spread(scores.score, blank=np.finfo(np.float64).max), **baselines}
    kinds, start = {}, normal
    for kind, made in faults.items():
        rows = np.arange(start, start + made.records.num_rows)
        start = int(rows[-1]) + 1
        rankings = {name: _ranking(values, normal, rows) for name, values in by_score.items()}
        kinds[kind] = Found(
            records=rows.size,
            flagged=float(is_flagged[rows].mean()),
            reported=float(is_reported[rows].mean()),
            culprit_first=_share_of(made, is_flagged[rows], [first[row] for row in rows]),
            largest_first=_share_of(made, is_flagged[rows], [leading[row] for row in rows]),
            rule=float(is_broken[rows].mean()),
            outside=_share_outside(broken, rows, made),
            baselines={name: rankings[name].recall for name in baselines},
            auroc={name: each.auroc for name, each in rankings.items()},
        )
    return Row(
        table=name,
        records=table.num_rows,
        training_records=parts.training.num_rows,
        columns=table.num_columns,
        scored_columns=len(names),
        alpha=calibration.alpha,
        normal_records=normal,
        false_alarms=float(is_flagged[:normal].mean()),
        false_alarm_band=(band.low, band.high),
        violating=float((breaks_check | is_refused)[:normal].mean()),
        stored_violating=artifact.contract.columns.violating_share,
        broken_checks=Counter(f"{each.column}:{each.code}" for broken in found[:normal] for each in broken or ()),
        rule_false_alarms=float(is_broken[:normal].mean()),
        kinds=kinds,
        fit_seconds=seconds,
    )


def _trained(training: pa.Table, folder: Path, config: TrainConfig) -> tuple[Artifact, float]:
    pq.write_table(training, folder / "training.parquet")
    begin = time.perf_counter()
    train(folder / "training.parquet", folder / "model.onnx", config, Progress(Console(file=io.StringIO())))
    seconds = time.perf_counter() - begin
    artifact = load_artifact(folder / "model.onnx", threads=1)
    artifact.verify()
    return artifact, seconds


def _block(records: pa.Table, artifact: Artifact) -> Block:
    (batch,) = records.combine_chunks().to_batches()
    return block_of_batch(batch, artifact.contract.columns.of_records, "reject", first_row=0)


def _without_refused(records: pa.Table, block: Block) -> pa.Table:
    """Return records with nulls for the values that are refused, which the baselines could not read."""
    refused: dict[str, list[int]] = {}
    for row, faults in block.faults.items():
        for fault in faults:
            refused.setdefault(str(fault.column), []).append(row)
    for name, rows in refused.items():
        is_refused = np.zeros(records.num_rows, dtype=np.bool_)
        is_refused[rows] = True
        values = pc.if_else(pa.array(is_refused), None, records[name].combine_chunks())
        records = records.set_column(records.schema.get_field_index(name), records.schema.field(name), values)
    return records


def _explained_first(
    artifact: Artifact,
    block: Block,
    scores: Scores,
    is_anomaly: NDArray[np.bool_],
    violations: Sequence[Sequence[Violation]],
) -> list[str]:
    """Return the first column of each record's explanation."""
    rows, columns = np.arange(len(is_anomaly)), artifact.scorer.scored(block.columns)
    explained = artifact.explainer.explain(columns, scores, rows, is_anomaly, violations, whole=True)
    names = np.array([contributions[0].column for _, _, contributions in explained], dtype=object)
    return block.spread(names, blank="").tolist()


def _share_of(made: Faulty, is_flagged: NDArray[np.bool_], blamed: list[str]) -> float | None:
    hits = [
        name == columns[0]
        for flagged, name, columns in zip(is_flagged, blamed, made.columns, strict=True)
        if flagged and len(columns) == 1
    ]
    return float(np.mean(hits)) if hits else None


def _share_outside(broken: dict[str, NDArray[np.bool_]], rows: NDArray[np.int64], made: Faulty) -> float:
    are_outside = [
        any(broken[name][row] for name in columns) for row, columns in zip(rows.tolist(), made.columns, strict=True)
    ]
    return float(np.mean(are_outside))


def _ranking(scores: NDArray[np.float64], normal: int, rows: NDArray[np.int64]) -> Ranking:
    labels = np.arange(normal + rows.size) >= normal
    return ranking(labels, scores[np.concatenate([np.arange(normal), rows])])


def _array(mask: pa.ChunkedArray) -> NDArray[np.bool_]:
    is_so: NDArray[np.bool_] = mask.to_numpy().astype(np.bool_)
    return is_so

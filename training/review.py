"""Label-Trim: a person labels the most extreme calibration records, and those labelled as anomalies do not calibrate.

Only anomalies are taken out, so all n normal calibration records stay, and K anomalies that nobody labelled. A normal
record has p <= alpha with a probability of at most alpha (1 + K / (n + 1)), because its rank among the normal ones
alone is then at most alpha (n + K + 1) / (n + 1) (Bashari, Sesia & Romano 2025, "Robust conformal outlier detection
under contaminated reference data", take out what was labelled in the same way).
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaegis.service.columns import Columns
from vaegis.service.files.output import replacing
from vaegis.service.scorer import Scorer
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample
from vaegis.training.data.splits import Splits
from vaegis.training.errors import DataError, ExportError

LABEL, SCORE, FILE, ROW = _OWN = ("vaegis_label", "vaegis_score", "vaegis_file", "vaegis_row")
"""Columns before those of the records."""

_ANOMALY, _NORMAL = frozenset({"1", "true", "yes", "anomaly"}), frozenset({"0", "false", "no", "normal"})


@dataclass(frozen=True, slots=True)
class Labels:
    """What a person said of records.

    Attributes:
        is_anomaly: By where a record stands.
        rows: The rows of the file that have a label, by column.
    """

    is_anomaly: Mapping[RowLocation, bool] = field(default_factory=dict)
    rows: tuple[Mapping[str, str], ...] = ()


def review_path(model: Path) -> Path:
    """Return the file with the records to label: ``model.review.csv`` beside ``model.onnx``."""
    return model.with_suffix(".review.csv")


def read_labels(path: Path) -> Labels:
    """Read the labels that a person has filled in.

    Args:
        path: CSV as `write_review` writes it. A label is 1, true, yes or anomaly; 0, false, no or normal; or blank.

    Raises:
        DataError: The file cannot be read, lacks a column, or has another label; names the row.
    """
    is_anomaly: dict[RowLocation, bool] = {}
    rows: list[Mapping[str, str]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lacking = {LABEL, FILE, ROW} - {*(reader.fieldnames or ())}
            if lacking:
                raise DataError(f"{path}: expected a file of --review, got one without the column {min(lacking)}")
            for number, row in enumerate(reader, start=1):
                label = (row[LABEL] or "").strip().lower()
                if not label:
                    continue
                if label not in _ANOMALY | _NORMAL or not (row[ROW] or "").isdecimal():
                    expected = "1 or anomaly, 0 or normal, or nothing, and the number of a row"
                    raise DataError(f"{path}, row {number}, columns {LABEL} and {ROW}: expected {expected}, got others")
                is_anomaly[RowLocation(Path(row[FILE]), int(row[ROW]))] = label in _ANOMALY
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a CSV file of labels: {error}") from error
    return Labels(is_anomaly, tuple(rows))


def without_anomalies(splits: Splits, sample: Sample, labels: Labels) -> tuple[Splits, int]:
    """Return the splits without the calibration records that are labelled as anomalies, and how many there were.

    Raises:
        DataError: None of them calibrates: the labels are those of other records.
    """
    anomalies = {location for location, is_anomaly in labels.is_anomaly.items() if is_anomaly}
    if not anomalies:
        return splits, 0
    is_left_out = np.array([sample.location(at) in anomalies for at in range(len(sample))], dtype=np.bool_)
    kept = tuple(rows[~is_left_out[rows]] for rows in splits.calibration)
    left_out = splits.calibration_records - sum(rows.size for rows in kept)
    if not left_out:
        raise DataError(
            f"calibration.labels: expected calibration records among the {len(anomalies)} labelled anomalies, got none;"
            " label a file that --review wrote for these records and settings"
        )
    return replace(splits, calibration=kept), left_out


def most_extreme(
    scorer: Scorer, held_out: Sequence[Columns], splits: Splits, skipped: Collection[int], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the positions of the calibration records of the highest scores, the highest first, and these scores.

    Args:
        scorer: The graph.
        held_out: The calibration records of each member.
        splits: Their positions.
        skipped: Positions of records to leave out.
        count: Most records to return.
    """
    scores = np.concatenate([scorer.score(records).fold_scores[:, k] for k, records in enumerate(held_out)])
    rows = np.concatenate(splits.calibration)
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isin(rows[order], np.array([*skipped], dtype=np.int64))][:count]
    return rows[order], scores[order]


def write_review(
    path: Path, sample: Sample, rows: NDArray[np.int64], scores: NDArray[np.float64], labels: Labels
) -> None:
    """Write records for a person to label, after those that have a label already.

    Args:
        path: CSV, which appears only when it is complete.
        sample: The records.
        rows: Positions of k of them.
        scores: Their scores, shape (k,).
        labels: Of other records.

    Raises:
        ExportError: It cannot be written.
    """
    chosen = sample.table.take(rows)
    values = [column.to_pylist() for column in chosen.columns]
    try:
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            header = (*_OWN, *chosen.schema.names)
            writer.writerow(header)
            writer.writerows([of_record.get(name, "") for name in header] for of_record in labels.rows)
            for at, (row, score) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True)):
                location = sample.location(row)
                writer.writerow(("", f"{score:.4g}", location.path, location.row, *(column[at] for column in values)))
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error

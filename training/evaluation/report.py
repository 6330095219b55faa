"""Show an evaluation, as two tables with warnings or as one JSON document."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vaegis.training.console import verbatim
from vaegis.training.evaluation.intervals import Estimate
from vaegis.training.evaluation.measure import Evaluation


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, and on what.

    Attributes:
        model: Name of the model.
        model_digest: As the service's answers have it.
        records: The labelled file or folder.
        records_read: Records in it, of which a sample may have been measured.
        training_data: Where the baselines' records came from; None: from the labelled records.
    """

    model: str
    model_digest: str
    records: Path
    records_read: int
    training_data: Path | None


def format_report(evaluation: Evaluation, subject: Subject) -> RenderableType:
    """Return what a terminal shows; AP is average precision."""
    counts = f"{evaluation.normal_records:,} normal records, {evaluation.anomalies:,} anomalies"
    used = evaluation.labelled_records
    sampled = f", {used:,} of {subject.records_read:,}, drawn at random" if used < subject.records_read else ""
    reference = (
        f"{evaluation.baseline_records:,} of the labelled normal records, left out of every other figure"
        if subject.training_data is None
        else f"{evaluation.baseline_records:,} records of {verbatim(subject.training_data.name)}"
    )
    return Group(
        f"{verbatim(subject.model)} on {verbatim(subject.records.name)}{sampled}: {counts}",
        f"flagged at alpha = {evaluation.alpha:g}, above {evaluation.threshold:.4g}: {evaluation.flagged:,}",
        "",
        _shares(evaluation),
        _promise(evaluation),
        "",
        _rankings(evaluation),
        f"baselines fitted on {reference}",
        *(Text(f"warning: {warning}", style="yellow") for warning in warnings(evaluation)),
    )


def as_json(evaluation: Evaluation, subject: Subject) -> str:
    """Return the evaluation as a JSON document, with the warnings."""
    document = {
        "model": subject.model,
        "model_digest": subject.model_digest,
        "records": str(subject.records),
        "records_read": subject.records_read,
        "training_data": None if subject.training_data is None else str(subject.training_data),
        **dataclasses.asdict(evaluation),
        "warnings": warnings(evaluation),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def warnings(evaluation: Evaluation) -> list[str]:
    """Return the warnings to read before trusting the model."""
    found = []
    if evaluation.promise_is_broken:
        found.append(
            f"{_percent(evaluation.false_alarm_rate.value)} of the normal records were flagged, more than chance "
            f"explains where at most {_percent(evaluation.bound)} were promised (up to "
            f"{_percent(evaluation.promised.high)}): these data are not what normal data were in training"
        )
    for name, ranking in evaluation.better_baselines.items():
        leads = {"AUROC": ranking.auroc_lead, "average precision": ranking.average_precision_lead}
        by = " and ".join(
            f"{measure} by {lead.value:.4f} (95% interval {_range(lead, _signed)})"
            for measure, lead in leads.items()
            if lead.value > 0
        )
        found.append(f"{name} is better in {by}")
    return found


def _shares(evaluation: Evaluation) -> Table:
    table = _table("share", "", "95% interval")
    for name, estimate in (
        ("recall: anomalies that were flagged", evaluation.recall),
        ("precision: flagged records that are anomalies", evaluation.precision),
        ("false alarms: normal records that were flagged", evaluation.false_alarm_rate),
    ):
        shown = ("none flagged", "") if estimate is None else (_percent(estimate.value), _range(estimate, _percent))
        table.add_row(name, *shown)
    return table


def _promise(evaluation: Evaluation) -> str:
    verdict = "broken" if evaluation.promise_is_broken else "kept"
    chance = f"{_range(evaluation.promised, _percent)} by chance"
    return (
        f"false alarms promised: at most {_percent(evaluation.bound)} "
        f"({chance}, with {evaluation.calibration_records:,} calibration records): {verdict}"
    )


def _rankings(evaluation: Evaluation) -> Table:
    table = _table("ranking", "AUROC", "95% interval", "AP", "95% interval")
    for name, ranking in evaluation.rankings.items():
        measures = (ranking.auroc, ranking.average_precision)
        table.add_row(name, *(cell for m in measures for cell in (_plain(m.value), _range(m, _plain))))
    return table


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def _range(estimate: Estimate, shown: Callable[[float], str]) -> str:
    return f"{shown(estimate.low)} to {shown(estimate.high)}"


def _percent(share: float) -> str:
    return f"{share:.2%}"


def _plain(value: float) -> str:
    return f"{value:.4f}"


def _signed(value: float) -> str:
    return f"{value:+.4f}"

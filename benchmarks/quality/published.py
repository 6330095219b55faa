"""Figures measured once and kept: other detectors' (``baselines.csv``, beside the sets) and earlier models' of ours."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.conditions import ROOT

EARLIER = ROOT / "benchmarks" / "quality" / "earlier.csv"
"""Figures of earlier models by group, version and set, measured by the command of this package on their code."""

SetFigures = dict[str, dict[str, float]]
"""By set: ``auroc`` and ``ap``, means over the seeds."""


def published_figures(data: Path) -> dict[str, SetFigures]:
    """Return the figures by detector and set; nothing where the folder has none."""
    path = data / "baselines.csv"
    found: dict[str, SetFigures] = {}
    if path.is_file():
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                figures = {"auroc": float(row["auroc"]), "ap": float(row["ap"])}
                found.setdefault(row["algorithm"], {})[row["dataset"]] = figures
    return found


def earlier_figures(group: str) -> dict[str, SetFigures]:
    """Return the figures of earlier models by version and set, for one group of sets."""
    found: dict[str, SetFigures] = {}
    with EARLIER.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["group"] == group:
                figures = {"auroc": float(row["auroc"]), "ap": float(row["ap"])}
                found.setdefault(f"vaegis {row['version']}", {})[row["set"]] = figures
    return found

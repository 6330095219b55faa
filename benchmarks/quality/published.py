"""What other detectors reach in this protocol, measured once and kept beside the sets: ``baselines.csv``."""

from __future__ import annotations

import csv
from pathlib import Path

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

"""The regression set: figures of a few small cases that a change of the model must not lower unseen.

The expected figures stand beside their test. After a change that is meant, this measures them again and keeps the
tolerances:

    python -m benchmarks.quality.regression
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.conditions import ROOT
from benchmarks.quality.figures import Ranking, ranking
from benchmarks.quality.protocol import DATA, MissingDataError, load_set, random_half, table_of
from benchmarks.quality.trained import train_and_score

EXPECTED = ROOT / "tests" / "integration" / "training" / "quality_regression.json"


class Figure(BaseModel):
    """A figure and by how much a measured one may differ from it."""

    model_config = ConfigDict(extra="forbid")

    expected: float = Field(ge=0.0, le=1.0)
    tolerance: float = Field(gt=0.0, lt=1.0)


class RegressionCase(BaseModel):
    """A permanent id, set and seed with a hyphen between them, and its figures."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[0-9A-Za-z_]+-\d+$")
    auroc: Figure
    ap: Figure


class RegressionSet(BaseModel):
    """All cases."""

    model_config = ConfigDict(extra="forbid")

    cases: list[RegressionCase]


def regression_cases(file: Path = EXPECTED) -> list[RegressionCase]:
    """Return the cases with their figures, by default those expected."""
    return RegressionSet.model_validate_json(file.read_text(encoding="utf-8")).cases


def regression_figures(case_id: str, data: Path) -> Ranking:
    """Train on the training half of a case with default settings, and return the figures of its test half.

    Args:
        case_id: Set and seed, as in ``45_wine-0``.
        data: Folder of the sets.

    Raises:
        MissingDataError: The set is not there.
    """
    name, _, seed = case_id.rpartition("-")
    halves = random_half(*load_set(data, name), int(seed))
    return ranking(halves.labels, train_and_score(table_of(halves.training), table_of(halves.test)).scores)


def main() -> int:
    """Measure all cases and write their figures; return 1 if the data are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the sets (../shared/data/benchmark)")
    parser.add_argument("--output", type=Path, default=EXPECTED, help="file of the figures (those that are expected)")
    parsed = parser.parse_args()
    cases = regression_cases()
    for case in cases:
        try:
            found = regression_figures(case.id, parsed.data)
        except MissingDataError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(f"{case.id}: AUROC {case.auroc.expected} -> {found.auroc:.4f}, AP {case.ap.expected} -> {found.ap:.4f}")
        case.auroc.expected, case.ap.expected = round(found.auroc, 4), round(found.ap, 4)
    document = RegressionSet(cases=cases).model_dump(mode="json")
    parsed.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A seeded regression set: figures of small public sets, expected in the file beside this one with their tolerances."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.quality.protocol import DATA
from benchmarks.quality.regression import RegressionCase, regression_cases

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(not DATA.is_dir(), reason="the public sets are not beside the project: shared/data/benchmark"),
]


ROOT = Path(__file__).parents[3]
REMAKE = "if a change of the model meant it, `python -m benchmarks.quality.regression` remakes what is expected"


@pytest.fixture(scope="module")
def found(unmeasured, tmp_path_factory) -> dict[str, RegressionCase]:
    """The figures of all cases, measured in a process without coverage and checks of shapes."""
    file = tmp_path_factory.mktemp("regression") / "figures.json"
    command = [sys.executable, "-m", "benchmarks.quality.regression", "--output", str(file)]
    subprocess.run(command, cwd=ROOT, env=unmeasured, check=True)
    return {case.id: case for case in regression_cases(file)}


@pytest.mark.parametrize("case", regression_cases(), ids=lambda case: case.id)
def test_the_default_model_ranks_as_well_as_it_did(case: RegressionCase, found: dict[str, RegressionCase]):
    measured = found[case.id]
    assert measured.auroc.expected == pytest.approx(case.auroc.expected, abs=case.auroc.tolerance), REMAKE
    assert measured.ap.expected == pytest.approx(case.ap.expected, abs=case.ap.tolerance), REMAKE

"""A seeded regression set: figures of small public sets, expected in the file beside this one with their tolerances."""

from __future__ import annotations

import pytest

from benchmarks.quality.protocol import DATA
from benchmarks.quality.regression import RegressionCase, regression_cases, regression_figures

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(not DATA.is_dir(), reason="the public sets are not beside the project: shared/data/benchmark"),
]


REMAKE = "if a change of the model meant it, `python -m benchmarks.quality.regression` remakes what is expected"


@pytest.mark.parametrize("case", regression_cases(), ids=lambda case: case.id)
def test_the_default_model_ranks_as_well_as_it_did(case: RegressionCase):
    found = regression_figures(case.id, DATA)
    assert found.auroc == pytest.approx(case.auroc.expected, abs=case.auroc.tolerance), REMAKE
    assert found.ap == pytest.approx(case.ap.expected, abs=case.ap.tolerance), REMAKE

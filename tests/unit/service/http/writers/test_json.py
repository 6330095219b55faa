"""The JSON of verdicts: the documented fields in order, whole numbers and all, and nothing that JSON lacks."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from msgspec.structs import replace

from vaegis.service.contract import ViolationCode
from vaegis.service.explanations import Contribution
from vaegis.service.http.schemas import ContributionItem, ResultItem, ScoreAnswer
from vaegis.service.http.writers.writer import AnswerMetadata, json_document, json_rows, rows_of
from vaegis.service.pvalues import threshold
from vaegis.service.reasons import Reason
from vaegis.service.verdicts import Verdicts
from vaegis.service.violations import Violation

EXPLAINED = (
    Contribution("amount", 1.5, 10**400, 0.1 + 0.2, Reason.OUT_OF_RANGE),
    Contribution("country", -1e-300, 'D"E\n\u4e2d', None, None),
)


@pytest.fixture
def verdicts() -> Verdicts:
    numbers = np.array([[1 / 3, 1e300, -0.0], [5e-324, 1e16, 2.0]])
    return Verdicts(
        *(numbers[:, 0], numbers[:, 1], np.array([True, False]), numbers[:, 2], *numbers.T),
        violations=[(Violation("amount", ViolationCode.ABOVE_RANGE, 10**400, 100.0),), ()],
        reasons=[(Reason.OUT_OF_RANGE, Reason.FAR_FROM_KNOWN), ()],
        signature=["amount:above_range", None],
        contributions=[EXPLAINED, None],
    )


def test_every_number_is_read_back_as_it_was(verdicts):
    first, second = json.loads(b"[" + json_rows(rows_of(verdicts)) + b"]")
    assert [first[name] for name in ("score", "p_value", "elbo", "kl")] == [1 / 3, 1e300, -0.0, 1e300]
    assert second["reconstruction_error"] == 5e-324
    assert (first["is_anomaly"], second["is_anomaly"]) == (True, False)
    assert first["violations"] == [{"column": "amount", "code": "above_range", "observed": 10**400, "limit": 100.0}]
    assert first["reasons"] == ["out_of_range", "far_from_known"]
    assert (first["signature"], second["signature"]) == ("amount:above_range", None)
    assert second["contributions"] is None
    assert first["contributions"][0] == {
        "column": "amount",
        "contribution": 1.5,
        "observed": 10**400,
        "expected": 0.1 + 0.2,
        "reason": "out_of_range",
    }
    assert first["contributions"][1]["observed"] == 'D"E\n\u4e2d'


def test_the_fields_come_as_documented(artifact, verdicts):
    answer = json.loads(json_document(AnswerMetadata.by(artifact, "orders", 0.25), rows_of(verdicts)))
    assert list(answer) == list(ScoreAnswer.model_fields)
    assert list(answer["results"][0]) == [name for name in ResultItem.model_fields if name != "errors"]
    assert list(answer["results"][0]["contributions"][0]) == list(ContributionItem.model_fields)
    assert (answer["alpha"], answer["threshold"]) == (0.25, threshold(artifact.calibration_folds, 0.25))


@pytest.mark.parametrize("name", ["score", "p_value", "elbo", "reconstruction_error", "kl", "latent_contribution"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused(verdicts, name, value):
    with pytest.raises(ValueError, match="expected finite numbers"):
        json_rows(rows_of(replace(verdicts, **{name: np.array([value, 1.0])})))


@pytest.mark.parametrize("item", [Contribution("a", math.nan, 1, 1, None), Contribution("a", 1.0, 1, math.inf, None)])
def test_contributions_that_json_lacks_are_refused(verdicts, item):
    with pytest.raises(ValueError, match="expected finite numbers"):
        json_rows(rows_of(replace(verdicts, contributions=[(item,), None])))


def test_finite_numbers_whose_sum_is_not_are_written(verdicts):
    huge = replace(verdicts, score=np.array([1.7e308, 1.7e308]))
    assert [result["score"] for result in json.loads(b"[" + json_rows(rows_of(huge)) + b"]")] == [1.7e308, 1.7e308]

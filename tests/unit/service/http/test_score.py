"""POST /score on sound requests: verdicts, alpha, explanations."""

from __future__ import annotations

import json
import math

import pytest

from vaegis.service.http.schemas import ScoreAnswer
from vaegis.service.pvalues import threshold

ANOMALY = {"amount": 1e9, "express": False, "country": "Atlantis", "placed_at": "2023-11-22T10:00:00Z"}


def test_one_record_gets_one_result_of_the_documented_shape(post, record):
    response = post(record)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = ScoreAnswer.model_validate_json(response.content)
    assert len(answer.results) == 1


def test_the_answer_names_model_alpha_threshold_and_calibration(post, record, artifact):
    answer = post(record).json()
    assert answer["model"] == artifact.contract.provenance.model_name
    assert answer["model_digest"] == f"sha256:{artifact.digest}"
    assert answer["alpha"] == artifact.contract.calibration.alpha
    assert answer["threshold"] == threshold(artifact.calibration_folds, answer["alpha"])
    assert answer["calibration_records"] == artifact.contract.calibration.records
    assert answer["guarantee"] == artifact.contract.calibration.method


def test_a_list_gets_its_results_in_order_and_each_as_if_alone(post, record):
    together = post([record, ANOMALY, record]).json()["results"]
    alone = [post(each).json()["results"][0] for each in (record, ANOMALY)]
    assert [result["score"] for result in together] == pytest.approx(
        [alone[0]["score"], alone[1]["score"], alone[0]["score"]],
        rel=1e-4,  # float32 sums round differently from one batch size to another
    )
    assert together[1]["is_anomaly"]


def test_contributions_and_latent_term_sum_to_the_score(post, record):
    for result in post([record, ANOMALY], query="?explain=all").json()["results"]:
        total = sum(item["contribution"] for item in result["contributions"]) + result["latent_contribution"]
        assert total == pytest.approx(result["score"], rel=1e-9)


def test_the_elbo_is_minus_reconstruction_error_and_kl(post, record):
    result = post(record).json()["results"][0]
    assert result["elbo"] == pytest.approx(-(result["reconstruction_error"] + result["kl"]))


@pytest.mark.parametrize(
    ("explain", "explained"), [("none", [False, False]), ("anomalies", [False, True]), ("all", [True, True])]
)
def test_explain_chooses_the_results_with_contributions(post, record, explain, explained):
    for response in (
        post([record, ANOMALY], query=f"?explain={explain}"),
        post([record, ANOMALY], explain=explain),
    ):
        results = response.json()["results"]
        assert [result["is_anomaly"] for result in results] == [False, True]
        assert [result["contributions"] is not None for result in results] == explained


def test_anomalies_are_explained_where_nobody_chooses(post, record):
    normal, anomaly = post([record, ANOMALY]).json()["results"]
    assert normal["contributions"] is None
    assert {item["column"] for item in anomaly["contributions"]} == {"amount", "express", "country", "placed_at"}
    assert anomaly["reasons"]


def test_alpha_of_the_query_goes_before_that_of_the_settings(post, record):
    assert post(record, query="?alpha=0.2", alpha=0.1).json()["alpha"] == 0.2
    assert post(record, alpha=0.1).json()["alpha"] == 0.1


def test_a_record_is_an_anomaly_exactly_when_its_p_value_is_at_most_alpha(post, record):
    p_value = post(record).json()["results"][0]["p_value"]
    at, below = math.nextafter(p_value, 1.0), math.nextafter(p_value, 0.0)
    assert post(record, query=f"?alpha={at!r}").json()["results"][0]["is_anomaly"]
    assert not post(record, query=f"?alpha={below!r}").json()["results"][0]["is_anomaly"]


def test_an_alpha_that_cannot_be_promised_is_refused(post, record):
    response = post(record, query="?alpha=1e-12")
    assert response.status_code == 422
    assert response.json()["type"] == "urn:vaegis:problem:unsupported-alpha"


def test_an_unknown_parameter_is_refused_instead_of_passed_over(post, record):
    response = post(record, query="?explian=all")
    assert response.status_code == 422
    assert response.json()["errors"][0]["message"] == "explian: unknown parameter; expected alpha, explain, on_invalid"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=latin-1",
        "application/vnd.x+json",
    ],
)
def test_json_is_accepted_under_its_usual_names(post, record, content_type):
    response = post(json.dumps(record).encode(), headers={"content-type": content_type})
    assert response.status_code == 200


def test_a_body_without_content_type_is_taken_as_json(post, record):
    assert post(json.dumps(record).encode(), headers={}).status_code == 200


def test_missing_columns_and_nulls_are_the_same(post, record):
    missing = {name: value for name, value in record.items() if name != "amount"}
    results = [post(each).json()["results"][0]["score"] for each in (missing, record | {"amount": None})]
    assert results[0] == results[1]


def test_extra_columns_are_ignored_where_the_settings_say_so(post, record):
    plain = post(record).json()["results"]
    assert post(record | {"colour": [1, {"deep": None}]}, unknown_columns="ignore").json()["results"] == plain


@pytest.mark.parametrize(
    "value",
    [
        {"country": "Atlantis"},
        {"country": "nul\0"},
        {"country": ""},
        {"amount": 1e308},
        {"amount": -1e308},
        {"amount": 0},
    ],
)
def test_unusual_values_get_finite_scores(post, record, value):
    response = post(record | value, query="?explain=all")
    assert response.status_code == 200

    def refuse(name):
        raise AssertionError(f"expected finite numbers, got {name}")

    json.loads(response.content, parse_constant=refuse)


def test_an_unseen_category_is_named_as_the_reason(post, record):
    result = post(record | {"country": "nul\0"}, query="?explain=all&alpha=0.5").json()["results"][0]
    country = next(item for item in result["contributions"] if item["column"] == "country")
    assert country["observed"] == "nul\0"
    assert country["contribution"] > 0


def test_a_list_of_several_parts_gets_what_its_records_get_in_small_lists(post, record):
    records = [record | {"amount": 0.5 * at} for at in range(3000)]
    together = post(records, query="?explain=all").json()["results"]
    assert len(together) == 3000
    some = [0, 255, 256, 1023, 1024, 2047, 2999]
    apart = post([records[at] for at in some], query="?explain=all").json()["results"]
    for at, alone in zip(some, apart, strict=True):
        assert together[at]["score"] == pytest.approx(alone["score"], abs=1e-4)
        assert {item["observed"] for item in together[at]["contributions"]} == {
            item["observed"] for item in alone["contributions"]
        }


@pytest.mark.parametrize("unknown_columns", ["reject", "ignore"])
def test_whatever_way_a_body_is_read_it_gets_the_same_answer(post, record, unknown_columns):
    plain = json.dumps([record] * 3).encode()
    odd = plain.replace(b'"amount":', b'"amount" :').replace(b'"DE"', b'"\\u0044E"')  # read by the exact way
    assert post(odd, unknown_columns=unknown_columns).content == post(plain).content

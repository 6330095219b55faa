"""POST /generate: new records in the form that POST /score takes."""

from __future__ import annotations

import pytest

from vaegis.service.http.generate import GenerateAnswer


def test_records_come_in_the_form_that_score_takes(new_app, send, artifact):
    app = new_app()
    response = send(app, "POST", "/generate", json={"count": 5, "seed": 3})
    assert response.status_code == 200
    answer = GenerateAnswer.model_validate_json(response.content)
    assert answer.seed == 3
    assert answer.model_digest == f"sha256:{artifact.digest}"
    assert len(answer.records) == 5
    assert send(app, "POST", "/score", json=answer.records).status_code == 200


def test_a_seed_gives_the_same_records_again(new_app, send):
    app = new_app()
    drawn = send(app, "POST", "/generate", json={"count": 3}).json()
    again = send(app, "POST", "/generate", json={"count": 3, "seed": drawn["seed"]}).json()
    assert again == drawn


def test_generated_records_are_counted_apart_from_scored_ones(new_app, send):
    app = new_app()
    send(app, "POST", "/generate", json={"count": 4, "seed": 0})
    registry = app.metrics.registry
    assert registry.get_sample_value("vaegis_records_generated_total", {"model": "orders"}) == 4
    assert registry.get_sample_value("vaegis_records_scored_total", {"model": "orders"}) == 0


def test_thousands_of_unknown_parameters_get_a_short_answer(new_app, send):
    response = send(new_app(), "POST", "/generate", json={"count": 1} | {f"k{at}": 1 for at in range(5000)})
    assert response.status_code == 422
    assert len(response.json()["errors"]) == 100


def test_a_count_of_nothing_gives_nothing(new_app, send):
    assert send(new_app(), "POST", "/generate", json={"count": 0, "seed": 0}).json()["records"] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "count: expected a value, got none"),
        ({"count": "5"}, "count: expected a whole number, got '5'"),
        ({"count": -1}, "count: expected at least 0, got -1"),
        ({"count": 11}, "count: expected at most 10, got 11"),
        ({"count": 1, "seed": -1}, "seed: expected at least 0, got -1"),
        ({"count": 1, "sede": 1}, "sede: unknown parameter; expected count, seed, temperature"),
    ],
)
def test_a_bad_request_is_answered_with_what_was_expected(new_app, send, body, message):
    response = send(new_app(max_generate_count=10), "POST", "/generate", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0] == {
        "row": None,
        "column": None,
        "code": "invalid_parameter",
        "message": message,
    }


def test_a_body_that_is_no_object_is_refused(new_app, send):
    assert send(new_app(), "POST", "/generate", json=[1]).status_code == 422
    assert send(new_app(), "POST", "/generate", content=b"{").status_code == 400


def test_drawing_ends_between_parts_once_its_time_is_up(new_app, send):
    app = new_app(request_timeout_s=0.001, rate_records_per_s=1.0, rate_burst_s=3600.0)
    response = send(app, "POST", "/generate", json={"count": 10_000})
    assert (response.status_code, response.json()["type"]) == (504, "urn:vaegis:problem:deadline")
    assert app.metrics.registry.get_sample_value("vaegis_records_generated_total", {"model": "orders"}) == 0

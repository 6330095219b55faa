"""POST /generate: new records in the form that POST /score takes."""

from __future__ import annotations

import pytest

from vaegis.service.auth.rate_limits import RateLimit, TokenBuckets, bucket_id_of
from vaegis.service.http.access import route_of
from vaegis.service.http.answers import GenerateAnswer
from vaegis.service.http.call import Call
from vaegis.service.http.errors import DeadlineError
from vaegis.service.http.generating import Generating


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
    registry = app.state.metrics.registry
    assert registry.get_sample_value("vaegis_records_generated_total") == 4
    assert registry.get_sample_value("vaegis_records_scored_total") == 0


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
        ({"count": 1, "sede": 1}, "sede: unknown parameter"),
    ],
)
def test_a_bad_request_is_told_what_was_expected(new_app, send, body, message):
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


def test_drawing_ends_between_parts_once_its_answer_is_not_worth_it(new_app, artifact):
    metrics = new_app().state.metrics
    generating = Generating(artifact, metrics, max_count=10_000, max_depth=9, max_values=99, run_timeout_s=60.0)
    limit = RateLimit(TokenBuckets(now=lambda: 0.0), bucket_id_of("caller"), records_per_s=1.0, burst_s=10_000.0)
    call = Call(route_of("/generate"), "", "", "", rate_limit=limit)
    worth = iter([True, False])

    def between():
        if not next(worth, False):
            raise DeadlineError

    with pytest.raises(DeadlineError):
        generating.answer(b'{"count": 10000}', call, between)
    assert limit.wait_s() == 1.0  # it was charged, for it began
    with pytest.raises(DeadlineError):
        generating.answer(b'{"count": 10000}', call, between)
    assert limit.spend(0) == 0.0  # and not again, for nobody waited any more
    assert metrics.registry.get_sample_value("vaegis_records_generated_total") == 0

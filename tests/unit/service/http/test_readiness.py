"""Readiness follows the state of the service, and liveness does not."""

from __future__ import annotations

import pytest

from vaegis.service.artifact import Verification
from vaegis.service.http.admission import Readiness, State
from vaegis.service.http.app import create_app
from vaegis.service.settings import load_settings


def test_a_model_that_was_not_verified_is_not_ready_and_does_not_score(artifact, send, record):
    app = create_app(artifact, load_settings({}, {}))
    response = send(app, "GET", "/readyz")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert send(app, "POST", "/score", json=record).status_code == 503
    assert send(app, "POST", "/generate", json={"count": 1}).status_code == 503
    assert send(app, "GET", "/livez").json() == {"state": "alive"}


def test_a_verified_model_is_ready(new_app, send):
    response = send(new_app(), "GET", "/readyz")
    assert (response.status_code, response.json()) == (200, {"state": "ready"})


def test_a_draining_service_is_not_ready_but_answers_what_still_arrives(new_app, send, record):
    app = new_app()
    app.readiness.drain()
    assert send(app, "GET", "/readyz").status_code == 503
    assert "draining" in send(app, "GET", "/readyz").json()["detail"]
    assert send(app, "POST", "/score", json=record).status_code == 200
    assert send(app, "GET", "/livez").status_code == 200


def test_draining_is_for_good():
    readiness = Readiness()
    assert readiness.state is State.LOADING
    readiness.drain()
    readiness.admit(Verification(records=1, largest_difference=0.0))
    assert readiness.state is State.DRAINING


def test_a_verification_of_no_records_is_no_evidence():
    with pytest.raises(ValueError, match="at least one golden record, got 0"):
        Readiness().admit(Verification(records=0, largest_difference=0.0))

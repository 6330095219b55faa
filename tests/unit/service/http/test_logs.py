"""The log: one JSON object a line, without what could be private."""

from __future__ import annotations

import io
import json
import logging

import pytest

from service.http.logs import configure_logs


@pytest.fixture
def log():
    """Log to a stream for the length of a test."""
    stream = io.StringIO()
    names = ("vaegis", "uvicorn.error")
    before = {name: (logging.getLogger(name).handlers, logging.getLogger(name).level) for name in names}

    def lines(level: str = "info"):
        configure_logs(level, stream)
        return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]

    yield lines
    for name, (handlers, level) in before.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = handlers, True
        logger.setLevel(level)


def test_a_request_is_one_line_with_its_route_status_and_time(log, new_app, send, record):
    lines = log()
    send(new_app(), "POST", "/score?alpha=0.2", json=record)
    (line,) = lines()
    assert {name: line[name] for name in ("level", "event", "method", "route", "status")} == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "route": "/score",
        "status": 200,
    }
    assert line["duration_s"] > 0
    assert line["time"].endswith("+00:00")


def test_neither_paths_nor_bodies_nor_values_are_logged(log, new_app, send):
    lines = log("debug")
    app = new_app()
    send(app, "POST", "/score", json={"amount": "4711"})
    send(app, "POST", "/score?explain=4711", json={"amount": 1})
    send(app, "GET", "/4711")
    assert len(lines()) == 3
    assert "4711" not in json.dumps(lines())


def test_probes_and_scrapes_are_logged_for_debugging_only(log, new_app, send):
    lines = log("info")
    for path in ("/livez", "/readyz", "/metrics"):
        send(new_app(), "GET", path)
    assert lines() == []
    lines = log("debug")
    send(new_app(), "GET", "/livez")
    assert lines()[0]["route"] == "/livez"


def test_an_unexpected_error_is_logged_by_its_kind_and_place_alone(log, new_app, send):
    def fail() -> None:
        raise ValueError("4711")

    lines = log("error")
    app = new_app()
    app.add_api_route("/broken", fail)
    send(app, "GET", "/broken")
    (line,) = lines()
    assert line["error"] == "ValueError"
    assert line["at"][-1].endswith(" fail")
    assert "4711" not in json.dumps(line)

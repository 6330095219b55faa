"""The log: one event a line, with what an operator needs, and nothing of what callers send."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from starlette.responses import StreamingResponse

from vaegis.service.auth.keys import digest_of
from vaegis.service.http.observability.logs import shown_instant
from vaegis.service.http.observability.tracing import Tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
KEYS = f"tester score,model,metrics sha256:{digest_of(b'vaegis_1').hex()}"
BEARER = {"authorization": "Bearer vaegis_1"}


@pytest.fixture
def logged(new_log, new_app):
    """Make an app with a log."""

    def make(level: str = "info", log_format: str = "json", **details):
        kept = new_log(level, log_format)
        return new_app(writer=kept.writer, **kept.settings, **details), kept

    return make


def test_a_request_is_one_line_with_all_that_is_known_of_it(logged, send, record):
    app, log = logged(keys=KEYS)
    batch = [record, record | {"amount": 1e9}]
    response = send(app, "POST", "/score?alpha=0.2", json=batch, headers=BEARER | {"traceparent": PARENT})
    (line,) = log.lines
    assert list(line) == [
        *("time", "level", "event", "request_id", "trace_id", "span_id", "method", "route", "status", "duration_s"),
        *("records", "flagged", "key"),
    ]
    fields = {name: line[name] for name in ("level", "event", "method", "route", "status", "records", "flagged", "key")}
    assert " ".join(map(str, fields.values())) == "info request POST /score 200 2 1 tester"
    assert line["duration_s"] > 0
    assert abs(datetime.fromisoformat(line["time"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert line["trace_id"] == PARENT.split("-")[1]
    assert re.fullmatch(r"[0-9a-f]{16}", line["span_id"])
    assert line["span_id"] != PARENT.split("-")[2]
    assert line["request_id"] == response.headers["x-request-id"]


def test_a_request_that_generates_shows_how_many_records(logged, send):
    app, log = logged()
    send(app, "POST", "/generate", json={"count": 3})
    assert [(line["records"], line["key"]) for line in log.lines] == [(3, None)]


@pytest.mark.parametrize("given", ["a", "req-1.b_2", "A" * 64])
def test_a_well_formed_request_id_is_kept_and_answered(logged, send, given):
    app, log = logged()
    assert send(app, "GET", "/model", headers={"x-request-id": given}).headers["x-request-id"] == given
    assert log.lines[0]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", 'a"', "a" * 65, "ä", "a\\n", "{}"])
def test_any_other_is_replaced(logged, send, given):
    app, log = logged()
    response = send(app, "GET", "/model", headers=[("x-request-id", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["x-request-id"])
    assert log.lines[0]["request_id"] == response.headers["x-request-id"]


def test_a_refused_request_has_an_id_too(logged, send):
    app, _ = logged(keys=KEYS)
    for path in ("/model", "/nowhere"):
        response = send(app, "GET", path, headers={"x-request-id": "r-1"})
        assert (response.status_code, response.headers["x-request-id"]) == (401, "r-1")


def test_text_is_for_whoever_reads_along(logged, send, record):
    app, log = logged(log_format="text", keys=KEYS)
    send(app, "POST", "/score", json=record, headers=BEARER | {"x-request-id": "r-1", "traceparent": PARENT})
    logging.getLogger("vaegis").warning("two\nlines", extra={"fields": {"count": 2, "file": "a b"}})
    first, second = log.text.splitlines()
    assert re.fullmatch(
        r"\S+T\S+\+00:00 info    POST /score 200 in \d+\.\d\d ms, 1 records, 0 flagged key=tester "
        rf"request_id=r-1 trace_id={PARENT.split('-')[1]}",
        first,
    )
    assert second.split(" ", 1)[1] == r"warning two\nlines count=2 file=a b"


def test_probes_and_scrapes_are_logged_for_debugging_only(logged, send):
    app, log = logged("info")
    for path in ("/livez", "/readyz", "/metrics"):
        send(app, "GET", path)
    assert log.lines == []
    app, log = logged("debug")
    send(app, "GET", "/livez")
    assert [(line["level"], line["route"]) for line in log.lines] == [("debug", "/livez")]


def test_requests_are_no_warnings(logged, send):
    app, log = logged("warning")
    send(app, "GET", "/model")
    assert log.lines == []


def test_an_unexpected_error_is_logged_by_its_kind_and_place_alone(logged, send):
    def fail() -> None:
        raise ValueError("4711")

    app, log = logged("error")
    app.framework.add_api_route("/model", fail, methods=["DELETE"])
    response = send(app, "DELETE", "/model")
    (line,) = log.lines
    assert line["error"] == "ValueError"
    assert line["at"][-1].endswith(" fail")
    assert line["request_id"] == response.headers["x-request-id"]
    assert "4711" not in log.text


def test_a_fault_after_the_answer_has_begun_resets_the_connection_and_is_logged_once(logged, serving, read_all):
    def parts():
        yield b"half"
        raise ValueError("4711")

    app, log = logged("error")
    app.framework.add_api_route("/model", lambda: StreamingResponse(parts()), methods=["DELETE"])
    with serving(app).connect() as client:
        client.sendall(b"DELETE /model HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: r-1\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            read_all(client)
    (line,) = log.lines
    assert (line["error"], line["request_id"]) == ("ValueError", "r-1")


secrets = st.from_regex(r"[g-zG-Z]{6}[A-Za-z0-9]{6,60}", fullmatch=True)
headers = st.sampled_from(
    [
        *("cookie", "user-agent", "x-forwarded-for", "x-api-key", "accept", "content-type", "referer", "origin"),
        *("proxy-authorization", "tracestate", "baggage", "content-encoding"),
    ]
)


@given(secret=secrets, header=headers, data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_that_a_caller_sends_is_in_the_log(logged, send, record, secret, header, data):
    tracing = Tracing(TracerProvider(shutdown_on_exit=False))
    app, log = logged("debug", data.draw(st.sampled_from(["json", "text"])), keys=KEYS, tracing=tracing)
    kept = BEARER | {"x-request-id": f"{secret} ", "traceparent": f"00-{secret}"}
    bodies = [record | {"country": secret}, record | {secret: 1}, {"amount": secret}, [secret], {"count": secret}]
    requests = [
        ("POST", "/score", {"json": data.draw(st.sampled_from(bodies))}, kept),
        ("POST", "/generate", {"json": data.draw(st.sampled_from(bodies))}, kept),
        ("POST", "/score", {"content": f'{{"{secret}'.encode()}, kept),
        ("POST", f"/score?explain={secret}&{secret}=1", {"json": record}, kept),
        ("POST", "/score", {"json": record}, kept | {header: secret}),
        ("POST", "/score", {"json": record}, BEARER | {"traceparent": PARENT, header: secret}),
        ("POST", "/score", {"json": record}, {"authorization": f"Bearer {secret}"}),
        ("GET", "/model", {}, {"authorization": f"Basic {secret}"}),
        ("GET", f"/{secret}", {}, kept),
        ("GET", f"/v2/models/{secret}", {}, kept),
        (secret.upper(), "/model", {}, kept),
    ]
    for method, path, details, sent in requests:
        send(app, method, path, headers=sent, **details)
    assert len(log.text.splitlines()) >= len(requests)
    assert secret.lower() not in log.text.lower()


@pytest.mark.parametrize("header", ["baggage", "tracestate"])
@pytest.mark.parametrize("value", ["S4711", "S4711=", "S4711=1,S4711=1," * 20, "S4711=\xe9"])
def test_headers_of_traces_that_cannot_be_read_are_not_logged(logged, send, header, value):
    app, log = logged("debug", tracing=Tracing(TracerProvider(shutdown_on_exit=False)))
    headers = [("traceparent", PARENT.encode()), (header, value.encode("latin-1"))]
    assert send(app, "GET", "/model", headers=headers).status_code == 200
    assert [line["event"] for line in log.lines] == ["request"]


def test_messages_of_the_export_of_traces_are_logged(log):
    for name in ("opentelemetry.sdk.trace.export", "opentelemetry.exporter.otlp.proto.http.trace_exporter"):
        logging.getLogger(name).warning("Queue full, dropping %s.", "Span")
    logging.getLogger("opentelemetry.propagate").error("Propagator %s not found", "b4")
    assert [line["event"] for line in log.lines] == ["Queue full, dropping Span."] * 2 + ["Propagator b4 not found"]


def test_instants_are_shown_to_the_millisecond():
    for instant in (0.0, 1.9999, 1.5, 1700000000.001, 1700000000.9999, 1700000001.0):
        shown = datetime.fromisoformat(shown_instant(instant))
        assert timedelta() <= datetime.fromtimestamp(instant, UTC) - shown < timedelta(milliseconds=1.001)


def test_every_field_is_documented(logged, send):
    app, log = logged()
    send(app, "GET", "/model")
    document = (Path(__file__).parents[5] / "docs" / "logs.md").read_text(encoding="utf-8")
    documented = {name for line in document.splitlines() for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    assert set(log.lines[0]) - {"event"} <= documented
    assert list(json.loads(document.split("```json\n")[1].split("```")[0])) == list(log.lines[0])

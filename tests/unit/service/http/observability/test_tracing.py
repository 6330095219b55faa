"""Traces: a server span for each request and the steps within it, and nothing of what callers send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode

from vaegis.service.http.observability.tracing import Tracing
from vaegis.service.http.observability.tracing_setup import configured_tracing

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@dataclass(frozen=True)
class Traced:
    """An app, and the spans that it exported."""

    app: object
    exporter: InMemorySpanExporter

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def server(self):
        (span,) = (span for span in self.spans if span.kind is SpanKind.SERVER)
        return span


@pytest.fixture
def traced(new_app) -> Callable[..., Traced]:
    def make(sampler: Sampler | None = None, **details) -> Traced:
        exporter = InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        return Traced(new_app(tracing=Tracing(provider), **details), exporter)

    return make


def test_a_request_is_a_server_span_with_the_attributes_of_the_conventions(traced, send, record):
    made = traced()
    response = send(made.app, "POST", "/score?alpha=0.2", json=[record, record | {"amount": 1e9}])
    span = made.server
    assert span.name == "POST /score"
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/score",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "server.address": "localhost",
        "url.path": "/score",
        "url.scheme": "http",
        "vaegis.records": 2,
        "vaegis.flagged": 1,
        "vaegis.request_id": response.headers["x-request-id"],
    }
    assert span.status.status_code is StatusCode.UNSET


def test_decoding_and_inference_are_steps_within_it(traced, send, record):
    made = traced()
    send(made.app, "POST", "/score", json=record)
    *steps, server = sorted(made.spans, key=lambda span: span.end_time)
    assert [step.name for step in steps] == ["decode", "infer"]
    for step in steps:
        assert step.parent.span_id == server.context.span_id
        assert server.start_time <= step.start_time <= step.end_time <= server.end_time


def test_the_caller_s_trace_goes_on(traced, send):
    made = traced()
    send(made.app, "GET", "/model", headers={"traceparent": PARENT, "tracestate": "a=1"})
    assert f"{made.server.context.trace_id:032x}" == TRACE
    assert f"{made.server.parent.span_id:016x}" == SPAN
    assert made.server.context.trace_state.to_header() == "a=1"


@pytest.mark.parametrize("headers", [[], [("traceparent", PARENT)] * 2, [("traceparent", f"00-{TRACE}")]])
def test_without_a_valid_one_a_new_trace_begins(traced, send, headers):
    made = traced()
    send(made.app, "GET", "/model", headers=headers)
    assert made.server.parent is None
    assert f"{made.server.context.trace_id:032x}" != TRACE


def test_a_step_that_fails_shows_the_kind_of_the_fault_alone(traced, send):
    made = traced()
    send(made.app, "POST", "/score", json={"amount": "no. 4711"})
    (step,) = (span for span in made.spans if span.name == "decode")
    assert (step.attributes["error.type"], step.status.status_code) == ("RecordError", StatusCode.ERROR)
    assert made.server.attributes["http.response.status_code"] == 422
    assert made.server.status.status_code is StatusCode.UNSET  # the fault is the caller's


def test_a_fault_of_ours_is_an_error_of_the_span(traced, send):
    def fail() -> None:
        raise ValueError("4711")

    made = traced()
    made.app.framework.add_api_route("/model", fail, methods=["DELETE"])
    send(made.app, "DELETE", "/model")
    assert (made.server.attributes["error.type"], made.server.status.status_code) == ("ValueError", StatusCode.ERROR)
    assert "4711" not in made.server.to_json()


def test_nothing_that_a_caller_sends_is_in_a_span(traced, send, record):
    made = traced()
    headers = {"authorization": "Bearer S4711", "cookie": "S4711", "user-agent": "S4711", "x-request-id": "S4711 "}
    send(made.app, "POST", "/score?S4711=S4711", json=record | {"country": "S4711"}, headers=headers)
    send(made.app, "POST", "/score", json=record | {"S4711": "S4711"}, headers=headers)
    send(made.app, "GET", "/S4711", headers=headers)
    send(made.app, "S4711", "/v2/models/S4711", headers=headers)
    shown = json.dumps([json.loads(span.to_json()) for span in made.spans])
    assert len(made.spans) > 4
    assert "S4711" not in shown
    assert {span.name for span in made.spans if span.kind is SpanKind.SERVER} == {
        *("POST /score", "GET", "HTTP /v2/models/{model}")
    }


def test_probes_and_scrapes_leave_no_span(traced, send):
    made = traced()
    for path in ("/livez", "/readyz", "/metrics"):
        assert send(made.app, "GET", path).status_code == 200
    assert made.spans == ()


def test_a_trace_that_is_not_sampled_is_not_exported_and_still_named_in_the_log(traced, send, record, log):
    made = traced(sampler=ALWAYS_OFF, writer=log.writer)
    send(made.app, "POST", "/score", json=record, headers={"traceparent": PARENT})
    assert made.spans == ()
    assert log.lines[0]["trace_id"] == TRACE


def test_the_log_names_the_span(traced, send, log):
    made = traced(writer=log.writer)
    send(made.app, "GET", "/model")
    (line,), context = log.lines, made.server.context
    assert (line["trace_id"], line["span_id"]) == (f"{context.trace_id:032x}", f"{context.span_id:016x}")


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318"},
    ],
)
def test_traces_that_are_not_asked_for_are_not_exported(environment, caplog):
    assert configured_tracing(environment) is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: expected none or one of otlp, console"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: expected http/protobuf",
        ),
    ],
)
def test_what_is_not_supported_is_reported_and_does_not_stop_the_service(environment, reason, caplog):
    assert configured_tracing(environment) is None
    (entry,) = caplog.records
    assert entry.fields["reason"].startswith(reason)


def run(program: str, *arguments: str, **variables: str) -> str:
    """Return what a program prints in an interpreter of its own, with no other OTEL variables than these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=kept | variables)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_nothing_of_the_extra_is_loaded_unless_traces_are_asked_for():
    program = (
        "import sys, vaegis.service.http.app, vaegis.service.commands.serve\n"
        "from vaegis.service.http.observability.tracing_setup import configured_tracing\n"
        "assert configured_tracing({}) is None\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])\n"
    )
    assert run(program).strip() == "[]"


def test_without_the_extra_the_service_says_so_and_goes_on():
    program = (
        "import sys\n"
        "sys.modules['opentelemetry.sdk'] = None\n"  # what an import of a package that is not there ends in
        "import vaegis.service.http.app\n"
        "from vaegis.service.http.observability.logs import configure_logs\n"
        "from vaegis.service.http.observability.tracing_setup import configured_tracing\n"
        "writer = configure_logs('info')\n"
        "assert configured_tracing({'OTEL_TRACES_EXPORTER': 'otlp'}) is None\n"
        "writer.close()\n"
    )
    assert json.loads(run(program))["reason"].startswith("the extra otel is not installed")


@contextmanager
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Receive what is exported by OTLP over HTTP."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            received.append(request)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_spans_arrive_at_the_collector_that_the_standard_variables_name(golden_model):
    program = (
        "import asyncio, os, sys, httpx\n"
        "from pathlib import Path\n"
        "from vaegis.service.artifact import load_artifact\n"
        "from vaegis.service.http.app import create_app\n"
        "from vaegis.service.http.observability.tracing_setup import configured_tracing\n"
        "from vaegis.service.settings import load_settings\n"
        "artifact = load_artifact(Path(sys.argv[1]))\n"
        "app = create_app(artifact, load_settings({}, {}), begin_span=configured_tracing(os.environ).begin)\n"
        "async def main():\n"
        "    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url='http://localhost') as client:\n"
        "        assert (await client.get('/model')).status_code == 200\n"
        "asyncio.run(main())\n"
    )
    with collector() as (url, received):
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=t"}
        run(program, str(golden_model), **variables)
    (exported,) = (resource for request in received for resource in request.resource_spans)
    attributes = {item.key: item.value.string_value for item in exported.resource.attributes}
    assert attributes["service.name"] == "vaegis"
    assert attributes["deployment.environment.name"] == "t"
    assert [span.name for scope in exported.scope_spans for span in scope.spans] == ["GET /model"]

"""Errors as problem documents: each documented type is provoked, and nothing else can occur."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import httpx
import pytest

from vaegis.service.auth.keys import digest_of
from vaegis.service.errors import ServiceError
from vaegis.service.http.app import create_app
from vaegis.service.http.models.registry import ServedAs
from vaegis.service.http.problems import PROBLEMS, TYPE_PREFIX, ProblemDocument
from vaegis.service.settings import load_settings

DOCUMENT = Path(__file__).parents[4] / "docs" / "errors.md"


def documented() -> set[tuple[int, str, str]]:
    table = DOCUMENT.read_text(encoding="utf-8").partition("## Types")[2].partition("## Codes")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return {(int(status), kind.strip("`"), title) for status, kind, title, _ in rows[2:]}


def of(problem: dict[str, object]) -> tuple[object, object, object]:
    return problem["status"], problem["type"], problem["title"]


async def exchange(app, body, **details):
    """Post a body that is an asynchronous generator."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    declared = {"content-type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=declared) as client:
        return await client.post("/score", content=body, **details)


def incomplete(app):
    """Let a client go away in the middle of its body."""
    sent = []
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive():
        return next(messages)

    async def keep(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b""}
    scope["headers"] = [(b"content-type", b"application/json")]
    asyncio.run(app(scope, receive, keep))
    return json.loads(sent[1]["body"])


def crowded(app):
    """Send two requests at once."""

    async def scenario():
        return await asyncio.gather(exchange(app, b'{"amount": 1}'), exchange(app, b'{"amount": 1}'))

    return asyncio.run(scenario())


def by_bytes(service, data):
    """Return the problem that answers bytes which do not become a request."""
    return json.loads(service.answer(data).partition(b"\r\n\r\n")[2])


def provoked(new_app, send, artifact, serving, folder):
    """Yield one problem of each type."""
    app = new_app(max_records=1, max_body_bytes=1024, max_values=100)
    unverified = create_app(artifact, load_settings({}, {}))
    guarded = new_app(keys=f"a metrics sha256:{digest_of(b'1').hex()}")
    with_versions = create_app(artifact, load_settings({}, {}), served_as=ServedAs("orders", "1", folder))
    with_versions.readiness.admit(artifact.verify())
    broken = new_app()
    broken.framework.add_api_route("/model", lambda: 1 / 0, methods=["DELETE"])
    yield send(app, "GET", "/nowhere").json()
    yield send(app, "GET", "/score").json()
    yield send(broken, "DELETE", "/model").json()
    yield send(guarded, "GET", "/model").json()
    yield send(guarded, "GET", "/model", headers={"authorization": "Bearer 2"}).json()
    yield send(guarded, "GET", "/model", headers={"authorization": "Bearer 1"}).json()
    yield send(app, "GET", "/model", headers={"host": "attacker.example"}).json()
    yield send(app, "GET", "/model", headers={"sec-fetch-site": "cross-site"}).json()
    yield send(new_app(open=True), "POST", "/models/orders/rollback").json()
    yield send(app, "POST", "/models/orders/rollback").json()
    yield send(with_versions, "POST", "/models/orders/promote", json={"version": "1", "gate": "records>0"}).json()
    yield send(unverified, "GET", "/readyz").json()
    yield send(app, "POST", "/score", content=b"{").json()
    yield send(app, "POST", "/score", content=b"{}", headers={"content-type": "text/html"}).json()
    yield send(app, "POST", "/score", content=b"{}", headers={"accept": "text/html"}).json()
    piecemeal = new_app(max_document_bytes=1024, max_bytes_in_flight=1024, inline_body_bytes=0)
    csv = {"content-type": "text/csv"}
    yield send(piecemeal, "POST", "/score", content=b"x" * 1025, headers=csv).json()
    yield send(piecemeal, "POST", "/score", content=b"amount\n" + b"1\n" * 100, headers=csv).json()
    yield send(app, "POST", "/score", content=b" " * 1025).json()
    yield send(app, "POST", "/score", json=[{}, {}]).json()
    yield send(app, "POST", "/score", json=[{}] * 51).json()
    yield send(app, "POST", "/score", json=[]).json()
    yield send(app, "POST", "/score", json={"amount": "x"}).json()
    yield send(app, "POST", "/score?alpha=1e-9", json={"amount": 1}).json()
    yield send(app, "POST", "/score?explain=some", json={"amount": 1}).json()
    yield incomplete(app)
    yield crowded(new_app(max_requests_in_flight=1))[1].json()
    limited = new_app(rate_records_per_s=0.001)
    yield [send(limited, "POST", "/score", json={"amount": 1}).json() for _ in range(2)][1]
    hurried = new_app(request_timeout_s=0.001, inline_body_bytes=0)
    yield send(hurried, "POST", "/score", json=[{"amount": 1}] * 5000).json()
    service = serving(app, header_timeout_s=0.05, body_timeout_s=0.05, max_header_bytes=1024)
    yield by_bytes(
        service,
        b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n",
    )
    yield by_bytes(service, b"GET / HTTP/1.1\r\n\r\n")
    yield by_bytes(service, b"GET / HTTP/1.1\r\nX: " + b"a" * 1024)
    yield by_bytes(service, b"GET / HTTP/1.1\r\n")


def test_each_documented_type_is_provoked_and_each_provoked_one_documented(
    new_app, send, artifact, serving, golden_model, tmp_path
):
    (tmp_path / "orders").mkdir()
    (tmp_path / "orders" / "1.onnx").symlink_to(golden_model)
    problems = list(provoked(new_app, send, artifact, serving, tmp_path))
    assert {of(problem) for problem in problems} == documented()
    for problem in problems:
        ProblemDocument.model_validate_json(json.dumps(problem))


def test_the_table_of_problems_is_the_documented_one():
    in_table = {(problem.status, TYPE_PREFIX + problem.name, problem.title) for problem in PROBLEMS.values()}
    plain = {(404, "about:blank", "Not Found"), (405, "about:blank", "Method Not Allowed")}
    assert in_table | plain | {(500, "about:blank", "Internal Server Error")} == documented()


def test_a_refused_method_comes_with_the_allowed_ones(new_app, send):
    response = send(new_app(), "DELETE", "/score")
    assert response.headers["allow"] == "POST"
    assert response.headers["content-type"] == "application/problem+json"
    assert send(new_app(), "POST", "/model").headers["allow"] == "GET, HEAD"


def test_a_full_service_refuses_at_once_and_finishes_what_it_holds(new_app):
    first, refused = crowded(new_app(max_requests_in_flight=1))
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert first.status_code == 200


def test_a_slot_is_free_again_after_an_error(new_app, send):
    app = new_app(max_requests_in_flight=1)
    assert [send(app, "POST", "/score", content=b"{").status_code for _ in range(3)] == [400, 400, 400]


def test_a_body_over_the_limit_closes_the_connection(new_app, send):
    app = new_app(max_body_bytes=1024)
    by_length = send(app, "POST", "/score", content=b" " * 1025)
    assert (by_length.status_code, by_length.headers["connection"]) == (413, "close")

    async def endless():
        while True:
            yield b" " * 512

    by_count = asyncio.run(exchange(app, endless()))
    assert (by_count.status_code, by_count.headers["connection"]) == (413, "close")


def test_a_body_of_exactly_the_limit_is_read(new_app, send):
    body = b'{"amount": 1}'.ljust(1024)
    assert send(new_app(max_body_bytes=1024), "POST", "/score", content=body).status_code == 200


def test_an_unexpected_error_shows_the_client_its_kind_and_the_log_its_place_but_neither_its_text(
    new_app, send, caplog
):
    def fail() -> None:
        raise ValueError("4711")

    app = new_app()
    app.framework.add_api_route("/model", fail, methods=["DELETE"])
    logger = logging.getLogger("vaegis.http")
    logger.addHandler(caplog.handler)
    response = send(app, "DELETE", "/model")
    logger.removeHandler(caplog.handler)
    assert response.json()["detail"] == "internal error (ValueError); see the log of the service"
    assert "4711" not in response.text
    assert any(entry.exc_info for entry in caplog.records)


def test_an_error_of_the_service_without_a_row_in_the_table_is_a_fault_of_ours(new_app, send):
    def fail() -> None:
        raise ServiceError("nobody expects this")

    app = new_app()
    app.framework.add_api_route("/model", fail, methods=["DELETE"])
    assert of(send(app, "DELETE", "/model").json()) == (500, "about:blank", "Internal Server Error")


@pytest.mark.parametrize("path", ["/score/", "/page/", "/model/"])
def test_a_path_that_is_not_listed_is_unknown(new_app, send, path):
    assert send(new_app(), "GET", path).status_code == 404

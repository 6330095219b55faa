"""Who may call: a valid key that allows the route, and nothing told to whoever has none."""

from __future__ import annotations

import gzip
import json

import pytest

from vaegis.service.auth.keys import Access, digest_of
from vaegis.service.http.routes import route_of

SECRETS = {"both": "vaegis_both", **{access.value: f"vaegis_{access.value}" for access in Access}}
KEYS = "; ".join(
    f"{name} {'score,model' if name == 'both' else name} sha256:{digest_of(secret.encode()).hex()}"
    for name, secret in SECRETS.items()
)
REQUESTS = {
    "/score": ("POST", Access.SCORE),
    "/generate": ("POST", Access.SCORE),
    "/drill": ("POST", Access.SCORE),
    "/model": ("GET", Access.MODEL),
    "/model/schema": ("GET", Access.MODEL),
    "/models": ("GET", Access.MODEL),
    "/models/orders/score": ("POST", Access.SCORE),
    "/openapi.json": ("GET", Access.MODEL),
    "/metrics": ("GET", Access.METRICS),
}


V2 = {
    "/v2": ("GET", Access.MODEL),
    "/v2/models/{model}": ("GET", Access.MODEL),
    "/v2/models/{model}/infer": ("POST", Access.SCORE),
    "/v2/models/{model}/ready": ("GET", Access.MODEL),
}


@pytest.fixture
def guarded(new_app):
    return new_app(keys=KEYS)


@pytest.fixture
def call(guarded, send, record):
    """Call a route of a guarded app, with one of the keys or another Authorization header."""

    def request(path: str, key: str | None = None, method: str | None = None, **details):
        method = REQUESTS[path][0] if method is None else method
        if method == "POST" and not details:
            details = {"json": {"/generate": {"count": 1}, "/drill": {}}.get(path, record)}
        headers = {} if key is None else {"authorization": SECRETS.get(key, key)}
        if key in SECRETS:
            headers["authorization"] = f"Bearer {headers['authorization']}"
        return send(guarded, method, path, headers=headers, **details)

    return request


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("key", SECRETS)
def test_a_key_reaches_the_routes_of_its_scopes_and_no_other(call, path, key):
    response = call(path, key)
    needed = REQUESTS[path][1]
    if needed == key or (key == "both" and needed in (Access.SCORE, Access.MODEL)):
        assert response.status_code == 200
        return
    assert response.status_code == 403
    assert response.json()["type"] == "urn:vaegis:problem:missing-scope"
    assert response.headers["www-authenticate"] == (
        f'Bearer realm="vaegis", error="insufficient_scope", scope="{needed}"'
    )
    assert key not in response.json()["detail"].replace(needed, "")


@pytest.mark.parametrize("path", [*REQUESTS, "/nowhere"])
@pytest.mark.parametrize(
    ("authorization", "kind", "challenge"),
    [
        (None, "key-required", 'Bearer realm="vaegis"'),
        ("", "key-required", 'Bearer realm="vaegis"'),
        ("Basic dXNlcjpwYXNz", "key-required", 'Bearer realm="vaegis"'),
        (SECRETS["both"], "key-required", 'Bearer realm="vaegis"'),
        ("Bearer ", "unknown-key", 'Bearer realm="vaegis", error="invalid_token"'),
        ("Bearer vaegis_other", "unknown-key", 'Bearer realm="vaegis", error="invalid_token"'),
        (f"Bearer {SECRETS['both']}x", "unknown-key", 'Bearer realm="vaegis", error="invalid_token"'),
        (f"Bearer {'x' * 5000}", "unknown-key", 'Bearer realm="vaegis", error="invalid_token"'),
    ],
)
def test_without_a_valid_key_everything_is_401_and_says_how_to_do_better(call, path, authorization, kind, challenge):
    response = call(path, authorization, method=REQUESTS.get(path, ("GET",))[0])
    assert (response.status_code, response.headers["www-authenticate"]) == (401, challenge)
    assert response.json()["type"] == f"urn:vaegis:problem:{kind}"
    assert response.headers["connection"] == "close"


def test_two_keys_in_one_request_are_none(guarded, send):
    pair = [("authorization", f"Bearer {SECRETS['both']}")] * 2
    assert send(guarded, "GET", "/model", headers=pair).status_code == 401


@pytest.fixture
def targets(new_app, send, artifact):
    """The method and the path of every route."""
    paths = send(new_app(), "GET", "/openapi.json").json()["paths"]
    names = {"model": "orders", "version": artifact.digest[:12]}
    listed = [(method.upper(), path.format(**names)) for path, methods in paths.items() for method in methods]
    return [*listed, ("GET", "/openapi.json")]


@pytest.mark.parametrize("settings", [{"keys": KEYS}, {"rate_records_per_s": 0.001, "rate_burst_s": 3600}])
@pytest.mark.parametrize("end", ["%0A", "%0D", "%20"])
def test_no_route_is_reached_by_what_only_looks_like_its_path(new_app, send, targets, record, settings, end):
    app = new_app(**settings)
    reached = {}
    for method, path in targets:
        needs = route_of(path).scopes
        body = {"count": 1} if path == "/generate" else record
        for access in sorted(set(Access) - needs) if "keys" in settings and needs else [Access.SCORE]:
            headers = {"authorization": f"Bearer {SECRETS[access]}"}
            response = send(app, method, path + end, headers=headers, json=body if method == "POST" else None)
            reached[method, path, access] = response.status_code
    assert len(reached) > 15
    assert set(reached.values()) <= {403, 404}, reached


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_in_any_case(call, scheme):
    assert call("/model", f"{scheme} {SECRETS['both']}").status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
@pytest.mark.parametrize("authorization", [None, "Bearer vaegis_other"])
def test_probes_need_no_key(call, path, authorization):
    assert call(path, authorization, method="GET").status_code == 200


def test_whoever_has_a_key_may_learn_that_a_path_does_not_exist(call):
    assert call("/nowhere", "metrics", method="GET").status_code == 404


def test_the_method_makes_no_difference(call):
    assert call("/score", None, method="GET").status_code == 401
    assert call("/score", "model", method="GET").status_code == 403
    assert call("/score", "score", method="GET").status_code == 405


def test_without_keys_everyone_may_call(new_app, send):
    assert send(new_app(), "GET", "/model").status_code == 200


def test_keys_can_stand_in_a_file_and_a_reload_is_counted(new_app, send, tmp_path, monkeypatch):
    monkeypatch.setattr("vaegis.service.reloaded_files.CHECK_INTERVAL_S", 0.0)
    file = tmp_path / "keys.txt"
    file.write_text(KEYS.replace(";", "\n"))
    app = new_app(keys_file=str(file))
    headers = {"authorization": f"Bearer {SECRETS['both']}"}
    assert send(app, "GET", "/model", headers=headers).status_code == 200
    file.write_text("")
    assert send(app, "GET", "/model", headers=headers).status_code == 200
    file.write_text(KEYS.split(";")[1])
    assert send(app, "GET", "/model", headers=headers).status_code == 401
    reloads = app.metrics.registry.get_sample_value
    assert reloads("vaegis_key_reloads_total", {"outcome": "failed"}) == 1
    assert reloads("vaegis_key_reloads_total", {"outcome": "succeeded"}) == 1


def test_a_refused_request_is_counted_by_its_route(guarded, call):
    call("/score")
    call("/nowhere", method="GET")
    counted = guarded.metrics.registry.get_sample_value
    assert counted("vaegis_requests_total", {"method": "POST", "route": "/score", "status": "401"}) == 1
    assert counted("vaegis_requests_total", {"method": "GET", "route": "_OTHER", "status": "401"}) == 1


def test_a_key_over_its_rate_is_refused_until_there_is_room(new_app, send, record):
    app = new_app(keys=KEYS.replace("; model", " 1; model"), rate_burst_s=10, rate_records_per_s=1000)
    headers = {"authorization": f"Bearer {SECRETS['score']}"}
    assert send(app, "POST", "/score", json=[record] * 10, headers=headers).status_code == 200
    over = send(app, "POST", "/score", json=[record] * 3, headers=headers)
    assert over.status_code == 429
    assert over.json()["type"] == "urn:vaegis:problem:rate-limited"
    assert over.headers["retry-after"] == "1"  # that of one record, for the body was not read
    assert send(app, "POST", "/generate", json={"count": 1}, headers=headers).status_code == 429
    both = {"authorization": f"Bearer {SECRETS['both']}"}
    assert send(app, "POST", "/score", json=[record] * 3, headers=both).status_code == 200
    assert send(app, "GET", "/model", headers=both).status_code == 200


def test_a_request_is_charged_by_its_records_and_only_if_it_is_let_in(new_app, send, record):
    app = new_app(rate_records_per_s=0.001, rate_burst_s=3600)  # 3.6 records
    assert send(app, "POST", "/score", json=[record] * 2).status_code == 200
    over = send(app, "POST", "/score", json=[record] * 2)
    assert (over.status_code, over.headers["retry-after"]) == (429, "400")
    assert send(app, "POST", "/score", json=[record, 5]).status_code == 422
    assert send(app, "POST", "/generate", json={"count": 1}).status_code == 200
    assert send(app, "POST", "/score", json=record).status_code == 429


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/score", "application/json"), ("/score", "text/csv"), ("/v2/models/orders/infer", "application/json")],
)
def test_what_a_refused_body_was_unpacked_to_is_charged(new_app, send, record, path, media_type):
    app = new_app(rate_records_per_s=0.01, rate_burst_s=3200, max_body_bytes=2**20)  # 32 records, for 512 KiB
    headers = {"content-type": media_type, "content-encoding": "gzip"}
    small = gzip.compress(b"\n" * 2**18)
    assert send(app, "POST", path, content=small, headers=headers).status_code == 400
    assert send(app, "POST", "/score", json=[record] * 8).status_code == 200
    assert send(app, "POST", path, content=gzip.compress(b"\n" * 2**22), headers=headers).status_code == 413
    assert send(app, "POST", "/score", json=record).status_code == 429


def test_what_records_were_unpacked_from_is_not_charged_beside_them(new_app, send, record):
    app = new_app(rate_records_per_s=0.01, rate_burst_s=1000)  # 10 records
    body = gzip.compress(json.dumps([record] * 9).encode() + b" " * 2**16)
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert send(app, "POST", "/score", content=body, headers=headers).status_code == 200
    assert send(app, "POST", "/score", json=record).status_code == 200


@pytest.mark.parametrize("path", [*V2, "/v2/models/{model}/versions/1", "/v2/models/{model}/versions/1/infer"])
def test_the_other_protocol_asks_for_the_same_keys_in_its_own_form(call, path):
    method, needed = V2.get(path, V2["/v2/models/{model}/infer" if path.endswith("infer") else "/v2/models/{model}"])
    place = path.format(model="orders")
    refused = call(place, method=method, json={})
    assert (refused.status_code, list(refused.json())) == (401, ["error"])
    assert call(place, "metrics", method=method, json={}).status_code == 403
    assert call(place, needed.value, method=method, json={}).status_code in (200, 400, 404)
    assert call("/v2/health/ready", method="GET").status_code == 200


def test_openapi_says_which_key_each_route_needs(call, new_app, send):
    document = call("/openapi.json", "model").json()
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            needs = sorted(route_of(path).scopes)
            assert operation.get("security", []) == [{"key": [scope]} for scope in needs]
            assert {"401", "403"}.isdisjoint(operation["responses"]) is (not needs)
    without = send(new_app(), "GET", "/openapi.json").json()
    assert "securitySchemes" not in without["components"]
    assert all("401" not in item["responses"] for path in without["paths"].values() for item in path.values())

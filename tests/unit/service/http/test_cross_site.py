"""What a web page of another site has a browser send is refused where no key is asked for, and nothing else is."""

from __future__ import annotations

import json

import pytest

from vaegis.service.auth.keys import digest_of
from vaegis.service.errors import SettingsError
from vaegis.service.http.cross_site import parse_hosts, parse_origins

PATHS = {"/score": "score", "/generate": "generate", "/v2/models/orders/infer": "infer"}
BODIES = {
    "score": {"amount": 22.5},
    "generate": {"count": 2, "seed": 1},
    "infer": {"inputs": [{"name": "amount", "datatype": "FP64", "shape": [1], "data": [1.5]}]},
}
READ = ["/model", "/model/schema", "/openapi.json", "/v2", "/v2/models/orders", "/v2/models/orders/ready", "/metrics"]
KEY = "vaegis_key"
KEYS = f"pipeline score,model,metrics sha256:{digest_of(KEY.encode()).hex()}"
AUTHORIZED = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def call(new_app, send):
    """Call a route of a fresh app; return the status and the kind of problem."""

    def request(path: str, headers: dict[str, str], **settings):
        method = "POST" if path in PATHS else "GET"
        details = {"json": BODIES[PATHS[path]]} if path in PATHS else {}
        response = send(new_app(**settings), method, path, headers=headers, **details)
        answer = response.json() if "json" in response.headers["content-type"] else {}
        return response.status_code, str(answer.get("type", answer.get("error", ""))).rpartition(":")[2]

    return request


@pytest.mark.parametrize("path", [*PATHS, *READ, "/nowhere"])
def test_a_name_that_was_made_to_lead_here_reaches_nothing(call, path):
    name = "attacker.example:8080"
    assert call(path, {"host": name, "origin": f"http://{name}", "sec-fetch-site": "same-origin"})[0] == 403


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1", "localhost.:8080", "127.0.0.1", "127.9.9.9:8080", "[::1]", "[::1]:8080"],
)
def test_the_machine_s_own_names_reach_everything(call, host):
    assert call("/score", {"host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["", "x", "0.0.0.0:8080", "localhost.example", "127.0.0.1.example", "128.0.0.1", "[::2]", "a@localhost"]
)
def test_no_other_name_does(call, host):
    assert call("/score", {"host": host}) == (403, "unknown-host")


@pytest.mark.parametrize("path", [*PATHS, *READ])
@pytest.mark.parametrize("origin", ["http://127.0.0.1:9999", "http://localhost:9999", "http://[::1]:8080"])
def test_a_page_of_another_port_of_this_machine_reaches_nothing(call, path, origin):
    host = {"host": "127.0.0.1:8080", "origin": origin}
    assert call(path, host)[0] == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("origin", ["https://attacker.example", "http://127.0.0.1:8080"]),
        ("sec-fetch-site", ["cross-site", "same-origin"]),
        ("content-type", ["text/plain", "application/json"]),
    ],
)
def test_headers_with_two_values_are_refused_in_any_order(new_app, send, path, name, values):
    for order in (values, values[::-1]):
        headers = [("host", "127.0.0.1:8080"), *((name, value) for value in order)]
        response = send(new_app(), "POST", path, headers=headers, content=json.dumps(BODIES[PATHS[path]]))
        assert response.status_code == (415 if name == "content-type" else 403)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("blank", [";", " ; charset=utf-8", ";;"])
def test_a_content_type_without_a_type_is_refused(call, path, blank):
    assert call(path, {"content-type": blank})[0] == 415


def test_probes_are_answered_by_any_name(call):
    for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert call(path, {"host": "10.1.2.3", "sec-fetch-site": "cross-site"})[0] == 200


def test_the_address_that_is_listened_on_and_the_hosts_that_are_set_are_known(call):
    assert call("/score", {"host": "box.example:80"}, host="box.example")[0] == 200
    assert call("/score", {"host": "scores.example"}, allowed_hosts="Scores.example, 10.0.0.5")[0] == 200
    assert call("/score", {"host": "10.0.0.5"}, allowed_hosts="Scores.example, 10.0.0.5")[0] == 200
    assert call("/score", {"host": "localhost"}, allowed_hosts="scores.example")[0] == 200


@pytest.mark.parametrize("settings", [{"open": True}, {"keys": KEYS}])
def test_an_open_service_or_one_with_keys_has_any_name_unless_hosts_are_set(call, settings):
    assert call("/score", {"host": "vaegis:8080"} | AUTHORIZED, host="0.0.0.0", **settings)[0] == 200
    settings["allowed_hosts"] = "scores.example"
    assert call("/score", {"host": "scores.example"} | AUTHORIZED, host="0.0.0.0", **settings)[0] == 200
    assert call("/score", {"host": "vaegis:8080"} | AUTHORIZED, host="0.0.0.0", **settings) == (403, "unknown-host")


@pytest.mark.parametrize("path", [*PATHS, *READ])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://attacker.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost"},
    ],
)
@pytest.mark.parametrize("settings", [{}, {"open": True}])
def test_a_page_of_another_site_reaches_nothing(call, path, headers, settings):
    assert call(path, {"host": "localhost"} | headers, **settings)[0] == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://localhost"},
        {"sec-fetch-site": "same-origin", "origin": "https://behind.a.proxy"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_page_of_the_service_s_own_site_reaches_it(call, headers):
    assert call("/score", {"host": "localhost"} | headers)[0] == 200


def test_a_page_of_an_allowed_host_reaches_it(call):
    headers = {"host": "localhost", "origin": "https://scores.example"}
    assert call("/score", headers, allowed_hosts="scores.example")[0] == 200


def test_a_link_from_another_site_may_be_followed_but_not_posted_to(call):
    headers = {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert call("/metrics", headers)[0] == 200
    assert call("/score", headers) == (403, "cross-site")


@pytest.mark.parametrize("settings", [{}, {"open": True}])
@pytest.mark.parametrize("path", PATHS)
def test_a_body_without_a_content_type_is_refused_with_what_to_send(new_app, send, path, settings):
    response = send(new_app(**settings), "POST", path, content=b"{}", headers={"content-type": ""})
    assert response.status_code == 415
    assert "Content-Type: expected one, such as application/json, got none" in response.text


@pytest.mark.parametrize("declared", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
@pytest.mark.parametrize("path", PATHS)
def test_no_type_that_a_browser_sends_across_sites_without_asking_is_read(new_app, send, path, declared):
    assert send(new_app(), "POST", path, content=b"{}", headers={"content-type": declared}).status_code == 415


def test_the_header_of_a_client_of_triton_stands_for_its_content_type(new_app, send):
    body = b'{"inputs": [{"name": "amount", "datatype": "FP64", "shape": [1], "data": [1.5]}]}'
    headers = {"content-type": "", "inference-header-content-length": str(len(body))}
    assert send(new_app(), "POST", "/v2/models/orders/infer", content=body, headers=headers).status_code == 200


def test_with_keys_a_body_needs_no_content_type_and_origins_are_not_looked_at(new_app, send):
    headers = {"content-type": "", "origin": "https://elsewhere.example"} | AUTHORIZED
    assert send(new_app(keys=KEYS), "POST", "/score", content=b'{"amount": 1}', headers=headers).status_code == 200


@pytest.mark.parametrize("text", ["", "a,", "http://a", "a:80", "a b", "[::1]", "*", "a..b", "a/b"])
def test_what_is_no_host_is_no_setting(text):
    with pytest.raises(SettingsError, match="here: expected host names and addresses"):
        parse_hosts(text, "here")


ORIGIN = "https://app.example"
SITES = {"cors_origins": f"{ORIGIN}, http://localhost:3000"}
FROM_PAGE = {"host": "localhost", "origin": ORIGIN, "sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"}


@pytest.mark.parametrize("path", [*PATHS, *READ])
def test_a_page_of_an_origin_that_is_set_may_call_and_see_the_answer(new_app, send, path):
    method, details = ("POST", {"json": BODIES[PATHS[path]]}) if path in PATHS else ("GET", {})
    response = send(new_app(**SITES), method, path, headers=FROM_PAGE, **details)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("keys", [{}, {"keys": KEYS}], ids=["open", "keys"])
def test_a_browser_gets_permission_before_it_calls(new_app, send, keys):
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    response = send(new_app(**SITES, **keys), "OPTIONS", "/score", headers=FROM_PAGE | asked)
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert {"authorization", "content-type"} <= set(
        response.headers["access-control-allow-headers"].lower().split(", ")
    )
    other = send(
        new_app(**SITES, **keys), "OPTIONS", "/score", headers=FROM_PAGE | asked | {"origin": "https://x.example"}
    )
    assert "access-control-allow-origin" not in other.headers
    off = send(new_app(**keys), "OPTIONS", "/score", headers=FROM_PAGE | asked)
    assert "access-control-allow-origin" not in off.headers


@pytest.mark.parametrize("origin", ["https://x.example", "http://app.example", "https://app.example:8443", "null"])
def test_a_page_of_any_other_origin_may_not(new_app, send, origin):
    response = send(new_app(**SITES), "POST", "/score", headers=FROM_PAGE | {"origin": origin}, json=BODIES["score"])
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


def test_an_origin_that_is_set_may_not_call_by_a_name_that_was_made_to_lead_here(new_app, send):
    headers = FROM_PAGE | {"host": "attacker.example"}
    assert send(new_app(**SITES), "POST", "/score", headers=headers, json=BODIES["score"]).status_code == 403


@pytest.mark.parametrize("text", ["*", "null", "", "app.example", "https://app.example/", "https://a b", "file://x"])
def test_what_is_no_origin_is_refused(text):
    with pytest.raises(SettingsError, match="expected origins such as"):
        parse_origins(text, "VAEGIS_CORS_ORIGINS")

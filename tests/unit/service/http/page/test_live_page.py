"""The live page: its files and their headers, and the counts that it polls."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vaegis.service.auth.keys import digest_of
from vaegis.service.http.page import live_page
from vaegis.service.http.page.live_page import FILES

BAD_RECORD = {"amount": 2250, "express": None, "country": "Atlantis", "placed_at": "2023-11-22T10:00:00Z"}
MAX_BYTES = 150_000


@pytest.mark.parametrize("path", FILES)
def test_a_file_loads_only_what_comes_from_the_service(new_app, send, path):
    response = send(new_app(), "GET", path)
    assert (response.status_code, response.headers["content-type"]) == (200, FILES[path][1])
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert {policy[name] for name in ("script-src", "style-src", "connect-src", "img-src")} == {"'self'"}
    assert response.headers["x-content-type-options"] == "nosniff"
    assert set(re.findall(r"https?://[^\"' ]+", response.text)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("path", FILES)
def test_a_browser_that_has_a_file_is_not_sent_it_again(new_app, send, path):
    app = new_app()
    tag = send(app, "GET", path).headers["etag"]
    again = send(app, "GET", path, headers={"if-none-match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert send(app, "GET", path, headers={"if-none-match": '"other"'}).status_code == 200


def test_the_page_is_small_and_holds_every_file_of_its_folder():
    folder = Path(live_page.__file__).parent
    names = {name for name, _ in FILES.values()}
    assert {file.name for file in folder.iterdir() if file.is_file() and file.suffix != ".py"} == names
    assert sum((folder / name).stat().st_size for name in names) < MAX_BYTES


def test_the_page_has_neither_scripts_nor_styles_within(new_app, send):
    text = send(new_app(), "GET", "/").text
    assert re.findall(r"<script[^>]*>([^<]*)</script>", text) == [""]
    assert not re.search(r"<style| style=| on[a-z]+=", text)


def test_paths_of_the_page_are_relative_so_that_a_proxy_can_take_a_prefix_off(new_app, send):
    app = new_app()
    targets = set(re.findall(r'(?:href|src)="([^"]+)"', send(app, "GET", "/").text))
    scripts = [send(app, "GET", path).text for path in FILES if path.endswith(".js")]
    targets |= {target for script in scripts for target in re.findall(r'from "\./([^"]+)"', script)}
    assert {"page.css", "page.js", "draw.js", "versions.js", "metrics", "docs"} <= targets
    assert not any(target.startswith(("/", ".")) or ":" in target for target in targets)
    assert all(send(app, "HEAD", f"/{target}").status_code == 200 for target in targets)
    assert not any(re.findall(r"""["'`]/[a-z]""", script) for script in scripts)


def test_counts_are_those_of_the_records_scored_and_refused(new_app, send, record, artifact):
    app = new_app()
    send(app, "POST", "/score", json=[record, BAD_RECORD])
    send(app, "POST", "/score", json={"amount": "many"})
    response = send(app, "GET", "/live.json")
    counts = response.json()
    assert counts["model"]["digest"] == f"sha256:{artifact.digest}"
    assert (counts["alpha"], counts["calibration_records"]) == (0.01, artifact.contract.calibration.records)
    assert counts["records"] == {"scored": 2, "flagged": 1, "violating": 1}
    assert counts["refused"] == {"wrong_type": 1}
    assert sum(counts["signatures"].values()) == 1
    assert counts["requests"] == {"2xx": 1, "4xx": 1}
    assert counts["seconds"]["+Inf"] == 1
    assert (counts["models"], counts["allowed"]) == (["orders"], {"score": True, "model": True, "promote": False})
    assert set(counts["columns"]) == set(artifact.contract.columns.names)
    assert counts["columns"]["amount"]["violations"]["above_range"] == 1
    assert (counts["columns"]["country"]["unseen"], counts["columns"]["express"]["missing"]) == (1, 1)
    cumulative = [bin_["count"] for bin_ in counts["p_values"]]
    assert (cumulative[-1], cumulative) == (2, sorted(cumulative))
    assert response.headers["cache-control"] == "no-store"


def test_counts_are_those_of_the_model_that_is_named(new_app, send):
    app = new_app()
    assert send(app, "GET", "/live.json?model=orders").json()["model"]["model"] == "orders"
    assert send(app, "GET", "/live.json?model=other").status_code == 404


def test_the_counts_say_whether_the_page_may_show_values(new_app, send):
    shown = [
        send(new_app(**settings), "GET", "/live.json").json()["shows_values"]
        for settings in ({}, {"show_values": True})
    ]
    assert shown == [False, True]


def test_no_value_of_a_record_is_in_the_counts(new_app, send):
    app = new_app()
    send(app, "POST", "/score", json=BAD_RECORD)
    text = send(app, "GET", "/live.json").text
    assert "Atlantis" not in text
    assert "2250" not in text


def test_counts_need_a_key_for_metrics_and_the_page_itself_none(new_app, send):
    key = "vaegis_0123456789"
    app = new_app(keys=f"person metrics sha256:{digest_of(key.encode()).hex()}")
    assert send(app, "GET", "/").status_code == 200
    assert send(app, "GET", "/live.json").status_code == 401
    assert send(app, "GET", "/live.json", headers={"authorization": f"Bearer {key}"}).status_code == 200


def test_counts_are_refused_to_pages_of_other_sites(new_app, send):
    app = new_app()
    assert send(app, "GET", "/live.json", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert send(app, "GET", "/live.json", headers={"host": "rebound.example"}).status_code == 403


def test_the_page_can_be_turned_off(new_app, send):
    app = new_app(page=False)
    assert {send(app, "GET", path).status_code for path in (*FILES, "/live.json")} == {404}

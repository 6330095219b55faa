"""POST /models/{model}/promote and /rollback: the pointer file changes if the version passes and the sender may."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI

from vaegis.service.artifact import load_artifact
from vaegis.service.auth.keys import digest_of
from vaegis.service.http.app import create_app
from vaegis.service.http.models.registry import ServedAs
from vaegis.service.model_folder import live_version, promote
from vaegis.service.settings import load_settings

KEY = "vaegis_0123456789"


def keys(scopes: str) -> str:
    return f"person {scopes} sha256:{digest_of(KEY.encode()).hex()}"


@pytest.fixture
def folder(tmp_path: Path, golden_model: Path) -> Path:
    (tmp_path / "orders").mkdir()
    for version in ("1", "2"):
        (tmp_path / "orders" / f"{version}.onnx").write_bytes(golden_model.read_bytes())
    (tmp_path / "orders" / "broken.onnx").write_bytes(b"no model")
    promote(tmp_path, "orders", "1", f"sha256:{load_artifact(golden_model).digest}")
    return tmp_path


def app_over(folder: Path, **settings: object) -> FastAPI:
    artifact = load_artifact(folder / "orders" / "1.onnx")
    app = create_app(artifact, load_settings({}, settings), served_as=ServedAs("orders", "1", folder))
    app.readiness.admit(artifact.verify())
    return app


def test_a_version_is_made_live_and_the_one_before_again(folder, send):
    app = app_over(folder)
    promoted = send(app, "POST", "/models/orders/promote", json={"version": "2"})
    assert (promoted.status_code, promoted.json()["version"], promoted.json()["before"]) == (200, "2", "1")
    assert live_version(folder, "orders")[0] == "2"
    assert send(app, "GET", "/models").json()["models"][0]["before"] == "1"
    back = send(app, "POST", "/models/orders/rollback")
    assert (back.status_code, back.json()["version"], back.json()["before"]) == (200, "1", None)
    assert live_version(folder, "orders")[0] == "1"
    assert send(app, "POST", "/models/orders/rollback").status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/models/orders/promote", {"version": "broken"}, 409),
        ("/models/orders/promote", {"version": "none"}, 409),
        ("/models/orders/promote", {"version": "../orders/2"}, 409),
        ("/models/orders/promote", {"version": 2}, 422),
        ("/models/orders/promote", {}, 422),
        ("/models/returns/promote", {"version": "2"}, 404),
    ],
)
def test_what_cannot_be_promoted_is_refused_and_changes_nothing(folder, send, path, body, status):
    assert send(app_over(folder), "POST", path, json=body).status_code == status
    assert live_version(folder, "orders")[0] == "1"


@pytest.mark.parametrize(("scopes", "status"), [("admin", 200), ("score,model,metrics", 403)])
def test_with_keys_the_scope_admin_decides(folder, send, scopes, status):
    app = app_over(folder, keys=keys(scopes))
    headers = {"authorization": f"Bearer {KEY}"}
    response = send(app, "POST", "/models/orders/promote", json={"version": "2"}, headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize(
    ("settings", "headers"),
    [({"open": True}, {}), ({}, {"x-forwarded-for": "127.0.0.1"}), ({}, {"forwarded": "for=127.0.0.1"})],
)
def test_without_keys_only_this_machine_changes_versions(folder, send, settings, headers):
    app = app_over(folder, **settings)
    assert send(app, "GET", "/live.json", headers=headers).json()["allowed"]["promote"] is False
    response = send(app, "POST", "/models/orders/promote", json={"version": "2"}, headers=headers)
    assert (response.status_code, response.json()["type"]) == (403, "urn:vaegis:problem:keys-needed")
    assert send(app_over(folder), "GET", "/live.json").json()["allowed"]["promote"] is True


def test_pages_of_other_sites_cannot_change_versions(folder, send):
    headers = {"sec-fetch-site": "cross-site"}
    response = send(app_over(folder), "POST", "/models/orders/promote", json={"version": "2"}, headers=headers)
    assert response.status_code == 403


@pytest.mark.parametrize("declared", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_cannot_change_versions_even_without_an_origin(folder, send, declared):
    app, headers = app_over(folder), {"content-type": declared}
    body = b'{"version": "2"}'
    assert send(app, "POST", "/models/orders/promote", content=body, headers=headers).status_code == 415
    promote(folder, "orders", "2", f"sha256:{load_artifact(folder / 'orders' / '2.onnx').digest}")
    if declared:
        assert send(app, "POST", "/models/orders/rollback", headers=headers).status_code == 415
        assert live_version(folder, "orders")[0] == "2"


def test_a_service_of_a_single_file_has_no_versions(new_app, send):
    assert send(new_app(), "POST", "/models/orders/promote", json={"version": "2"}).status_code == 409

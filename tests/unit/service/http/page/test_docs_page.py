"""The page /docs, whose parts all come from the service."""

from __future__ import annotations

import re
import sys

import pytest

from vaegis.service.auth.keys import digest_of
from vaegis.service.http.page import docs_page

KEYS = f"pipeline score,model sha256:{digest_of(b'vaegis_key').hex()}"


@pytest.mark.parametrize("keys", [{}, {"keys": KEYS}], ids=["open", "keys"])
def test_the_page_loads_its_parts_from_the_service_only(new_app, send, keys):
    pytest.importorskip("fastapi_swagger")
    app = new_app(**keys)
    page = send(app, "GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self';" in page.headers["content-security-policy"]
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert parts == ["data:,", "./docs/swagger-ui.css", "./docs/swagger-ui-bundle.js", "./docs/start.js"]
    kinds = [send(app, "GET", part.removeprefix(".")).headers["content-type"] for part in parts[1:]]
    assert kinds == ["text/css; charset=utf-8", *["text/javascript; charset=utf-8"] * 2]
    assert b"SwaggerUIBundle" in send(app, "GET", "/docs/swagger-ui-bundle.js").content
    start = send(app, "GET", "/docs/start.js").text
    assert f"const key = {str(bool(keys)).lower()} ?" in start
    assert '"./openapi.json"' in start
    assert not re.search(r"<script>|<style>| on[a-z]+=", page.text)


def test_without_the_extra_the_page_says_how_to_install_it(new_app, send, monkeypatch):
    docs_page._asset.cache_clear()
    monkeypatch.setitem(sys.modules, "fastapi_swagger", None)
    response = send(new_app(), "GET", "/docs")
    assert response.status_code == 404
    assert "pip install 'vaegis[docs]'" in response.json()["detail"]

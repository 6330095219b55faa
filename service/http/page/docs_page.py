"""The page `/docs`: Swagger UI over the OpenAPI document, from an installed package, so that it works offline."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, Final

from fastapi import Response
from starlette.exceptions import HTTPException

from vaegis.service.http.routes import DOCS_BUNDLE, DOCS_START, DOCS_STYLE

_MISSING: Final = "this page needs the extra docs: pip install 'vaegis[docs]'; GET /openapi.json has the document"
_HEADERS: Final = {
    # Swagger UI sets styles of elements and has pictures within its style sheet; scripts come from here only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
# Paths are relative, because a proxy may take off a prefix.
_PAGE: Final = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>vaegis</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href=".{DOCS_STYLE}">
<div id="page"></div>
<script src=".{DOCS_BUNDLE}"></script>
<script src=".{DOCS_START}"></script>
"""
_SCRIPT: Final = """const key = {asks} ? prompt("API key of the scope model, kept until this page is closed") : null;
SwaggerUIBundle({{
  url: "./openapi.json",
  dom_id: "#page",
  validatorUrl: null,
  requestInterceptor: (request) => {{
    if (key && !request.headers.Authorization) request.headers.Authorization = `Bearer ${{key}}`;
    return request;
  }},
}});
"""


def docs_endpoints(*, has_keys: bool) -> dict[str, Callable[..., Any]]:
    """Return the endpoints of the page, by template. With keys, the page asks for the one that it reads with."""

    def docs() -> Response:
        _asset("swagger-ui.css")
        return _response(_PAGE, "text/html")

    def docs_bundle() -> Response:
        return _response(_asset("swagger-ui-bundle.js"), "text/javascript")

    def docs_style() -> Response:
        return _response(_asset("swagger-ui.css"), "text/css")

    def docs_start() -> Response:
        return _response(_SCRIPT.format(asks=str(has_keys).lower()), "text/javascript")

    return {"/docs": docs, DOCS_BUNDLE: docs_bundle, DOCS_STYLE: docs_style, DOCS_START: docs_start}


def _response(content: str | bytes, media_type: str) -> Response:
    return Response(content, headers=_HEADERS, media_type=media_type)


@cache
def _asset(name: str) -> bytes:
    try:
        return (resources.files("fastapi_swagger") / "resources" / name).read_bytes()
    except ModuleNotFoundError:
        raise HTTPException(404, _MISSING) from None

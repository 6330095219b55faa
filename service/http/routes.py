"""The table of routes: the template by which logs and metrics name each, and the scopes that a key needs for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vaegis.service.auth.keys import Access

OTHER: Final = "_OTHER"
"""What unknown paths and unknown methods are called in labels and in the log: those sets are bounded."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})


class Tag(StrEnum):
    """What OpenAPI groups operations by: the sections of the page /docs, and the modules of generated clients."""

    SCORE = "score"
    GENERATE = "generate"
    MODELS = "models"
    HEALTH = "health"
    METRICS = "metrics"
    V2 = "v2"


TAGS: Final[Mapping[Tag, str]] = {
    Tag.SCORE: "Verdicts on records, by the live version of a model.",
    Tag.GENERATE: "Records that a model makes: like those of its training, or with a fault that it should flag.",
    Tag.MODELS: "Which models and versions are served, what they expect, and changes of the live version.",
    Tag.HEALTH: "Probes of the process, and of whether it should get requests.",
    Tag.METRICS: "Metrics for Prometheus, and the counts of the live page.",
    Tag.V2: "The Open Inference Protocol (V2) of KServe, Triton and MLServer.",
}
"""The descriptions of the tags, in the order of the page /docs."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route.

    Attributes:
        template: Its path, with names in braces for what differs between requests.
        method: Its method. Whatever answers GET answers HEAD as well.
        scopes: A key must have one of these; if there are none, no key is needed.
        quiet: Whether only a debug log shows its requests, because they are frequent and say little.
        errors: Statuses of the problems that OpenAPI lists, beside those of keys.
        alias: Another path to the same route.
        tag: The tag under which OpenAPI shows it; None if it does not.
    """

    template: str
    method: str = "GET"
    scopes: frozenset[Access] = frozenset()
    quiet: bool = False
    errors: tuple[int, ...] = ()
    alias: str | None = None
    tag: Tag | None = field(kw_only=True)  # without a default, so that no route is left out by oversight

    @property
    def allow(self) -> str:
        """The methods that it answers, as the header `Allow` lists them."""
        return "GET, HEAD" if self.method == "GET" else self.method

    @property
    def paths(self) -> tuple[str, ...]:
        """The template and the alias."""
        return (self.template,) if self.alias is None else (self.template, self.alias)


SCORING: Final = frozenset({Access.SCORE})
"""Scope of the routes that score or generate records."""

# The files of the page /docs.
DOCS_BUNDLE: Final = "/docs/swagger-ui-bundle.js"
DOCS_STYLE: Final = "/docs/swagger-ui.css"
DOCS_START: Final = "/docs/start.js"

_MODEL: Final = frozenset({Access.MODEL})
_METRICS: Final = frozenset({Access.METRICS})
_ADMIN: Final = frozenset({Access.ADMIN})
_BODY_ERRORS: Final = (400, 408, 413, 415, 422, 429, 500, 503, 504)

ROUTES: Final = (
    Route("/score", "POST", SCORING, errors=(*_BODY_ERRORS, 406), tag=Tag.SCORE),
    Route("/models/{model}/score", "POST", SCORING, errors=(*_BODY_ERRORS, 404, 406), tag=Tag.SCORE),
    Route(
        "/v2/models/{model}/infer",
        "POST",
        SCORING,
        errors=(*_BODY_ERRORS, 404),
        alias="/v2/models/{model}/versions/{version}/infer",
        tag=Tag.V2,
    ),
    Route("/generate", "POST", SCORING, errors=_BODY_ERRORS, tag=Tag.GENERATE),
    Route("/drill", "POST", SCORING, errors=(*_BODY_ERRORS, 404), tag=Tag.GENERATE),
    Route("/livez", quiet=True, tag=Tag.HEALTH),
    Route("/readyz", quiet=True, errors=(503,), tag=Tag.HEALTH),
    Route("/metrics", scopes=_METRICS, quiet=True, tag=Tag.METRICS),
    Route("/live.json", scopes=_METRICS, quiet=True, errors=(400, 404, 422), tag=Tag.METRICS),
    *(Route(path, tag=None) for path in ("/", "/page.css", "/page.js", "/draw.js", "/versions.js", "/page.svg")),
    Route("/model", scopes=_MODEL, tag=Tag.MODELS),
    Route("/model/schema", scopes=_MODEL, tag=Tag.MODELS),
    Route("/models", scopes=_MODEL, tag=Tag.MODELS),
    Route("/models/{model}/shadow", scopes=_MODEL, errors=(400, 404, 422), tag=Tag.MODELS),
    *(
        Route(
            f"/models/{{model}}/{change}",
            "POST",
            _ADMIN,
            errors=(400, 404, 408, 409, 413, 415, 422, 429, 503, 504),
            tag=Tag.MODELS,
        )
        for change in ("promote", "rollback")
    ),
    Route("/openapi.json", scopes=_MODEL, tag=None),
    # The page has nothing of the model: it reads /openapi.json, with a key where there are keys.
    Route("/docs", tag=None),
    *(Route(path, quiet=True, tag=None) for path in (DOCS_BUNDLE, DOCS_STYLE, DOCS_START)),
    Route("/v2", scopes=_MODEL, tag=Tag.V2),
    Route("/v2/health/live", quiet=True, tag=Tag.V2),
    Route("/v2/health/ready", quiet=True, errors=(503,), tag=Tag.V2),
    Route(
        "/v2/models/{model}",
        scopes=_MODEL,
        errors=(400, 404, 422),
        alias="/v2/models/{model}/versions/{version}",
        tag=Tag.V2,
    ),
    Route(
        "/v2/models/{model}/ready",
        scopes=frozenset({Access.SCORE, Access.MODEL}),
        quiet=True,
        errors=(400, 404, 422, 503),
        alias="/v2/models/{model}/versions/{version}/ready",
        tag=Tag.V2,
    ),
)

_BY_PATH: Final = {path: route for route in ROUTES for path in route.paths if "{" not in path}
_BY_PATTERN: Final = tuple(
    (re.compile(re.sub(r"\{([a-z]+)\}", r"(?P<\1>[^/]+)", path)), route)
    for route in ROUTES
    for path in route.paths
    if "{" in path
)
_CALLED_ELSEWHERE: Final = {
    **dict.fromkeys(("/predict", "/invocations", "/v1/score", "/detect", "/infer"), "/score"),
    **dict.fromkeys(("/health", "/healthz", "/ping", "/live", "/status"), "/livez"),
    **dict.fromkeys(("/ready", "/readiness"), "/readyz"),
    **dict.fromkeys(("/swagger", "/redoc"), "/docs"),
}
"""What other services call some routes."""
# Whoever has a key may learn which paths there are; whoever has none may not.
_UNKNOWN: Final = Route(OTHER, scopes=frozenset(Access), tag=None)


def route_of(path: str) -> Route:
    """Return the route of a path, whatever the method; one of template `OTHER` if there is none."""
    route = _BY_PATH.get(path)
    if route is not None:
        return route
    return next((route for pattern, route in _BY_PATTERN if pattern.fullmatch(path)), _UNKNOWN)


def path_parameters(path: str) -> dict[str, str]:
    """Return what stands in a path in the place of the names in its template.

    >>> path_parameters("/models/orders/score")
    {'model': 'orders'}
    """
    matches = (pattern.fullmatch(path) for pattern, _ in _BY_PATTERN)
    return next((match.groupdict() for match in matches if match), {})


def route_near(path: str) -> str | None:
    """Return the path of a route that is meant: ``path`` with other slashes or case, or what others call it.

    >>> route_near("//Score/"), route_near("/healthz")
    ('/score', '/livez')
    """
    plain = "/" + "/".join(filter(None, path.lower().split("/")))
    plain = _CALLED_ELSEWHERE.get(plain, plain)
    return plain if plain in _BY_PATH and plain != path else None

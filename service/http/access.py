"""The routes: by what template logs and metrics call each, and what a key must allow to reach it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from vaegis.service.auth.keys import Access
from vaegis.service.http.metrics import OTHER


@dataclass(frozen=True, slots=True)
class Route:
    """A route.

    Attributes:
        template: Its path, with names in braces for what differs between requests.
        needs: Scopes of which a key must have one; nobody needs a key where it is empty.
        quiet: Whether it is asked for so often, and says so little, that only a debug log shows it.
    """

    template: str
    needs: frozenset[Access] = frozenset()
    quiet: bool = False


SCORING: Final = frozenset({Access.SCORE})
"""What the routes need that take records, or make some."""

_MODEL: Final = frozenset({Access.MODEL})
_METRICS: Final = frozenset({Access.METRICS})

_FIXED: Final = {
    route.template: route
    for route in (
        Route("/livez", quiet=True),
        Route("/readyz", quiet=True),
        Route("/v2/health/live", quiet=True),
        Route("/v2/health/ready", quiet=True),
        Route("/score", SCORING),
        Route("/generate", SCORING),
        Route("/model", _MODEL),
        Route("/model/schema", _MODEL),
        Route("/openapi.json", _MODEL),
        Route("/v2", _MODEL),
        Route("/metrics", _METRICS, quiet=True),
    )
}
_V2: Final = {
    "": Route("/v2/models/{model}", _MODEL),
    "/ready": Route("/v2/models/{model}/ready", frozenset({Access.SCORE, Access.MODEL}), quiet=True),
    "/infer": Route("/v2/models/{model}/infer", SCORING),
}
_V2_PATH: Final = re.compile(r"/v2/models/[^/]+(?:/versions/[^/]+)?(|/ready|/infer)")
# Whoever has a key may learn which paths there are; whoever has none may not.
_UNKNOWN: Final = Route(OTHER, frozenset(Access))


def route_of(path: str) -> Route:
    """Return the route of a path, whatever the method; one of template `OTHER` where there is none."""
    route = _FIXED.get(path)
    if route is not None:
        return route
    found = _V2_PATH.fullmatch(path)
    return _UNKNOWN if found is None else _V2[found[1]]

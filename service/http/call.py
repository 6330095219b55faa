"""What is known of a request while it is answered, for whoever answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Scope

from service.http.access import Route

_PLACE: Final = "vaegis.call"


@dataclass(slots=True)
class Call:
    """A request and its answer.

    Attributes:
        route: Where it goes.
        key: Name of the caller's key; None where none was asked for.
    """

    route: Route
    key: str | None = None


def enter(scope: Scope, call: Call) -> None:
    """Put ``call`` where everything further in finds it."""
    scope[_PLACE] = call


def call_of(scope: Scope) -> Call:
    """Return what is known of the request that ``scope`` is of."""
    found: Any = scope[_PLACE]
    call: Call = found
    return call

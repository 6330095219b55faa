"""Callbacks of the server into the service around it."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI app, to the types of uvicorn and of starlette."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Functions that the service gives to its server.

    Attributes:
        refusal: Returns the app that answers a request with an error.
        count_cut: Told why a connection was ended, one of `CUT_REASONS`.
        is_probe: Takes a path, and tells whether it is answered while all connections carry requests.
        tls: Returns the certificate to show to the next client; None to speak plain HTTP.
        is_crowded: Takes the number of connections, and tells whether another process should accept the next.
        on_listening: Called once connections are accepted.
        on_drain: Called once a signal has come.
        on_tick: Called at least every half second while the event loop is not held up.
    """

    refusal: Callable[[Exception], App]
    count_cut: Callable[[str], None] = lambda _: None
    is_probe: Callable[[str], bool] = lambda _: False
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    is_crowded: Callable[[int], bool] = lambda _: False
    on_listening: Callable[[], None] = lambda: None
    on_drain: Callable[[], None] = lambda: None
    on_tick: Callable[[], None] = lambda: None

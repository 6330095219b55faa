"""What the server takes from the service around it, and the errors of requests that it cannot read."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

from vaegis.service.errors import ServiceError

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI app, to the types of uvicorn and of starlette."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a process, as the settings of the same names describe them."""

    header_timeout_s: float
    body_timeout_s: float
    answer_timeout_s: float
    keep_alive_s: float
    max_header_bytes: int
    max_headers: int
    max_connections: int
    drain_delay_s: float
    shutdown_grace_s: float


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The functions that the server calls.

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


class RequestError(ServiceError):
    """A request that cannot be read, or not to its end; ASGI's `receive` raises it once the headers are read."""

    cut_reason: ClassVar = "malformed"


class MalformedRequestError(RequestError):
    """Bytes that are no HTTP request, or can be understood in two ways."""


class IncompleteBodyError(RequestError):
    """A client that ended the connection before the body was complete."""


class BodyTimeoutError(RequestError):
    """A body that did not arrive in time."""

    cut_reason = "body_timeout"


class HeaderTimeoutError(RequestError):
    """Headers that did not arrive in time."""

    cut_reason = "header_timeout"


class HeadersTooLargeError(RequestError):
    """More headers, or longer ones, than the service reads."""

    cut_reason = "headers_too_large"


class TooManyConnectionsError(RequestError):
    """A request that is no probe, over a connection beyond the limit."""

    cut_reason = "crowded_out"


class ShuttingDownError(ServiceError):
    """A request that came after the last one that a stopping service accepts."""


CUT_REASONS: Final = ("answer_timeout", "handshake", *sorted({k.cut_reason for k in RequestError.__subclasses__()}))
"""Why a connection is ended."""

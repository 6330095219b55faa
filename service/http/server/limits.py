"""Limits of connections, and the errors of requests that exceed them or are not HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from vaegis.service.errors import ServiceError


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

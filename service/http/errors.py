"""Why a request is refused, apart from the content of its records. `problems` maps each error to a status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from vaegis.service.errors import ServiceError

_CHALLENGE: Final = 'Bearer realm="vaegis"'


class CallerError(ServiceError):
    """The caller may not do this, or not in this way.

    Attributes:
        headers: Headers of the answer.
    """

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


class KeyRequiredError(CallerError):
    """The request has no bearer key."""

    def __init__(self) -> None:
        super().__init__("no API key; send `Authorization: Bearer KEY`", {"WWW-Authenticate": _CHALLENGE})


class UnknownKeyError(CallerError):
    """The key is not valid, or no longer valid."""

    def __init__(self) -> None:
        super().__init__(
            "unknown API key",
            {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        )


class MissingScopeError(CallerError):
    """The key is valid but does not allow this route."""

    def __init__(self, needed: Sequence[str]) -> None:
        super().__init__(
            f"this API key lacks the scope {' or '.join(needed)}",
            {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{" ".join(needed)}"'},
        )


class UnknownHostError(ServiceError):
    """The `Host` is not a name of the service, as after DNS rebinding."""

    def __init__(self) -> None:
        super().__init__("the service is not called by this Host; VAEGIS_ALLOWED_HOSTS can add names")


class CrossSiteError(ServiceError):
    """A web page of another site made the browser send the request."""

    def __init__(self) -> None:
        super().__init__(
            "a web page of another site sent this (Origin, Sec-Fetch-Site); VAEGIS_CORS_ORIGINS can allow a site"
        )


class KeysNeededError(ServiceError):
    """The request would change which version is live, and the service cannot know who sends it."""

    def __init__(self) -> None:
        super().__init__(
            "without keys, versions are changed only from this machine, through no proxy and without VAEGIS_OPEN; "
            "`vaegis key NAME --scopes admin` makes a key"
        )


class VersionRefusedError(ServiceError):
    """A version cannot be made live."""


class RateLimitedError(CallerError):
    """The caller has reached its rate limit."""

    def __init__(self, records_per_s: float, wait_s: float) -> None:
        super().__init__(
            f"rate limit of {records_per_s:.15g} records per second reached; retry after {wait_s:.3g} s",
            {"Retry-After": str(math.ceil(wait_s))},
        )


class MediaTypeError(ServiceError):
    """The service does not read the format or the encoding of the body."""


class ContentEncodingError(MediaTypeError, CallerError):
    """The service does not decompress the body; the answer says what it does decompress (RFC 9110, 12.5.3)."""

    def __init__(self, coding: str) -> None:
        CallerError.__init__(
            self,
            f"Content-Encoding: expected gzip, deflate, zstd or none, got {coding!r}",
            {"Accept-Encoding": "gzip, deflate, zstd"},
        )


class NotAcceptableError(ServiceError):
    """The service writes no format that `Accept` allows."""


class AnswerTooLargeError(ServiceError):
    """The answer is larger than the service may hold until the body has ended."""


class ParameterError(ServiceError):
    """Parameters in the query or in the body are unknown or have bad values.

    Attributes:
        messages: One for each faulty parameter.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


class QueueFullError(ServiceError):
    """Too much work is in flight."""


class DeadlineError(ServiceError):
    """The answer took too long."""


class NotReadyError(ServiceError):
    """The model is still loading, or the service is shutting down."""

"""Requests that cannot be answered for a reason other than a record's content; `problems` maps each to a status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from vaegis.service.errors import ServiceError

_CHALLENGE: Final = 'Bearer realm="vaegis"'


class CallerError(ServiceError):
    """A caller who may not do what it asks for.

    Attributes:
        headers: What the answer says to the caller's program.
    """

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.headers = headers


class KeyRequiredError(CallerError):
    """A request without a bearer key."""

    def __init__(self) -> None:
        super().__init__("Authorization: expected Bearer and a key, got none", {"WWW-Authenticate": _CHALLENGE})


class UnknownKeyError(CallerError):
    """A key that is not valid, or no longer."""

    def __init__(self) -> None:
        super().__init__(
            "Authorization: expected a valid key, got another",
            {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'},
        )


class MissingScopeError(CallerError):
    """A valid key that does not allow what is asked for."""

    def __init__(self, needed: Sequence[str]) -> None:
        super().__init__(
            f"Authorization: expected a key of scope {' or '.join(needed)}, got one of another",
            {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{" ".join(needed)}"'},
        )


class UnknownHostError(ServiceError):
    """A request by a name that is not the service's, as that of a page in a browser whose own name leads here."""

    def __init__(self) -> None:
        super().__init__("Host: expected a name or an address of the service, got another; see VAEGIS_ALLOWED_HOSTS")


class CrossSiteError(ServiceError):
    """A request that a page of another site had a browser send."""

    def __init__(self) -> None:
        super().__init__("Origin, Sec-Fetch-Site: expected a request of no web page of another site, got one")


class RateLimitedError(CallerError):
    """A caller that has sent more records than its rate lets it, for the time being."""

    def __init__(self, records_per_s: float, wait_s: float) -> None:
        super().__init__(
            f"expected at most {records_per_s:.15g} records a second, got more; there is room in {wait_s:.3g} s",
            {"Retry-After": str(math.ceil(wait_s))},
        )


class MediaTypeError(ServiceError):
    """A body in a format or an encoding that the service does not read."""


class NotAcceptableError(ServiceError):
    """An answer in a format that the service does not write."""


class AnswerTooLargeError(ServiceError):
    """An answer of more bytes than the service holds until the body has come to its end."""


class ParameterError(ServiceError):
    """Parameters, of the query or of a body that holds no records, which the route does not understand.

    Attributes:
        messages: What was expected and what came, for each parameter at fault.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


class QueueFullError(ServiceError):
    """As many requests in flight as the service holds."""


class DeadlineError(ServiceError):
    """An answer that was not there in time."""


class NotReadyError(ServiceError):
    """A service that is still loading its model, or already shutting down."""

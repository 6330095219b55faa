"""Requests that cannot be answered for a reason other than a record's content; `problems` maps each to a status."""

from __future__ import annotations

from service.errors import ServiceError


class MediaTypeError(ServiceError):
    """A body in a format or an encoding that the service does not read."""


class BodyTooLargeError(ServiceError):
    """A body of more bytes than the service accepts.

    Attributes:
        unread: Whether the client may still be sending.
    """

    def __init__(self, message: str, *, unread: bool) -> None:
        super().__init__(message)
        self.unread = unread


class BodyTimeoutError(ServiceError):
    """A body that did not arrive in time."""


class IncompleteBodyError(ServiceError):
    """A connection that was closed before the body was complete."""


class TooManyValuesError(ServiceError):
    """A body with more values than the service parses."""


class TooManyRecordsError(ServiceError):
    """More records than one request may hold."""


class NoRecordsError(ServiceError):
    """A list of records with nothing in it."""


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

"""Errors as RFC 9457 problem documents: the one table from exception to status, type and title."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from vaegis.service.errors import AlphaError, GateError, RecordError, RunTimeoutError, ServiceError, expectation
from vaegis.service.http.errors import (
    AnswerTooLargeError,
    CallerError,
    CrossSiteError,
    DeadlineError,
    KeyRequiredError,
    KeysNeededError,
    MediaTypeError,
    MissingScopeError,
    NotAcceptableError,
    NotReadyError,
    ParameterError,
    QueueFullError,
    RateLimitedError,
    UnknownHostError,
    UnknownKeyError,
    VersionRefusedError,
)
from vaegis.service.http.routes import route_near, route_of
from vaegis.service.http.schemas import Answer, rendered
from vaegis.service.http.server.interface import (
    BodyTimeoutError,
    HeadersTooLargeError,
    HeaderTimeoutError,
    IncompleteBodyError,
    MalformedRequestError,
    ShuttingDownError,
    TooManyConnectionsError,
)
from vaegis.service.records.blocks import (
    BodyError,
    BodyTooLargeError,
    NoRecordsError,
    TooManyRecordsError,
    TooManyValuesError,
    TooMuchHeldError,
)
from vaegis.service.records.faults import MAX_FAULTS

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:vaegis:problem:"
UNREAD: Final = "vaegis.unread"
"""Key of a scope whose client is still sending a body, so that the connection cannot be used further."""

PLAIN_ERRORS: Final = "/v2"
"""Prefix of the paths of the Open Inference Protocol, which has its own form of errors."""
_LONGEST_TEXT: Final = 500  # characters; a message may quote a column name of any length


class ErrorItem(Answer):
    """One fault, and its place."""

    row: int | None = Field(description="Position of the record, from 0; null if the request as a whole is at fault.")
    column: str | None
    code: str
    message: str


class ProblemDocument(Answer):
    """Any error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[ErrorItem, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """How a kind of error is answered.

    Attributes:
        status: HTTP status.
        name: Last part of the type URI.
        title: The same for every error of the kind.
        retry_after_s: Seconds until the same request may succeed; None if it never will.
        closes: Whether the connection cannot be used further.
    """

    status: int
    name: str
    title: str
    retry_after_s: int | None = None
    closes: bool = False


PROBLEMS: Final[Mapping[type[ServiceError], Problem]] = {
    BodyError: Problem(400, "malformed-body", "The body is not well-formed"),
    MalformedRequestError: Problem(400, "malformed-request", "The request is not valid HTTP", closes=True),
    IncompleteBodyError: Problem(400, "incomplete-body", "The body ended early", closes=True),
    KeyRequiredError: Problem(401, "key-required", "A key is required", closes=True),
    UnknownKeyError: Problem(401, "unknown-key", "The key is not valid", closes=True),
    MissingScopeError: Problem(403, "missing-scope", "The key does not allow this", closes=True),
    CrossSiteError: Problem(403, "cross-site", "A web page of another site may not call the service", closes=True),
    UnknownHostError: Problem(403, "unknown-host", "The service is not called by this name", closes=True),
    KeysNeededError: Problem(403, "keys-needed", "Without keys, strangers may not change versions", closes=True),
    VersionRefusedError: Problem(409, "version-refused", "The version cannot be made live"),
    GateError: Problem(409, "gate-broken", "The gate does not hold"),
    BodyTimeoutError: Problem(408, "body-timeout", "The body took too long to arrive", closes=True),
    NotAcceptableError: Problem(406, "not-acceptable", "No answer in a format that Accept allows"),
    HeaderTimeoutError: Problem(408, "header-timeout", "The headers took too long to arrive", closes=True),
    BodyTooLargeError: Problem(413, "body-too-large", "The body is too large", closes=True),
    AnswerTooLargeError: Problem(413, "answer-too-large", "The answer is too large"),
    TooMuchHeldError: Problem(413, "record-too-large", "A part of the body is too large"),
    TooManyValuesError: Problem(413, "too-many-values", "The body holds too many values"),
    TooManyRecordsError: Problem(413, "too-many-records", "The request holds too many records"),
    MediaTypeError: Problem(415, "unsupported-media-type", "The format of the body is not supported"),
    RecordError: Problem(422, "invalid-records", "Records do not fit the model's schema"),
    NoRecordsError: Problem(422, "no-records", "The request holds no record"),
    ParameterError: Problem(422, "invalid-parameter", "A parameter is unknown or has a bad value"),
    AlphaError: Problem(422, "unsupported-alpha", "The model has too few calibration records for this alpha"),
    HeadersTooLargeError: Problem(431, "headers-too-large", "The headers are too large", closes=True),
    QueueFullError: Problem(429, "too-many-requests", "Too many requests are in flight", retry_after_s=1),
    TooManyConnectionsError: Problem(
        429, "too-many-requests", "Too many requests are in flight", retry_after_s=1, closes=True
    ),
    RateLimitedError: Problem(429, "rate-limited", "The caller's rate is used up"),
    ShuttingDownError: Problem(503, "not-ready", "The service is not ready", retry_after_s=5, closes=True),
    NotReadyError: Problem(503, "not-ready", "The service is not ready", retry_after_s=5),
    RunTimeoutError: Problem(504, "deadline", "The answer took too long", retry_after_s=5),
    DeadlineError: Problem(504, "deadline", "The answer took too long", retry_after_s=5),
}


async def answer_error(request: Request, error: Exception) -> Response:
    """Return the problem for an error that a route of the framework raised; see `response_to`."""
    return response_to(request.scope, error)


def refusal_of(error: Exception) -> ASGIApp:
    """Return an ASGI app that answers any request with the problem for an error of the table."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await response_to(scope, error)(scope, receive, send)

    return refuse


def response_to(scope: Scope, error: Exception) -> Response:
    """Return the problem for an error of the table or of the framework; raise any other again, because it is a bug."""
    if isinstance(error, HTTPException):
        return _http_problem(scope, error)
    if isinstance(error, RequestValidationError):
        error = ParameterError(*parameter_messages(error.errors()))
    problem = next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), None)
    if problem is None:
        raise error
    document = ProblemDocument(
        type=TYPE_PREFIX + problem.name,
        title=problem.title,
        status=problem.status,
        detail=_detail(error),
        errors=_items(error),
    )
    headers = {"Retry-After": str(problem.retry_after_s)} if problem.retry_after_s is not None else {}
    if isinstance(error, CallerError):
        headers |= error.headers
    if problem.closes or UNREAD in scope:
        headers["Connection"] = "close"  # after the client has had time to read the answer
    return problem_response(scope, document, headers)


def parameter_messages(errors: Sequence[Mapping[str, Any]], known: Iterable[str] = ()) -> list[str]:
    """Return pydantic's first errors over parameters in our words; ``known`` are the names of legal ones."""
    names = ", ".join(known)
    return [_parameter_message(item, names) for item in errors[:MAX_FAULTS]]


def plain_problem(status: int, detail: str) -> ProblemDocument:
    """Return a problem that its status describes fully (RFC 9457, section 4.2.1)."""
    return ProblemDocument(
        type="about:blank", title=HTTPStatus(status).phrase, status=status, detail=_shortened(detail), errors=()
    )


def problem_response(scope: Scope, document: ProblemDocument, headers: Mapping[str, str] | None = None) -> Response:
    """Return ``document`` as a response; below /v2, in the form of the Open Inference Protocol."""
    if scope["path"].startswith(PLAIN_ERRORS):
        return Response(_rendered_plainly(document), document.status, headers, "application/json")
    return Response(document.model_dump_json().encode(), document.status, headers, MEDIA_TYPE)


def _http_problem(scope: Scope, error: HTTPException) -> Response:
    """Return the problem for an error that its status describes, such as an unknown path."""
    path: str = scope["path"]
    status = HTTPStatus(error.status_code)
    detail, headers = error.detail, error.headers
    if status is HTTPStatus.METHOD_NOT_ALLOWED:  # the framework looks at one of a path's methods only
        allowed = route_of(path).allow
        detail, headers = f"this path takes {allowed}, not {scope['method']}", {"Allow": allowed}
    elif detail == status.phrase and status is HTTPStatus.NOT_FOUND:
        meant = route_near(path)
        detail = f"no such path; {f'did you mean {meant}? ' if meant else ''}GET /openapi.json lists all"
    return problem_response(scope, plain_problem(error.status_code, detail), headers)


def _detail(error: Exception) -> str:
    if isinstance(error, RecordError):
        count = len(error.faults) + error.omitted
        listed = f", of which {len(error.faults)} are listed" if error.omitted else ""
        if count > 1:
            return f"{count} faults{listed}; no record of the request was scored"
    return _shortened(str(error))


def _items(error: Exception) -> tuple[ErrorItem, ...]:
    if isinstance(error, RecordError):
        return tuple(
            ErrorItem(
                row=fault.row,
                column=None if fault.column is None else _shortened(fault.column),
                code=fault.code,
                message=_shortened(fault.message),
            )
            for fault in error.faults
        )
    if isinstance(error, BodyError):
        return (_request_item(error.code, str(error)),)
    if isinstance(error, ParameterError):
        return tuple(_request_item("invalid_parameter", message) for message in error.messages)
    return ()


def _request_item(code: str, message: str) -> ErrorItem:
    return ErrorItem(row=None, column=None, code=code, message=_shortened(message))


def _parameter_message(item: Mapping[str, Any], known: str) -> str:
    name = _shortened(str(item["loc"][-1])) if item["loc"] else "body"
    if item["type"] == "extra_forbidden":
        return f"{name}: unknown parameter; expected {known}" if known else f"{name}: unknown parameter"
    if item["type"] == "missing":
        return f"{name}: expected a value, got none"
    return f"{name}: expected {expectation(item['msg'])}, got {_shortened(repr(item['input']))}"


def _rendered_plainly(document: ProblemDocument) -> bytes:
    """Return a problem as an error of the Open Inference Protocol."""
    texts = [document.detail, *(item.message for item in document.errors if item.message != document.detail)]
    return rendered({"error": "; ".join(texts)})


def _shortened(text: str) -> str:
    """Return ``text`` as valid Unicode of bounded length; a client's name for a column may be neither."""
    valid = text[: _LONGEST_TEXT + 1].encode("utf-8", "replace").decode()
    return valid if len(valid) <= _LONGEST_TEXT else valid[:_LONGEST_TEXT] + "..."

"""What the endpoints of POST have in common: their interface, their parameters, and their entry in OpenAPI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.types import Receive, Scope, Send

from vaegis.service.http.admission import Slot
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.problems import parameter_messages
from vaegis.service.http.schemas import reference
from vaegis.service.records.json import parse_json

MODEL_PARAMETER: Final = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
"""What OpenAPI says of the name of a model in a path."""

_MAX_BODY_BYTES: Final = 2**16
_MAX_DEPTH: Final = 8

_Document = TypeVar("_Document", bound=BaseModel)


class PostEndpoint(Protocol):
    """Answers the requests of a route of POST, as an ASGI app."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""


def validated(kind: type[_Document], values: object) -> _Document:
    """Return parameters as a document of ``kind``.

    Raises:
        ParameterError: one is unknown, missing or has a bad value.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ParameterError(*parameter_messages(error.errors(include_url=False), kind.model_fields)) from error


async def read_parameters(slot: Slot, kind: type[_Document]) -> _Document:
    """Return the parameters in the JSON body of a request that takes no records.

    Raises:
        BodyError: it is not well-formed JSON.
        ParameterError: one is unknown, missing or has a bad value.
    """
    return validated(kind, parse_json(await slot.read_document(_MAX_BODY_BYTES), max_depth=_MAX_DEPTH))


def operation(
    identifier: str,
    summary: str,
    description: str,
    *,
    takes: Mapping[str, Any] | None,
    gives: Mapping[str, Any],
    parameters: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return what OpenAPI says of a route of POST.

    ``takes`` and ``gives`` are the contents of the body, if there is one, and of the answer, by media type. Generated
    clients name the operation by ``identifier``.
    """
    described: dict[str, Any] = {"summary": summary, "description": description, "operationId": identifier}
    if parameters:
        described["parameters"] = [*parameters]
    if takes is not None:
        described["requestBody"] = {"required": True, "content": takes}
    return described | {"responses": {"200": {"description": "The outcome", "content": gives}}}


def json_content(kind: type[BaseModel], example: object = None) -> dict[str, Any]:
    """Return the content that a document of ``kind`` is; it may have an example of its own."""
    schema = {"schema": reference(kind)}
    return {"application/json": schema if example is None else schema | {"example": example}}

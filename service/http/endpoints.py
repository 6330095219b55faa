"""What the endpoints of POST have in common: their interface, their parameters, and their entry in OpenAPI."""

from __future__ import annotations

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
    name: str,
    description: str,
    *,
    takes: tuple[type[BaseModel], object] | None = None,
    gives: type[BaseModel],
    example: object = None,
) -> dict[str, Any]:
    """Return what OpenAPI says of a route that takes and gives JSON documents.

    Args:
        name: What it does, in words.
        description: One or two sentences.
        takes: The document that it takes and an example; None if it takes none.
        gives: The document that it answers with.
        example: An example of the answer, if the document has none.
    """
    content = {"schema": reference(gives)} | ({} if example is None else {"example": example})
    described: dict[str, Any] = {
        "summary": name,
        "description": description,
        "operationId": name.lower().replace(" ", "_"),
        "responses": {"200": {"description": "The outcome", "content": {"application/json": content}}},
    }
    if takes is not None:
        body = {"schema": reference(takes[0]), "example": takes[1]}
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    return described

"""The OpenAPI document: the loaded model's own columns, and what each route of the table takes and answers."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vaegis.service.http.drill import DrillAnswer, DrillRequest
from vaegis.service.http.generate import GenerateAnswer, GenerateRequest
from vaegis.service.http.models.promotion import PromoteRequest, PromotionAnswer
from vaegis.service.http.models.registry import ModelsAnswer
from vaegis.service.http.problems import MEDIA_TYPE, PLAIN_ERRORS, PROBLEMS, TYPE_PREFIX, ProblemDocument
from vaegis.service.http.routes import ROUTES, TAGS, Route
from vaegis.service.http.schemas import DIALECT, REFERENCE_PREFIX, ScoreAnswer, reference
from vaegis.service.http.score_options import ScoreQuery
from vaegis.service.http.v2 import InferAnswer, InferBody, InferenceError

OF_VERSION: Final = "_of_version"
"""What the operation of a route's alias adds to the name of its own: a name belongs to one operation."""

_KEY: Final = "key"
_CALLER_STATUS: Final = 403
_KEY_STATUS: Final = 401
_DESCRIBED: Final[tuple[type[BaseModel], ...]] = (
    ProblemDocument,
    ScoreQuery,
    ScoreAnswer,
    GenerateRequest,
    GenerateAnswer,
    DrillRequest,
    DrillAnswer,
    ModelsAnswer,  # the framework leaves nulls out of its example
    InferBody,
    PromoteRequest,
    PromotionAnswer,
    InferAnswer,
    InferenceError,
)
_PATH_PATTERN: Final = "^[!-~]+$"
"""Of names in paths: the server refuses control characters with 400 before there is a route."""

_FRAMEWORK_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")


def openapi_document(
    app: FastAPI,
    operations: Mapping[str, Any],
    record: dict[str, Any],
    *,
    max_records: int,
    has_keys: bool,
    root_path: str | None,
) -> dict[str, Any]:
    """Return the document: the routes that ``app`` describes itself, and the ``operations`` of POST by template.

    ``record`` is the JSON Schema of one record, ``max_records`` the most records in one JSON document, and
    ``root_path`` a prefix of all paths that a proxy takes off. If ``has_keys``, callers are asked for a key.
    """
    document = app.openapi()
    document["jsonSchemaDialect"] = DIALECT
    document["info"]["license"] = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
    document["tags"] = [{"name": tag, "description": text} for tag, text in TAGS.items()]
    document["servers"] = [{"url": root_path or "/"}]
    document["security"] = []
    schemas = document["components"]["schemas"]
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    _, described = models_json_schema(
        [(kind, "validation") for kind in _DESCRIBED], ref_template=REFERENCE_PREFIX + "{model}"
    )
    schemas |= described["$defs"]
    del schemas[ScoreQuery.__name__]  # only what its parameters refer to
    schemas["Record"] = {key: value for key, value in record.items() if key != "$schema"}
    schemas["RecordsByColumn"] = _by_column(schemas["Record"], max_records)
    paths = {template: {"post": operation} for template, operation in operations.items()} | document["paths"]
    document["paths"] = paths
    for route in ROUTES:
        if route.alias and route.template in operations:
            paths[route.alias] = {"post": _of_version(operations[route.template])}
        for path in route.paths if route.tag is not None and route.template in paths else ():  # the page can be off
            _complete(paths[path][route.method.lower()], route, has_keys=has_keys)
    if has_keys:
        document["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    return document


def _complete(operation: dict[str, Any], route: Route, *, has_keys: bool) -> None:
    """Add to an operation what the table of routes says of it: its tag, its errors and the keys that it needs."""
    operation["tags"] = [route.tag]
    if "parameters" in operation:
        operation["parameters"] = [
            # The framework says that the version may be null.
            item | {"schema": {"type": "string", "pattern": _PATH_PATTERN}} if item["in"] == "path" else item
            for item in operation["parameters"]
        ]
    operation["responses"] |= _errors(route.template, route.errors)
    if route.scopes:
        operation["responses"] |= _errors(route.template, (_CALLER_STATUS,))
    if has_keys and route.scopes:
        operation["security"] = [{_KEY: [scope]} for scope in sorted(route.scopes)]
        operation["responses"] |= _errors(route.template, (_KEY_STATUS,))


def _of_version(operation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the operation of a route's alias, which names the version of the model as well."""
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        **operation,
        "operationId": operation["operationId"] + OF_VERSION,
        "parameters": [*operation["parameters"], version],
        "responses": dict(operation["responses"]),
    }


def _by_column(record: dict[str, Any], max_records: int) -> dict[str, Any]:
    """Return the schema of a list of values for each column."""
    lists = {
        name: {"type": "array", "items": column, "minItems": 1, "maxItems": max_records}
        for name, column in record["properties"].items()
    }
    return {
        "type": "object",
        "description": "A list of values for each column, all of the same length.",
        "properties": lists,
        "minProperties": 1,
        "additionalProperties": record["additionalProperties"],
    }


def _errors(template: str, statuses: tuple[int, ...]) -> dict[str, Any]:
    """Return the descriptions of a route's errors, by status."""
    if template.startswith(PLAIN_ERRORS):
        content = {"application/json": {"schema": reference(InferenceError)}}
        return {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}
    return {str(status): _problem(status) for status in statuses}


def _problem(status: int) -> dict[str, Any]:
    """Return the description of all problems of one status."""
    kinds = [problem for problem in PROBLEMS.values() if problem.status == status]
    name, title = (TYPE_PREFIX + kinds[0].name, kinds[0].title) if kinds else ("about:blank", HTTPStatus(status).phrase)
    return {
        "description": "; ".join(problem.title for problem in kinds) or title,
        "content": {
            MEDIA_TYPE: {
                "schema": reference(ProblemDocument),
                "example": {"type": name, "title": title, "status": status, "detail": "...", "errors": []},
            }
        },
    }

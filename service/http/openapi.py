"""The OpenAPI document: the loaded model's own columns, an example record of it, and what that record is answered."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel

from vaegis.service.artifact import Artifact
from vaegis.service.http.access import route_of
from vaegis.service.http.answers import GenerateRequest, ProblemDocument, shown_digest
from vaegis.service.http.formats import ANSWER_TYPES, BODY_TYPES
from vaegis.service.http.json_answer import JSON_END, json_results, json_start
from vaegis.service.http.problems import MEDIA_TYPE, PROBLEMS, TYPE_PREFIX
from vaegis.service.http.record_schema import DIALECT
from vaegis.service.http.writers.writing import Judgement
from vaegis.service.pvalues import threshold
from vaegis.service.records.json import columns_from_records
from vaegis.service.verdicts import Explain

_BODY_STATUSES: Final = (400, 408, 413, 415, 422, 429, 500, 503)
_STATUSES: Final = {
    "/score": (*_BODY_STATUSES, 406),
    "/generate": _BODY_STATUSES,
    "/readyz": (503,),
}
_STREAMS: Final = {
    name: {"schema": {"type": "string", "contentMediaType": name, "description": "See docs/formats.md."}}
    for name in BODY_TYPES
    if name != "application/json"
}
_KEY: Final = "key"
_CALLER_STATUS: Final = 403
_KEY_STATUS: Final = 401
_EXAMPLE_SEED: Final = 7
_FRAMEWORK_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")
_REF: Final = "#/components/schemas/"


def openapi_document(
    app: FastAPI, artifact: Artifact, record: dict[str, Any], *, alpha: float, max_records: int, has_keys: bool
) -> dict[str, Any]:
    """Return the document.

    Args:
        app: The app, for its routes.
        artifact: The model.
        record: JSON Schema of one record.
        alpha: Share of normal records that may be flagged, where a request does not say.
        max_records: Most records in one request.
        has_keys: Whether callers are asked for a key.
    """
    document = app.openapi()
    document["jsonSchemaDialect"] = DIALECT
    schemas = document["components"]["schemas"]
    for name in _FRAMEWORK_SCHEMAS:
        schemas.pop(name, None)
    schemas["Record"] = {key: value for key, value in record.items() if key != "$schema"}
    schemas |= _schemas_of(ProblemDocument)
    example = artifact.contract.golden.records[0]
    schemas["RecordsByColumn"] = _by_column(schemas["Record"], max_records)
    _describe_score(document["paths"]["/score"]["post"], example, _example_answer(artifact, alpha), max_records)
    _describe_generate(document["paths"]["/generate"]["post"], schemas, artifact)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"] |= {str(status): _problem(status) for status in _STATUSES.get(path, ())}
            needed = sorted(route_of(path).needs)
            if needed:
                operation["responses"][str(_CALLER_STATUS)] = _problem(_CALLER_STATUS)
            if has_keys and needed:
                operation["security"] = [{_KEY: [scope]} for scope in needed]
                operation["responses"][str(_KEY_STATUS)] = _problem(_KEY_STATUS)
    if has_keys:
        document["components"]["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer"}}
    return document


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


def _describe_score(operation: dict[str, Any], example: Mapping[str, object], answer: object, max_records: int) -> None:
    record = {"$ref": f"{_REF}Record"}
    records = {"type": "array", "items": record, "minItems": 1, "maxItems": max_records}
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [record, records, {"$ref": f"{_REF}RecordsByColumn"}]},
                "examples": {
                    "one": {"summary": "One record", "value": example},
                    "list": {"summary": "A list of records", "value": [example]},
                    "columns": {"summary": "By column", "value": {key: [value] for key, value in example.items()}},
                },
            },
            **_STREAMS,
        },
    }
    operation["responses"]["200"]["content"]["application/json"]["example"] = answer
    operation["responses"]["200"]["content"] |= {name: _STREAMS[name] for name in ANSWER_TYPES if name in _STREAMS}


def _describe_generate(operation: dict[str, Any], schemas: dict[str, Any], artifact: Artifact) -> None:
    schemas |= _schemas_of(GenerateRequest)
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": f"{_REF}GenerateRequest"},
                "example": {"count": 1, "seed": _EXAMPLE_SEED},
            }
        },
    }
    operation["responses"]["200"]["content"]["application/json"]["example"] = {
        "model": artifact.contract.provenance.model_name,
        "model_digest": shown_digest(artifact),
        "seed": _EXAMPLE_SEED,
        "records": [artifact.contract.golden.records[0]],
    }


def _example_answer(artifact: Artifact, alpha: float) -> object:
    columns = columns_from_records(artifact.contract.golden.records[:1], artifact.contract.columns)
    verdicts = artifact.judge(columns, alpha=alpha, explain=Explain.ALL)
    limit = threshold(artifact.calibration_folds, alpha)
    start = json_start(Judgement.by(artifact, alpha=alpha, threshold=limit))
    return msgspec.json.decode(start + json_results(verdicts) + JSON_END)


def _schemas_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON Schema and those it refers to, by name."""
    schema = model.model_json_schema(ref_template=_REF + "{model}")
    inner: dict[str, Any] = schema.pop("$defs", {})
    return inner | {model.__name__: schema}


def _problem(status: int) -> dict[str, Any]:
    """Return the description of all problems of one status."""
    kinds = [problem for problem in PROBLEMS.values() if problem.status == status]
    name, title = (TYPE_PREFIX + kinds[0].name, kinds[0].title) if kinds else ("about:blank", HTTPStatus(status).phrase)
    return {
        "description": "; ".join(problem.title for problem in kinds) or title,
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": f"{_REF}ProblemDocument"},
                "example": {"type": name, "title": title, "status": status, "detail": "...", "errors": []},
            }
        },
    }

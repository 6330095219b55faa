"""POST /generate: new records like those that the model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from vaegis.service.generation import drawn_seed, records_of
from vaegis.service.http.admission import Admission
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.model_registry import ModelEntry
from vaegis.service.http.negotiation import require_json
from vaegis.service.http.problems import parameter_messages
from vaegis.service.http.request_context import RequestContext
from vaegis.service.http.schemas import GenerateAnswer, GenerateRequest, reference, rendered, shown_digest
from vaegis.service.http.served_model import ServedModel
from vaegis.service.records.json import parse_json, require_few_values

_EXAMPLE_SEED: Final = 7


class GenerateEndpoint:
    """Answers POST /generate, as an ASGI app."""

    def __init__(self, model: ModelEntry, admission: Admission, max_count: int) -> None:
        """Generate at most ``max_count`` records of ``model`` at a time."""
        self._model = model
        self._admission = admission
        self._max_count = max_count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self._admission.slot(scope, receive) as slot:
            model = self._model.live()
            require_json(scope["headers"])
            body = await slot.read_document(model.limits.max_held_bytes)
            answer = await slot.run(lambda: self._answer(model, body, slot.context, slot.check))
            await slot.send(send, [answer], len(answer), model.json_headers)

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        model = self._model.live()
        example = _document(model, _EXAMPLE_SEED, [model.artifact.contract.golden.records[0]])
        answer = {"schema": reference(GenerateAnswer.__name__), "example": example}
        body = {"schema": reference(GenerateRequest.__name__), "example": {"count": 1, "seed": _EXAMPLE_SEED}}
        return {
            "summary": "Generate",
            "description": "Draw new records like those that the model was trained on.",
            "operationId": "generate",
            "requestBody": {"required": True, "content": {"application/json": body}},
            "responses": {"200": {"description": "Records", "content": {"application/json": answer}}},
        }

    def _answer(self, model: ServedModel, body: bytes, context: RequestContext, check: Callable[[], None]) -> bytes:
        """Return the answer to a body; ``check`` is called between parts, and what it raises ends the work.

        Raises:
            TooManyValuesError: the body holds more values than allowed.
            BodyError: it is not well-formed JSON.
            ParameterError: it is not a `GenerateRequest`, or asks for too many records.
            RateLimitedError: the caller may not have so many records yet.
        """
        asked = self._request(model, body)
        check()
        context.charge(asked.count)
        seed = drawn_seed() if asked.seed is None else asked.seed
        records = []
        for part in model.generator.chunks(asked.count, seed, temperature=asked.temperature):
            records += records_of(model.generator.schema, part)
            check()
        answer = rendered(_document(model, seed, records))
        context.records = len(records)
        model.metrics.generated.inc(len(records))
        return answer

    def _request(self, model: ServedModel, body: bytes) -> GenerateRequest:
        limits = model.limits
        require_few_values(body, limits.max_values)
        try:
            asked = GenerateRequest.model_validate(parse_json(body, max_depth=limits.max_depth))
        except ValidationError as error:
            messages = parameter_messages(error.errors(include_url=False), GenerateRequest.model_fields)
            raise ParameterError(*messages) from error
        if asked.count > self._max_count:
            raise ParameterError(f"count: expected at most {self._max_count}, got {asked.count}")
        return asked


def _document(model: ServedModel, seed: int, records: Sequence[object]) -> dict[str, object]:
    return {"model": model.name, "model_digest": shown_digest(model.artifact), "seed": seed, "records": records}

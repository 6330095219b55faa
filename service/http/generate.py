"""POST /generate: new records like those that the model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final

from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from vaegis.service.generation import Generator, drawn_seed, records_of
from vaegis.service.http.admission import Admission
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.negotiation import require_json
from vaegis.service.http.problems import parameter_messages
from vaegis.service.http.request_context import RequestContext, request_context
from vaegis.service.http.schemas import GenerateAnswer, GenerateRequest, reference, rendered, shown_digest
from vaegis.service.http.served_model import ServedModel
from vaegis.service.records.json import parse_json, require_few_values

_EXAMPLE_SEED: Final = 7
_HEADERS: Final = ((b"content-type", b"application/json"),)


class GenerateEndpoint:
    """Answers POST /generate, as an ASGI app."""

    def __init__(
        self, model: ServedModel, admission: Admission, max_count: int, run_timeout_s: float, tensor_bytes: int
    ) -> None:
        """Generate at most ``max_count`` records of ``model`` at a time, each run of its graph within limits."""
        self._model = model
        self._admission = admission
        self._max_count = max_count
        self._run_timeout_s = run_timeout_s
        self._tensor_bytes = tensor_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self._admission.slot(scope, receive) as slot:
            require_json(scope["headers"])
            body = await slot.read_document(self._model.limits.max_held_bytes)
            answer = await slot.run(lambda: self._answer(body, request_context(scope), slot.check))
            await slot.send(send, [answer], len(answer), _HEADERS)

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        example = self._document(_EXAMPLE_SEED, [self._model.artifact.contract.golden.records[0]])
        answer = {"schema": reference(GenerateAnswer.__name__), "example": example}
        body = {"schema": reference(GenerateRequest.__name__), "example": {"count": 1, "seed": _EXAMPLE_SEED}}
        return {
            "summary": "Generate",
            "description": "Draw new records like those that the model was trained on.",
            "operationId": "generate",
            "requestBody": {"required": True, "content": {"application/json": body}},
            "responses": {"200": {"description": "Records", "content": {"application/json": answer}}},
        }

    def _document(self, seed: int, records: Sequence[object]) -> dict[str, object]:
        digest = shown_digest(self._model.artifact)
        return {"model": self._model.name, "model_digest": digest, "seed": seed, "records": records}

    def _answer(self, body: bytes, context: RequestContext, check: Callable[[], None]) -> bytes:
        """Return the answer to a body; ``check`` is called between parts, and what it raises ends the work.

        Raises:
            TooManyValuesError: the body holds more values than allowed.
            BodyError: it is not well-formed JSON.
            ParameterError: it is not a `GenerateRequest`, or asks for too many records.
            RateLimitedError: the caller may not have so many records yet.
        """
        asked = self._request(body)
        check()
        context.charge(asked.count)
        seed = drawn_seed() if asked.seed is None else asked.seed
        records = []
        for part in self._generator.chunks(asked.count, seed, temperature=asked.temperature):
            records += records_of(self._generator.schema, part)
            check()
        answer = rendered(self._document(seed, records))
        context.records = len(records)
        self._model.metrics.records_generated.inc(len(records))
        return answer

    @cached_property
    def _generator(self) -> Generator:
        """The decoder, loaded at the first request so that a service that only scores never pays for it."""
        return Generator(
            self._model.artifact.contract, run_timeout_s=self._run_timeout_s, tensor_bytes=self._tensor_bytes
        )

    def _request(self, body: bytes) -> GenerateRequest:
        limits = self._model.limits
        require_few_values(body, limits.max_values)
        try:
            asked = GenerateRequest.model_validate(parse_json(body, max_depth=limits.max_depth))
        except ValidationError as error:
            raise ParameterError(*parameter_messages(error.errors(include_url=False))) from error
        if asked.count > self._max_count:
            raise ParameterError(f"count: expected at most {self._max_count}, got {asked.count}")
        return asked

"""POST /generate: new records like those that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from vaegis.service.generation import drawn_seed, records_of
from vaegis.service.http.admission import Admission, Slot
from vaegis.service.http.endpoints import json_content, operation, read_parameters
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.models.registry import ModelEntry
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.negotiation import require_json
from vaegis.service.http.schemas import GenerateAnswer, GenerateRequest, rendered, shown_digest

_EXAMPLE_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class GenerateEndpoint:
    """Answers POST /generate with at most ``max_count`` records at a time."""

    model: ModelEntry
    admission: Admission
    max_count: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        async with self.admission.slot(scope, receive) as slot:
            model = self.model.live()
            require_json(scope["headers"])
            request = await read_parameters(slot, GenerateRequest)
            if request.count > self.max_count:
                raise ParameterError(f"count: expected at most {self.max_count}, got {request.count}")
            answer = await slot.run(partial(_answer, model, request, slot))
            await slot.send(send, [answer], len(answer), model.json_headers)

    def operation(self) -> dict[str, Any]:
        """Return what OpenAPI says of the route."""
        model = self.model.live()
        example = _document(model, _EXAMPLE_SEED, [model.artifact.contract.golden.records[0]])
        return operation(
            "generate",
            "Generate",
            "Draw new records like those that the model was trained on.",
            takes=json_content(GenerateRequest, {"count": 1, "seed": _EXAMPLE_SEED}),
            gives=json_content(GenerateAnswer, example),
        )


def _answer(model: ServedModel, request: GenerateRequest, slot: Slot) -> bytes:
    """Return the answer to a request; blocks.

    Raises:
        DeadlineError: the answer is not needed any more.
        RateLimitedError: the caller may not have so many records yet.
    """
    slot.context.charge(request.count)
    seed = drawn_seed() if request.seed is None else request.seed
    records = []
    for part in model.generator.chunks(request.count, seed, temperature=request.temperature):
        records += records_of(model.generator.schema, part)
        slot.check()
    answer = rendered(_document(model, seed, records))
    slot.context.records = len(records)
    model.metrics.generated.inc(len(records))
    return answer


def _document(model: ServedModel, seed: int, records: Sequence[object]) -> dict[str, object]:
    return {"model": model.name, "model_digest": shown_digest(model.artifact), "seed": seed, "records": records}

"""POST /generate: new records like those that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from pydantic import ConfigDict, Field
from starlette.types import Receive, Scope, Send

from vaegis.service.contract import Value
from vaegis.service.generation import DEFAULT_TEMPERATURE, HIGHEST_TEMPERATURE, drawn_seed, records_of
from vaegis.service.http.admission import Admission, Slot
from vaegis.service.http.endpoints import json_content, operation, read_parameters
from vaegis.service.http.errors import ParameterError
from vaegis.service.http.models.registry import ModelEntry
from vaegis.service.http.models.served_model import ServedModel
from vaegis.service.http.negotiation import require_json
from vaegis.service.http.schemas import EXAMPLE_DIGEST, Answer, rendered, shown_digest, with_example

_EXAMPLE_SEED: Final = 7


class GenerateRequest(Answer):
    """The body of POST /generate."""

    model_config = ConfigDict(strict=True)

    count: int = Field(ge=0, description="Records to generate.")
    seed: int | None = Field(
        default=None, ge=0, lt=2**63, description="The same seed gives the same records; drawn and echoed if left out."
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=HIGHEST_TEMPERATURE,
        description="How far records may be from known ones; 1 draws from the prior itself. "
        f"{DEFAULT_TEMPERATURE} if left out.",
    )


class GenerateAnswer(Answer):
    """The answer of POST /generate."""

    model_config = with_example(
        model="orders",
        model_digest=EXAMPLE_DIGEST,
        seed=3,
        records=[{"amount": 36.28, "express": False, "country": "FR", "placed_at": "2024-09-19T14:13:39+00:00"}],
    )

    model: str
    model_digest: str
    seed: int
    records: list[dict[str, Value]] = Field(description="Invented records, in the form that POST /score takes.")


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
            "Generate records",
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

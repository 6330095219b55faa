"""The routes: what each path takes and answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, ConfigDict

from service.http.admission import Admission
from service.http.answers import GenerateAnswer, ModelAnswer, ScoreAnswer, StateAnswer
from service.http.body import read_body, require_json
from service.http.call import call_of
from service.http.generating import Generating
from service.http.metrics import Metrics
from service.http.readiness import Readiness
from service.http.scoring import Scoring
from service.verdicts import Explain

_JSON = "application/json"


class ScoreQuery(BaseModel):
    """Query of POST /score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float | None = None
    """Share of normal records that may be flagged; the service's own if left out."""
    explain: Explain | None = None
    """Which results carry contributions; the service's own choice if left out."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Lets a request with a body in, reads it, and has it answered off the event loop."""

    readiness: Readiness
    admission: Admission
    metrics: Metrics
    max_body_bytes: int
    body_timeout_s: float

    async def answer(self, request: Request, work: Callable[[bytes], bytes]) -> Response:
        """Return what ``work`` makes of the body, or raise why the request is not let in."""
        self.readiness.require_model()
        with self.admission.slot():
            require_json(request)
            body = await read_body(request, max_bytes=self.max_body_bytes, timeout_s=self.body_timeout_s)
            arrived = time.perf_counter()

            def timed() -> bytes:
                self.metrics.queue_seconds.observe(time.perf_counter() - arrived)
                return work(body)

            return Response(await self.admission.run(timed), media_type=_JSON)


def work_routes(
    intake: Intake, scoring: Scoring, generating: Generating, *, alpha: float, explain: Explain
) -> APIRouter:
    """Return the routes that compute; ``alpha`` and ``explain`` hold where a request does not say."""
    router = APIRouter()

    @router.post("/score", responses={200: {"model": ScoreAnswer}})
    async def score(request: Request, query: Annotated[ScoreQuery, Query()]) -> Response:
        """Score one record or a list: how unlikely each is, whether it is an anomaly, and which columns did it."""
        used_alpha = alpha if query.alpha is None else query.alpha
        used_explain = explain if query.explain is None else query.explain
        call = call_of(request.scope)
        return await intake.answer(
            request, lambda body: scoring.answer(body, call, alpha=used_alpha, explain=used_explain)
        )

    @router.post("/generate", responses={200: {"model": GenerateAnswer}})
    async def generate(request: Request) -> Response:
        """Draw new records like those that the model was trained on."""
        call = call_of(request.scope)
        return await intake.answer(request, lambda body: generating.answer(body, call))

    return router


def model_routes(model: ModelAnswer, record_schema: bytes) -> APIRouter:
    """Return the routes that describe the model."""
    router = APIRouter()
    described = model.model_dump_json(by_alias=True).encode()

    @router.get("/model", responses={200: {"model": ModelAnswer}})
    async def get_model() -> Response:
        """Describe the model: its columns, calibration and provenance."""
        return Response(described, media_type=_JSON)

    @router.get("/model/schema", responses={200: {"content": {"application/schema+json": {}}}})
    async def get_record_schema() -> Response:
        """Give the JSON Schema of a record."""
        return Response(record_schema, media_type="application/schema+json")

    return router


def operator_routes(readiness: Readiness, metrics: Metrics, openapi: Callable[[], bytes]) -> APIRouter:
    """Return the routes for those who run the service."""
    router = APIRouter()

    @router.get("/livez")
    async def livez() -> StateAnswer:
        """Tell that the process answers; it says nothing about the model."""
        return StateAnswer(state="alive")

    @router.get("/readyz")
    async def readyz() -> StateAnswer:
        """Tell whether requests should be sent here: the golden records were reproduced, and no shutdown has begun."""
        readiness.require_ready()
        return StateAnswer(state=readiness.state)

    # These two are no coroutines, so that the framework runs them on a thread: both take milliseconds.
    @router.get("/metrics", responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}})
    def get_metrics(request: Request) -> Response:
        """Expose the metrics, in the text format or in OpenMetrics."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": content_type})

    @router.get("/openapi.json", include_in_schema=False)
    def get_openapi() -> Response:
        return Response(openapi(), media_type=_JSON)

    return router

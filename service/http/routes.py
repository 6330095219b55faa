"""The routes: what each path takes and answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from prometheus_client.exposition import choose_encoder

from vaegis.service.http.answers import GenerateAnswer, ModelAnswer, ScoreAnswer, StateAnswer
from vaegis.service.http.call import call_of
from vaegis.service.http.generating import Generating
from vaegis.service.http.intake import Intake
from vaegis.service.http.metrics import Metrics
from vaegis.service.http.readiness import Readiness
from vaegis.service.http.score_query import ScoreQuery

_JSON = "application/json"


def work_routes(intake: Intake, generating: Generating) -> APIRouter:
    """Return the routes that compute."""
    router = APIRouter()

    @router.post("/score", responses={200: {"model": ScoreAnswer}})
    async def score(query: Annotated[ScoreQuery, Query()]) -> Response:
        """Score one record or a list: how unlikely each is, whether it is an anomaly, and which columns did it."""
        raise NotImplementedError(f"{query}: expected `front` to answer")  # this one only describes

    @router.post("/generate", responses={200: {"model": GenerateAnswer}})
    async def generate(request: Request) -> Response:
        """Draw new records like those that the model was trained on."""
        call = call_of(request.scope)
        answer = await intake.answer(
            request.scope, request.receive, lambda body, between: generating.answer(body, call, between)
        )
        return Response(answer, media_type=_JSON)

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

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez")
    async def livez() -> StateAnswer:
        """Tell that the process answers; it says nothing about the model."""
        return StateAnswer(state="alive")

    @router.head("/readyz", include_in_schema=False)
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

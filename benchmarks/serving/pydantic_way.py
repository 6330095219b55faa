"""The way most teams would serve the exported model: FastAPI, with pydantic models for a record and for a verdict.

One record goes to /score/one, a list to /score; every number is converted and checked, none is believed.

    SERVING_MODEL=model.onnx uvicorn --factory benchmarks.serving.pydantic_way:create_app
"""

import os
from pathlib import Path

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, create_model

from benchmarks.serving.exported import open_exported


class Verdict(BaseModel):
    """What one record gets."""

    score: float
    is_anomaly: bool


class Answer(BaseModel):
    """What all of them get."""

    results: list[Verdict]


def create_app() -> FastAPI:
    """Return the app for the model named by SERVING_MODEL."""
    model = open_exported(Path(os.environ["SERVING_MODEL"]), chunk_records=int(os.environ["SERVING_CHUNK_RECORDS"]))
    # Written out, this is a class with one line for each column.
    record = create_model("Record", **dict.fromkeys(model.columns, (float, ...)))
    app = FastAPI()

    def verdicts(items: list[BaseModel]) -> list[Verdict]:
        scores = model.scores(np.array([list(item.model_dump().values()) for item in items]))
        pairs = zip(scores.tolist(), (scores > model.threshold).tolist(), strict=True)
        return [Verdict(score=score, is_anomaly=flag) for score, flag in pairs]

    @app.post("/score", response_model=Answer)  # noqa: FAST001 - as it is mostly written
    async def score(records: list[record]) -> Answer:  # type: ignore[valid-type]
        return Answer(results=verdicts(records))

    @app.post("/score/one", response_model=Verdict)  # noqa: FAST001 - as it is mostly written
    async def score_one(one: record) -> Verdict:  # type: ignore[valid-type]
        return verdicts([one])[0]

    return app

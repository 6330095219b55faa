"""What the service is measured against serves the same model: the same scores and flags."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.training.conftest import SETTINGS, SPLIT, run
from vaegis.service.artifact import load_artifact
from vaegis.service.http.app import create_app
from vaegis.service.settings import load_settings

pytest.importorskip("orjson", reason="only the bench extra installs it")
pytest.importorskip("benchmarks")

from benchmarks.serving import floor, pydantic_way

RECORDS = [{"a": 0.5, "b": 1.0, "c": -0.2}, {"a": 40.0, "b": -9.0, "c": 12.5}, {"c": 0.1, "a": 0.0, "b": 0.3}]


@pytest.fixture(scope="module")
def numbers_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbers")
    data, settings, model = folder / "numbers.parquet", folder / "train.toml", folder / "model.onnx"
    values = np.random.default_rng(0).normal(size=(3, 600))
    pq.write_table(pa.table(dict(zip("abc", values, strict=True))), data)
    settings.write_text(SETTINGS + SPLIT)
    code, _ = run(data, "--output", model, "--config", settings)
    assert code == 0
    return model


def posted(app, path, body):
    async def exchange():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return (await client.post(path, json=body)).json()

    return asyncio.run(exchange())


def test_the_floor_and_the_pydantic_way_give_the_scores_and_flags_of_the_service(numbers_model, monkeypatch):
    monkeypatch.setenv("SERVING_MODEL", str(numbers_model))
    monkeypatch.setenv("SERVING_CHUNK_RECORDS", "2")
    artifact = load_artifact(numbers_model)
    served = create_app(artifact, load_settings({}, {}))
    served.readiness.admit(artifact.verify())
    results = posted(served, "/score", RECORDS)["results"]
    expected = [result["score"] for result in results], [result["is_anomaly"] for result in results]
    assert expected[1] == [False, True, False]
    bare = posted(floor.create_app(), "/", RECORDS)
    assert (bare["score"], bare["is_anomaly"]) == (pytest.approx(expected[0]), expected[1])
    usual = posted(pydantic_way.create_app(), "/score", RECORDS)["results"]
    assert [each["score"] for each in usual] == pytest.approx(expected[0])
    assert [each["is_anomaly"] for each in usual] == expected[1]
    one = posted(pydantic_way.create_app(), "/score/one", RECORDS[1])
    assert (one["score"], one["is_anomaly"]) == (pytest.approx(expected[0][1]), True)

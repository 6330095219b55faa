"""Calls a service with the Python client that openapi-generator made; run in that generator's environment."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "build" / "clients" / "openapi-generator" / "python"))

import generated_client as client

connection = client.ApiClient(client.Configuration(host=sys.argv[1]))
score, v2 = client.ScoreApi(connection).score, client.V2Api(connection)
generation, models = client.GenerateApi(connection), client.ModelsApi(connection)
sound = client.Record.from_dict(
    {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z"}
)
faulty = client.Record.from_dict({"amount": "many"})

one = score(client.ScoreRequest(sound)).results[0].actual_instance
assert isinstance(one, client.ResultItem), one
assert 0 < one.p_value <= 1

reported = score(client.ScoreRequest([sound, faulty]), on_invalid=client.OnInvalid.REPORT)
verdict, refused = [result.actual_instance for result in reported.results]
assert (verdict.score, verdict.errors, refused.errors[0].column) == (one.score, None, "amount")
problem = None
try:
    score(client.ScoreRequest([sound, faulty]))
except client.exceptions.UnprocessableEntityException as error:
    problem = error.data
assert problem is not None, "expected 422"
assert (problem.status, problem.errors[0].row) == (422, 1)

by_column = client.RecordsByColumn.from_dict({"amount": [22.5, 9.0], "express": [False, "true"]})
assert len(score(client.ScoreRequest(by_column), explain=client.Explain.ALL).results) == 2
assert len(generation.generate(client.GenerateRequest(count=2, seed=1)).records) == 2
assert generation.drill(client.DrillRequest(seed=1)).was_flagged
name = models.get_models().default
assert models.get_model().model == name
tensor = {"name": "amount", "shape": [1], "datatype": "FP64", "data": [22.5]}
infer = client.InferBody.from_dict({"inputs": [tensor]})
assert v2.infer(name, infer).outputs[0].shape == [1]
version = v2.model_metadata(name).versions[0]
assert v2.infer_of_version(name, version, infer).model_version == version
assert client.MetricsApi(connection).get_live_counts().records.scored >= 5
assert client.HealthApi(connection).livez().state == "alive"

"""Calls a service with the client that openapi-python-client made; run in that generator's environment."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path.cwd()))

from vaegis_client import Client, models
from vaegis_client.api.generate import drill, generate
from vaegis_client.api.health import livez
from vaegis_client.api.metrics import get_live_counts
from vaegis_client.api.models import get_model
from vaegis_client.api.score import score
from vaegis_client.api.v2 import infer, infer_of_version, model_metadata

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
Record = models.RecordOfTheModelOrders
sound = Record(amount=22.5, express=False, country="DE", placed_at="2023-11-22T10:00:00Z")

one = score.sync(client=client, body=sound)
assert isinstance(one, models.ScoreAnswer), one
assert isinstance(one.results[0], models.ResultItem)
assert 0 < one.results[0].p_value <= 1

columns = models.RecordsByColumn.from_dict({"amount": [22.5, 9.0], "express": [False, "true"]})
by_column = score.sync(client=client, body=columns, explain=models.Explain.ALL)
assert isinstance(by_column, models.ScoreAnswer), by_column
assert len(by_column.results) == 2

faulty = Record(amount="many")
refused = score.sync(client=client, body=[sound, faulty])
assert isinstance(refused, models.ProblemDocument), refused
assert (refused.status, refused.errors[0].row) == (422, 1)

reported = score.sync(client=client, body=[sound, faulty], on_invalid=models.OnInvalid.REPORT)
assert isinstance(reported, models.ScoreAnswer), reported
assert isinstance(reported.results[0], models.ResultItem)
assert isinstance(reported.results[1], models.RefusedItem)
assert (reported.results[0].score, reported.results[1].errors[0].column) == (one.results[0].score, "amount")

invented = generate.sync(client=client, body=models.GenerateRequest(count=2, seed=1))
assert isinstance(invented, models.GenerateAnswer), invented
assert len(invented.records) == 2

described = get_model.sync(client=client)
assert isinstance(described, models.ModelAnswer), described
assert isinstance(described.schema.columns[0], models.NumericColumn)
metadata = model_metadata.sync("orders", client=client)
assert isinstance(metadata, models.ModelMetadata), metadata

tensors = {"inputs": [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [22.5]}]}
for request, place in ((infer, ("orders",)), (infer_of_version, ("orders", metadata.versions[0]))):
    answer = request.sync(*place, client=client, body=models.InferBody.from_dict(tensors))
    assert isinstance(answer, models.InferAnswer), answer
    assert answer.outputs[0].shape == [1]

assert isinstance(drill.sync(client=client, body=models.DrillRequest(seed=1)), models.DrillAnswer)
counts = get_live_counts.sync(client=client)
assert isinstance(counts, models.LiveAnswer), counts
assert counts.records.scored >= 5
alive = livez.sync(client=client)
assert isinstance(alive, models.StateAnswer), alive

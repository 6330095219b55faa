"""The Open Inference Protocol V2: its conventions, its errors, and verdicts that are those of POST /score."""

from __future__ import annotations

import base64
import gzip
import json
import math

import numpy as np
import pytest

from vaegis.service.http.app import create_app
from vaegis.service.http.writers.v2 import OUTPUTS
from vaegis.service.settings import load_settings

RECORDS = [
    {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z", "order_id": "a-1"},
    {"amount": None, "express": True, "country": None, "placed_at": None, "order_id": "a-2"},
    {"amount": 1e9, "express": False, "country": "Atlantis", "placed_at": "2023-11-26T03:00:00Z", "order_id": "a-3"},
]
TYPES = {"amount": "FP64", "express": "BOOL", "country": "BYTES", "placed_at": "BYTES", "order_id": "BYTES"}
INFER = "/v2/models/orders/infer"


def tensors(records):
    return [
        {"name": name, "shape": [len(records), 1], "datatype": kind, "data": [record[name] for record in records]}
        for name, kind in TYPES.items()
    ]


def packed(inputs):
    """Return inputs in binary; they may hold no nulls."""
    parts, bare = [], []
    for item in inputs:
        if item["datatype"] == "BYTES":
            part = b"".join(len(text).to_bytes(4, "little") + text.encode() for text in item["data"])
        else:
            part = np.array(item["data"], dtype={"FP64": "<f8", "BOOL": "?"}[item["datatype"]]).tobytes()
        parts.append(part)
        bare.append({**item, "parameters": {"binary_data_size": len(part)}})
        del bare[-1]["data"]
    return bare, b"".join(parts)


@pytest.fixture
def infer(new_app, send):
    def run(inputs, *, binary=b"", path=INFER, headers=None, settings=None, **rest):
        header = json.dumps({"inputs": inputs, **rest}).encode()
        sent = {"content-type": "application/json"}
        if binary:
            sent = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(header))}
        return send(new_app(**settings or {}), "POST", path, content=header + binary, headers=sent | (headers or {}))

    return run


@pytest.fixture
def scored(new_app, send):
    return lambda query="": send(new_app(), "POST", f"/score{query}", json=RECORDS).json()


def outputs(response):
    """Return the data of an answer's outputs by name, whether in JSON or behind it."""
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    at = length
    found = {}
    for item in json.loads(response.content[:length])["outputs"]:
        size = item.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[item["name"]] = item["data"]
            continue
        data = response.content[at : at + size]
        at += size
        if item["datatype"] == "BYTES":
            texts = found[item["name"]] = []
            while data:
                end = 4 + int.from_bytes(data[:4], "little")
                texts.append(data[4:end].decode())
                data = data[end:]
        else:
            found[item["name"]] = np.frombuffer(data, dtype={"FP64": "<f8", "BOOL": "?"}[item["datatype"]]).tolist()
    assert at == len(response.content)
    return found


@pytest.mark.parametrize("path", [INFER, "/v2/models/orders/versions/{version}/infer"])
def test_tensors_get_the_verdicts_of_their_records(infer, scored, artifact, path):
    response = infer(tensors(RECORDS), id="b-17", path=path.format(version=artifact.digest[:12]))
    assert response.status_code == 200, response.text
    answer, wanted = response.json(), scored()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("b-17", "orders", artifact.digest[:12])
    assert answer["parameters"] == {name: wanted[name] for name in wanted if name not in ("model", "results")}
    assert [item["name"] for item in answer["outputs"]] == [name for name in OUTPUTS if name != "errors"]
    for item in answer["outputs"]:
        assert (item["shape"], item["datatype"]) == ([3], OUTPUTS[item["name"]])
        data = [json.loads(text) for text in item["data"]] if item["datatype"] == "BYTES" else item["data"]
        assert data == [result[item["name"]] for result in wanted["results"]]


def test_binary_tensors_get_the_same_and_may_be_answered_in_binary(infer):
    records = [RECORDS[0], RECORDS[2]]
    plain = outputs(infer(tensors(records)))
    bare, binary = packed(tensors(records))
    assert outputs(infer(bare, binary=binary)) == plain
    answer = infer(bare, binary=binary, parameters={"binary_data_output": True})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert outputs(answer) == plain


def test_outputs_are_chosen_in_their_order_and_each_in_its_form(infer):
    asked = [{"name": "is_anomaly"}, {"name": "score", "parameters": {"binary_data": True}}, {"name": "reasons"}]
    response = infer(tensors(RECORDS), outputs=asked)
    assert list(outputs(response)) == ["is_anomaly", "score", "reasons"]
    assert outputs(response)["is_anomaly"] == [False, True, True]


def test_parameters_say_what_the_query_of_score_says(infer, scored):
    wanted = scored("?alpha=0.2&explain=none")
    response = infer(tensors(RECORDS), parameters={"alpha": 0.2, "explain": "none", "content_type": "pd"})
    assert response.json()["parameters"]["alpha"] == 0.2
    assert "contributions" not in outputs(response)
    assert outputs(response)["is_anomaly"] == [result["is_anomaly"] for result in wanted["results"]]


@pytest.mark.parametrize("binary", [False, True])
def test_faults_can_be_reported_in_the_place_of_verdicts(infer, binary):
    bad = [RECORDS[0], RECORDS[0] | {"placed_at": "soon"}, RECORDS[2]]
    parameters = {"on_invalid": "report", "binary_data_output": binary}
    found = outputs(infer(tensors(bad), parameters=parameters))
    assert [error and json.loads(error) is not None for error in found["errors"]] == [False, True, False]
    assert json.loads(found["errors"][1])[0]["code"] == "invalid_timestamp"
    assert math.isnan(found["score"][1]) if binary else found["score"][1] is None
    assert found["is_anomaly"] == ([False, True, True] if binary else [False, None, True])
    assert found["reasons"][1] == "null"


def test_a_refused_record_has_its_errors_although_they_are_not_asked_for(infer):
    bad = [RECORDS[0], RECORDS[0] | {"placed_at": "soon"}]
    asked = {"outputs": [{"name": "score"}], "parameters": {"on_invalid": "report"}}
    assert list(outputs(infer(tensors(bad), **asked))) == ["score", "errors"]
    assert list(outputs(infer(tensors(RECORDS), **asked))) == ["score"]


def test_nan_parameters_of_null_and_an_empty_list_of_outputs_are_read_as_clients_mean_them(infer):
    wanted = outputs(infer(tensors([RECORDS[1]])))
    sent = tensors([RECORDS[1] | {"amount": math.nan}])
    assert outputs(infer([item | {"parameters": None} for item in sent], parameters=None, outputs=[])) == wanted


@pytest.mark.parametrize("binary", [False, True])
def test_text_in_base64_is_decoded(infer, binary):
    wanted = outputs(infer(tensors([RECORDS[0]])))
    sent = tensors([RECORDS[0]])
    sent[2] |= {"data": [base64.b64encode(b"DE").decode()]}
    sent, data = packed(sent) if binary else (sent, b"")
    sent[2]["parameters"] = sent[2].get("parameters", {}) | {"content_type": "base64"}
    assert outputs(infer(sent, binary=data)) == wanted


def test_a_body_may_be_compressed(infer, new_app, send):
    body = gzip.compress(json.dumps({"inputs": tensors(RECORDS)}).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert send(new_app(), "POST", INFER, content=body, headers=headers).status_code == 200
    bomb = gzip.compress(b" " * 5_000_000)
    assert send(new_app(max_body_bytes=2**20), "POST", INFER, content=bomb, headers=headers).status_code == 413


ONE = [{"name": "amount", "shape": [1], "datatype": "FP64", "data": [1.0]}]


@pytest.mark.parametrize(
    ("inputs", "rest", "status", "message"),
    [
        (5, {}, 400, "inputs: expected a list"),
        ([{**ONE[0], "datatype": "TEXT"}], {}, 400, "expected one of BOOL"),
        ([{**ONE[0], "data": [math.inf]}], {}, 400, "got the literal Infinity"),
        ([{**ONE[0], "parameters": {"content_type": "base64"}}], {}, 400, "expected BYTES for the content_type base64"),
        (
            [{**ONE[0], "datatype": "BYTES", "data": ["D?"], "parameters": {"content_type": "base64"}}],
            {},
            400,
            "inputs.amount: expected texts in base64",
        ),
        (ONE, {"outputs": [{"name": "scores"}]}, 400, f"outputs: expected some of {', '.join(OUTPUTS)}, got 'scores'"),
        (ONE, {"outputs": [{"name": "score"}] * 2}, 400, "outputs: expected names that differ"),
        (
            ONE,
            {"outputs": [{"name": "score", "parameters": {"classification": 2}}]},
            400,
            "outputs.score.parameters: classification is not supported here",
        ),
        ([{**ONE[0], "name": "x", "shape": [3], "data": [1] * 3}], {}, 400, "got 1; one record is of shape [1, 3]"),
        (
            [{**ONE[0], "shape": [1, 2], "data": [1] * 2}, {**ONE[0], "name": "express"}],
            {},
            400,
            "inputs.amount: expected the shape [N] or [N, 1], got [1, 2]",
        ),
        ([{**ONE[0], "name": "amuont"}, ONE[0]], {}, 422, "inputs.amuont: unknown column; the nearest is amount"),
        ([{**ONE[0], "datatype": "BYTES", "data": ["x"]}], {}, 422, "records[0].amount: expected a number, got text"),
        ([{**ONE[0], "shape": [0], "data": []}], {}, 422, "at least one record"),
        ([{**ONE[0], "shape": [4], "data": [1] * 4}], {}, 413, "at most 3 records"),
        ([{**ONE[0], "shape": [2000], "data": [1] * 2000}], {}, 413, "commas and opening brackets"),
        (ONE, {"parameters": {"alpha": 1e-9}}, 422, "alpha"),
        (ONE, {"parameters": {"explain": "some"}}, 422, "explain: expected"),
        (ONE, {"headers": {"content-type": "text/csv"}}, 415, "expected application/json"),
        (ONE, {"headers": {"content-encoding": "br"}}, 415, "expected gzip, deflate, zstd or none"),
        (ONE, {"headers": {"inference-header-content-length": "99999"}}, 422, ", got '99999'"),
        (ONE, {"headers": {"inference-header-content-length": "9" * 5000}}, 422, "expected a number of at most"),
        (ONE, {"path": "/v2/models/others/infer"}, 404, "no such model; this service has 'orders'"),
        (ONE, {"path": "/v2/models/orders/versions/7/infer"}, 404, "no such version of the model 'orders'; '"),
        (ONE, {"path": "/v2/nowhere"}, 404, "no such path"),
    ],
)
def test_an_error_has_the_form_of_the_protocol(infer, inputs, rest, status, message):
    response = infer(inputs, settings={"max_records": 3, "max_values": 1000}, **rest)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/json")
    assert message in response.json()["error"]
    assert list(response.json()) == ["error"]


def test_the_model_and_the_server_describe_themselves(new_app, send, artifact):
    app = new_app()
    model = send(app, "GET", "/v2/models/orders").json()
    assert (model["name"], model["platform"]) == ("orders", "onnx_onnxv1")
    assert model["versions"] == [artifact.digest[:12]]
    assert {item["name"] for item in model["inputs"]} == set(artifact.contract.columns.names)
    assert {item["name"]: item["datatype"] for item in model["outputs"]} == dict(OUTPUTS)
    assert send(app, "GET", f"/v2/models/orders/versions/{artifact.digest[:12]}").json() == model
    assert send(app, "GET", "/v2/models/other").status_code == 404
    assert send(app, "GET", "/v2").json()["extensions"] == ["binary_tensor_data"]


def test_probes_tell_whether_requests_should_come(new_app, send, artifact):
    ready, loading = new_app(), create_app(artifact, load_settings({}, {}))
    assert send(loading, "GET", "/v2/health/live").json() == {"live": True}
    assert send(ready, "GET", "/v2/health/ready").json() == {"ready": True}
    assert send(ready, "GET", "/v2/models/orders/ready").json() == {"name": "orders", "ready": True}
    for path in ("/v2/health/ready", "/v2/models/orders/ready"):
        response = send(loading, "GET", path)
        assert response.status_code == 503
        assert list(response.json()) == ["error"]

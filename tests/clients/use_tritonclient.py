"""Calls a service with tritonclient, in JSON and in binary."""

from __future__ import annotations

import sys

import numpy as np
import tritonclient.http as triton

# Without binary tensors the client declares no type, and a service without keys refuses that (docs/security.md).
JSON = {"Content-Type": "application/json"}
client = triton.InferenceServerClient(sys.argv[1].removeprefix("http://"))
VALUES = {
    "amount": ("FP64", np.array([22.5, np.nan])),
    "express": ("BOOL", np.array([False, True])),
    "country": ("BYTES", np.array(["DE", "Zürich"], dtype=object)),
    "placed_at": ("BYTES", np.array(["2023-11-22T10:00:00Z", ""], dtype=object)),
}


def inputs(*, binary: bool, **others: np.ndarray) -> list[triton.InferInput]:
    """Return two records as tensors, with other values for some columns."""
    made = []
    for name, (datatype, values) in VALUES.items():
        tensor = triton.InferInput(name, [2, 1], datatype)
        tensor.set_data_from_numpy(others.get(name, values).reshape(2, 1), binary_data=binary)
        made.append(tensor)
    return made


assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("orders")
version = client.get_model_metadata("orders")["versions"][0]
assert client.is_model_ready("orders", version)

scores = []
for binary in (False, True):
    for compression in (None, "gzip", "deflate"):
        answer = client.infer(
            "orders", inputs(binary=binary), headers=dict(JSON), request_compression_algorithm=compression
        )
        scores.append(answer.as_numpy("score").tolist())
    packed = [triton.InferRequestedOutput(name, binary_data=True) for name in ("score", "is_anomaly", "reasons")]
    for outputs in (None, packed):
        answer = client.infer(
            "orders",
            inputs(binary=binary),
            outputs=outputs,
            request_id="a-1",
            model_version=version,
            headers=dict(JSON),
        )
        assert answer.get_response()["id"] == "a-1"
        scores.append(answer.as_numpy("score").tolist())
    for compression in ("gzip", "deflate"):
        answer = client.infer(
            "orders",
            inputs(binary=binary),
            headers=dict(JSON),
            response_compression_algorithm=compression,
        )
        scores.append(answer.as_numpy("score").tolist())
assert all(found == scores[0] for found in scores), scores

soon = np.array(["2023-11-22T10:00:00Z", "soon"], dtype=object)
answer = client.infer(
    "orders", inputs(binary=True, placed_at=soon), outputs=packed, parameters={"on_invalid": "report"}
)
assert answer.as_numpy("is_anomaly").tolist()[1] is True
assert np.isnan(answer.as_numpy("score")[1])
assert answer.as_numpy("errors") is not None

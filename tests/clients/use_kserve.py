"""Calls a service with kserve's REST client, in JSON and in binary."""

from __future__ import annotations

import asyncio
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

ADDRESS = sys.argv[1]
VALUES = {
    "amount": ("FP64", np.array([[22.5], [np.nan]])),
    "express": ("BOOL", np.array([[False], [True]])),
    "country": ("BYTES", np.array([["DE"], ["FR"]], dtype=object)),
}


def request(*, binary: bool) -> InferRequest:
    """Return two records as tensors."""
    inputs = []
    for name, (datatype, values) in VALUES.items():
        tensor = InferInput(name, list(values.shape), datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    return InferRequest(model_name="orders", infer_inputs=inputs, request_id="a-1")


async def main() -> None:
    """Ask for health, and for verdicts in both forms."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    assert await client.is_server_live(ADDRESS)
    assert await client.is_server_ready(ADDRESS)
    assert await client.is_model_ready(ADDRESS, "orders")
    found = []
    for binary in (False, True):
        answer = await client.infer(ADDRESS, request(binary=binary), model_name="orders")
        assert answer.id == "a-1"
        found.append({output.name: output.as_numpy().tolist() for output in answer.outputs})
    assert found[0]["score"] == found[1]["score"]
    assert len(found[0]["is_anomaly"]) == len(found[1]["is_anomaly"])


asyncio.run(main())

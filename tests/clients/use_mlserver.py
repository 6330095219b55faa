"""Calls a service with requests that mlserver's codecs write, and reads the answers with them."""

from __future__ import annotations

import sys
import urllib.request
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import numpy as np
    import pandas as pd
    from mlserver.codecs import Base64Codec, NumpyCodec, PandasCodec, StringCodec
    from mlserver.types import (
        InferenceRequest,
        InferenceResponse,
        MetadataModelResponse,
        MetadataServerResponse,
        RequestOutput,
    )

ADDRESS = sys.argv[1]


def answered(path: str, request: InferenceRequest | None = None, *, with_nulls: bool = False) -> bytes:
    """Return what the service answers."""
    body = None if request is None else request.model_dump_json(exclude_none=not with_nulls).encode()
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{ADDRESS}{path}", body, headers)) as answer:
        return answer.read()


def infer(request: InferenceRequest, *, with_nulls: bool = False) -> InferenceResponse:
    """Return the answer to a request, as mlserver reads it."""
    answer = answered("/v2/models/orders/infer", request, with_nulls=with_nulls)
    return InferenceResponse.model_validate_json(answer)


MetadataServerResponse.model_validate_json(answered("/v2"))
MetadataModelResponse.model_validate_json(answered("/v2/models/orders"))

frame = pd.DataFrame({"amount": [22.5, np.nan], "express": [False, True], "country": ["DE", "FR"]})
request = PandasCodec.encode_request(frame)
verdicts = PandasCodec.decode_response(infer(request))
assert len(verdicts) == len(frame)
assert PandasCodec.decode_response(infer(request, with_nulls=True))["score"].tolist() == verdicts["score"].tolist()

amount = NumpyCodec.encode_input("amount", np.array([[1.5]]))
plain = infer(InferenceRequest(inputs=[amount, StringCodec.encode_input("country", ["DE"])], outputs=[]))
encoded = infer(InferenceRequest(inputs=[amount, Base64Codec.encode_input("country", [b"DE"])]))
assert [output.data for output in plain.outputs] == [output.data for output in encoded.outputs]

chosen = infer(InferenceRequest(id="a-1", inputs=[amount], outputs=[RequestOutput(name="score")]))
assert (chosen.id, [output.name for output in chosen.outputs]) == ("a-1", ["score"])
assert NumpyCodec.decode_output(chosen.outputs[0]).shape == (1,)

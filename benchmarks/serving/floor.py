"""The bare floor: the least that can be done over HTTP with the exported model, without a single check.

What the service is held against. It believes every header, body and number; it answers score and flag of each record
as two lists, and knows nothing of p-values, reasons, metrics, limits or logs.

    SERVING_MODEL=model.onnx uvicorn --factory benchmarks.serving.floor:create_app --loop uvloop --http httptools
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from benchmarks.serving.exported import open_exported

_App = Callable[[Any, Any, Any], Awaitable[None]]


def create_app() -> _App:
    """Return the ASGI app for the model named by SERVING_MODEL."""
    model = open_exported(Path(os.environ["SERVING_MODEL"]), chunk_records=int(os.environ["SERVING_CHUNK_RECORDS"]))
    width, values = len(model.columns), itemgetter(*model.columns)
    content_type = (b"content-type", b"application/json")

    def answer(body: bytes) -> bytes:
        records = orjson.loads(body)
        if isinstance(records, dict):
            records = [records]
        flat = chain.from_iterable(map(values, records))
        numbers = np.fromiter(flat, np.float64, len(records) * width).reshape(-1, width)
        scores = model.scores(numbers)
        verdicts = {"score": scores, "is_anomaly": scores > model.threshold}
        return orjson.dumps(verdicts, option=orjson.OPT_SERIALIZE_NUMPY)

    async def app(_: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own types are Any
        message = await receive()
        body = message["body"]
        if message["more_body"]:
            parts = [body]
            while message["more_body"]:
                message = await receive()
                parts.append(message["body"])
            body = b"".join(parts)
        answered = answer(body)
        headers = [content_type, (b"content-length", b"%d" % len(answered))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answered})

    return app

"""Answers that are compressed: only long ones, and only if the client accepts that."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys

import httpx
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNPACK = {"gzip": gzip.decompress, "zstd": zstd.decompress}
LEAST = {"compression_min_bytes": 1024}
REQUESTS = {
    "/score?explain=all": lambda record: [record] * 20,
    "/generate": lambda _: {"count": 20, "seed": 1},
    "/v2/models/orders/infer": lambda _: {
        "inputs": [{"name": "amount", "datatype": "FP64", "shape": [500], "data": [1.5] * 500}]
    },
}


@pytest.fixture
def exchange(new_app):
    """Post to an app of its own; return the headers and the bytes that it sent."""

    def run(path, body, accept, media_type="application/json", **settings):
        transport = httpx.ASGITransport(new_app(**settings))
        headers = {"content-type": media_type, "accept-encoding": accept}

        async def answer():
            async with (
                httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
                client.stream("POST", path, content=body, headers=headers) as response,
            ):
                assert response.status_code == 200
                return response.headers, b"".join([part async for part in response.aiter_raw()])

        return asyncio.run(answer())

    return run


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("coding", UNPACK)
def test_a_long_answer_is_compressed_and_is_the_same_answer(exchange, record, path, coding):
    body = json.dumps(REQUESTS[path](record)).encode()
    plain_headers, plain = exchange(path, body, "identity", **LEAST)
    headers, packed = exchange(path, body, coding, **LEAST)
    assert "content-encoding" not in plain_headers
    assert headers["content-encoding"] == coding
    assert headers["vary"] == plain_headers["vary"] == "accept-encoding"
    assert int(headers["content-length"]) == len(packed) < len(plain)
    assert UNPACK[coding](packed) == plain


def test_a_short_answer_is_sent_as_it_is(exchange, record):
    headers, answer = exchange("/score", json.dumps([record] * 20).encode(), "gzip, zstd")
    assert not {"content-encoding", "vary"} & set(headers)
    assert len(json.loads(answer)["results"]) == 20


@pytest.mark.parametrize("coding", UNPACK)
def test_an_answer_that_was_scored_in_blocks_is_compressed(exchange, record_line, coding):
    body = record_line * 5000
    kind = "application/x-ndjson"
    _, plain = exchange("/score", body, "identity", kind)
    headers, packed = exchange("/score", body, coding, kind, **LEAST)
    assert headers["content-encoding"] == coding
    assert UNPACK[coding](packed) == plain

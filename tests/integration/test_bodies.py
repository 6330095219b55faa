"""Bodies of few bytes that stand for many, posted to a service in a process of its own."""

from __future__ import annotations

import gzip
import io
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pyarrow as pa
import pytest

MIB = 2**20
MOST_BYTES = 16 * MIB  # of what is parsed whole, by default; a body may have four times as many
GZIP = {"content-encoding": "gzip"}


def references():
    """Return 4,096 records that all refer to one text of 1 MiB."""
    positions = pa.array(np.zeros(4096, dtype=np.int8))
    batch = pa.record_batch({"country": pa.DictionaryArray.from_arrays(positions, pa.array(["x" * MIB]))})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return gzip.compress(sink.getvalue())


def test_many_references_to_one_long_text_take_no_more_memory_than_a_few_bodies(serve):
    served = serve()
    before = served.peak_bytes()
    headers = {"content-type": "application/vnd.apache.arrow.stream", **GZIP}
    response = httpx.post(f"{served.url}/score", content=references(), headers=headers, timeout=60)
    assert response.status_code == 413
    assert response.json()["type"] == "urn:vaegis:problem:record-too-large"
    assert served.peak_bytes() - before < 4 * MOST_BYTES


def test_many_batches_that_refer_to_one_long_text_are_not_held_together(serve):
    texts = pa.DictionaryArray.from_arrays(pa.array([0], type=pa.int8()), pa.array(["x" * (8 * MIB)]))
    batch = pa.record_batch({"country": texts})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(40):
            writer.write_batch(batch)
    served = serve()
    before = served.peak_bytes()
    headers = {"content-type": "application/vnd.apache.arrow.stream", **GZIP}
    response = httpx.post(
        f"{served.url}/score?explain=none", content=gzip.compress(sink.getvalue()), headers=headers, timeout=60
    )
    assert response.status_code == 200
    assert served.peak_bytes() - before < 12 * MOST_BYTES


@pytest.mark.parametrize(
    ("media_type", "head", "piece"),
    [
        ("text/csv", b"amount\n", b"\n"),
        ("text/csv", b"amount,country\n", b'1,"x"\n' + b"\n" * 2**17),
        ("application/x-ndjson", b"", b" \n"),
        ("application/json", b"", b" "),
    ],
    ids=["CSV", "CSV with quotes", "NDJSON", "JSON"],
)
def test_probes_are_answered_while_a_bomb_is_unpacked(serve, media_type, head, piece):
    served = serve()
    before = served.peak_bytes()
    bomb = gzip.compress(head + piece * (5 * MOST_BYTES // len(piece)), 1)
    headers = {"content-type": media_type, **GZIP}
    with ThreadPoolExecutor() as threads:
        attacks = [
            threads.submit(httpx.post, f"{served.url}/score", content=bomb, headers=headers, timeout=60)
            for _ in range(4)
        ]
        answered = 0
        while not answered or not all(attack.done() for attack in attacks):
            answered += httpx.get(f"{served.url}/livez", timeout=10).status_code == 200
    assert {attack.result().status_code for attack in attacks} <= {413, 429, 504}
    assert served.peak_bytes() - before < 8 * MOST_BYTES

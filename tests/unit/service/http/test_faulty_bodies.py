"""A few bytes cannot hold so many faults, or so many empty frames, that reading them takes a core for long."""

from __future__ import annotations

import time

import pytest

from vaegis.service.records.decompression import compress

MIB = 2**20


@pytest.fixture
def cost(new_app, send):
    """Post a compressed body to a fresh app; return the status, the kind of problem and the processor time."""

    def measure(body: bytes, media_type: str) -> tuple[int, str, float]:
        app = new_app()
        began = time.process_time()
        headers = {"content-type": media_type, "content-encoding": "zstd"}
        answer = send(app, "POST", "/score", content=body, headers=headers)
        return answer.status_code, answer.json()["type"].rpartition(":")[2], time.process_time() - began

    return measure


@pytest.mark.parametrize(
    ("media_type", "start", "row"),
    [("text/csv", b"amount,country\n", b" \n"), ("application/x-ndjson", b"", b"x\n")],
)
def test_a_body_of_faulty_rows_costs_no_more_when_it_is_longer(cost, media_type, start, row):
    few, many = (cost(compress(start + row * rows), media_type) for rows in (MIB, 16 * MIB))
    assert few[:2] == many[:2] == (413, "too-many-records")
    assert many[2] < 4 * few[2]


def test_a_body_of_empty_frames_costs_no_more_when_it_is_longer(cost):
    few, many = (cost(compress(b"") * frames, "application/x-ndjson") for frames in (50_000, 800_000))
    assert few[:2] == many[:2] == (413, "body-too-large")
    assert many[2] < 4 * few[2]

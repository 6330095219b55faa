"""A model that takes long for some requests does not block the event loop: probes are answered meanwhile."""

from __future__ import annotations

import asyncio
import time

import httpx

from vaegis.service.artifact import open_artifact

RUN_TIMEOUT_S = 3.0


async def answers_and_silence(app, counts) -> tuple[list[int], float]:
    """Post each number of records, and ask for /livez all the time; return the statuses and the longest silence."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

        async def post() -> list[int]:
            return [(await client.post("/score", json=[{"amount": 1.0}] * count)).status_code for count in counts]

        posting = asyncio.ensure_future(post())
        silence_s = 0.0
        while not posting.done():
            began = time.perf_counter()
            assert (await client.get("/livez")).status_code == 200
            await asyncio.sleep(0)  # the others' turn
            silence_s = max(silence_s, time.perf_counter() - began)
        return await posting, silence_s


def test_probes_are_answered_while_a_run_hangs_and_the_run_ends_at_its_limit(new_app, golden_model, hostile):
    model = hostile.multiplies_when_triggered(golden_model.read_bytes(), 1200, 500)  # a minute
    slow = open_artifact(model, "slow", run_timeout_s=RUN_TIMEOUT_S)
    counts = [1, hostile.TRIGGER_RECORDS, 1, hostile.TRIGGER_RECORDS, 1]
    statuses, silence_s = asyncio.run(answers_and_silence(new_app(served=slow), counts))
    assert statuses == [200, 504, 200, 504, 200]
    assert silence_s < RUN_TIMEOUT_S / 2


def test_probes_are_answered_while_one_node_runs_that_cannot_be_interrupted(new_app, golden_model, hostile):
    model = hostile.multiplies_when_triggered(golden_model.read_bytes(), 5000, 1)
    slow = open_artifact(model, "slow")
    took_s = -time.perf_counter()
    statuses, silence_s = asyncio.run(answers_and_silence(new_app(served=slow), [1, hostile.TRIGGER_RECORDS, 1]))
    took_s += time.perf_counter()
    assert statuses == [200, 200, 200]
    assert silence_s < took_s / 4

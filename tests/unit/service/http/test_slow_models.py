"""A model that takes long for some records does not block the event loop: probes are answered meanwhile."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest

from vaegis.service.artifact import open_artifact

RUN_TIMEOUT_S = 3.0


@pytest.fixture(scope="module")
def slow(golden_model, hostile):
    """Open a model that multiplies large matrices for a minute at an amount of `hostile.TRIGGER`."""
    model = hostile.multiplies_when_triggered(golden_model.read_bytes(), 1200, 500)
    return open_artifact(model, "slow", run_timeout_s=RUN_TIMEOUT_S)


async def answers_and_silence(app, amounts) -> tuple[list[int], float]:
    """Post an amount after the other, and ask for /livez all the time; return statuses and the longest silence."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:

        async def post() -> list[int]:
            return [(await client.post("/score", json={"amount": amount})).status_code for amount in amounts]

        posting = asyncio.ensure_future(post())
        silence_s = 0.0
        while not posting.done():
            began = time.perf_counter()
            assert (await client.get("/livez")).status_code == 200
            await asyncio.sleep(0)  # the others' turn
            silence_s = max(silence_s, time.perf_counter() - began)
        return await posting, silence_s


def test_probes_are_answered_while_a_run_hangs_and_the_run_ends_at_its_limit(new_app, slow, hostile):
    amounts = [1.0, hostile.TRIGGER, 1.0, hostile.TRIGGER, 1.0]
    statuses, silence_s = asyncio.run(answers_and_silence(new_app(served=slow), amounts))
    assert statuses == [200, 504, 200, 504, 200]
    assert silence_s < RUN_TIMEOUT_S / 2

"""A model that takes long for some requests does not block the event loop: probes are answered meanwhile."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from vaegis.service.artifact import open_artifact
from vaegis.service.runtime import RunLimits

PROBES = 20
"""Answered while the model is slow. If it blocked the event loop, a request would see one or two."""


async def answers_and_probes(app, counts) -> tuple[list[int], list[int]]:
    """Post each number of records; return the statuses, and how many probes were answered meanwhile."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        statuses, probes = [], []
        for count in counts:
            posting = asyncio.ensure_future(client.post("/score", json=[{"amount": 1.0}] * count))
            answered = 0
            while not posting.done():
                answered += (await client.get("/livez")).status_code == 200
                await asyncio.sleep(0)  # the others' turn
            statuses.append((await posting).status_code)
            probes.append(answered)
        return statuses, probes


@pytest.mark.parametrize(
    ("side", "times", "run_timeout_s", "status"),
    [
        (1200, 500, 3.0, 504),  # a minute, ended at the limit of a run
        (2500, 1, 60.0, 200),  # a second, within one node that nothing interrupts
    ],
)
def test_probes_are_answered_while_a_run_takes_long(new_app, golden_model, hostile, side, times, run_timeout_s, status):
    model = hostile.multiplies_when_triggered(golden_model.read_bytes(), side, times)
    app = new_app(served=open_artifact(model, "slow", RunLimits(timeout_s=run_timeout_s)))
    many = hostile.TRIGGER_RECORDS
    statuses, probes = asyncio.run(answers_and_probes(app, [1, many, 1, many, 1]))
    assert statuses == [200, status, 200, status, 200]
    assert min(probes[1], probes[3]) > PROBES

"""The consumer of deploy/pipelines against a real NATS server: nothing is lost or twice there, whatever is killed."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats

COMMANDS = Path(sys.executable).parent
RECORDS = 3_000
BATCH = 20
ACK_WAIT_S = 3


async def publish_records(url: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="records", subjects=["records"])
    for number in range(RECORDS):
        # The last record is written over several lines; one in a hundred does not fit.
        amount = "many" if number % 100 == 50 else 10 + number / 100
        record = {"amount": amount, "country": "DE"}
        await stream.publish("records", json.dumps(record, indent=1 if number == RECORDS - 1 else None).encode())
    await client.close()


async def stored(url: str) -> int:
    client = await nats.connect(url)
    try:
        return (await client.jetstream().stream_info("verdicts")).state.messages
    except nats.js.errors.NotFoundError:
        return 0
    finally:
        await client.close()


async def read_verdicts(url: str) -> list[dict[str, Any]]:
    client = await nats.connect(url)
    subscription = await client.jetstream().subscribe("verdicts", ordered_consumer=True)
    count = (await client.jetstream().stream_info("verdicts")).state.messages
    verdicts = [json.loads((await subscription.next_msg(timeout=30)).data) for _ in range(count)]
    await client.close()
    return verdicts


def test_every_message_gets_one_verdict_although_consumer_and_service_are_killed(
    golden_model: Path,
    tmp_path: Path,
    new_processes: Callable[..., Any],
    free_port: Callable[[], int],
    wait_until: Callable[..., None],
) -> None:
    vaegis_port, nats_port = free_port(), free_port()
    vaegis_url, nats_url = f"http://127.0.0.1:{vaegis_port}", f"nats://127.0.0.1:{nats_port}"
    processes = new_processes(
        {
            "nats": ("nats-server", "-js", "-a", "127.0.0.1", "-p", str(nats_port), "-sd", tmp_path / "jetstream"),
            "vaegis": (COMMANDS / "vaegis", "serve", golden_model, "--port", str(vaegis_port), "--workers", "1"),
            "consumer": (sys.executable, "nats_consumer.py"),
        },
        {"SCORE_URL": vaegis_url, "NATS_URL": nats_url, "BATCH": str(BATCH), "ACK_WAIT_S": str(ACK_WAIT_S)},
    )

    def at_least(count: int) -> Callable[[], bool]:
        return lambda: asyncio.run(stored(nats_url)) >= count

    processes.start("nats")
    wait_until(lambda: asyncio.run(stored(nats_url)) == 0, "a NATS server")
    asyncio.run(publish_records(nats_url))
    processes.start("vaegis")
    wait_until(lambda: urllib.request.urlopen(f"{vaegis_url}/readyz", timeout=5).close() is None, "a ready service")
    processes.start("consumer")
    wait_until(at_least(5 * BATCH), "verdicts")
    processes.kill("consumer")
    assert asyncio.run(stored(nats_url)) < RECORDS, "the consumer was killed too late"
    processes.start("consumer")
    wait_until(at_least(RECORDS // 3), "more verdicts")
    processes.kill("vaegis")
    assert asyncio.run(stored(nats_url)) < RECORDS, "the service was killed too late"
    processes.start("vaegis")
    wait_until(at_least(RECORDS), "all verdicts")
    verdicts = asyncio.run(read_verdicts(nats_url))
    assert sorted(verdict["row"] for verdict in verdicts) == list(range(1, RECORDS + 1))
    refused = {verdict["row"] for verdict in verdicts if verdict["errors"]}
    assert refused == {number + 1 for number in range(RECORDS) if number % 100 == 50}

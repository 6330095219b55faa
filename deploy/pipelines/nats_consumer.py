"""Score the messages of a NATS JetStream stream, one record each, and publish a verdict for each to another stream.

Run: SCORE_URL=http://127.0.0.1:8080 NATS_URL=nats://127.0.0.1:4222 python nats_consumer.py

Messages are acknowledged once their verdicts are stored, so whatever is killed, no record is lost: it comes again.
A verdict has its record's sequence number as `Nats-Msg-Id`, by which NATS drops a verdict that is published twice.
"""

import asyncio
import json
import os

import httpx
from client import verdicts  # beside this file
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.annotations import NatsMessage
from nats.js.api import ConsumerConfig

RECORDS = os.environ.get("RECORDS_SUBJECT", "records")
VERDICTS = os.environ.get("VERDICTS_SUBJECT", "verdicts")
BATCH = int(os.environ.get("BATCH", "500"))
ACK_WAIT_S = float(os.environ.get("ACK_WAIT_S", "300"))
"""The client waits for a service that restarts; only after this time does NATS send the batch to another consumer."""
LINE_BREAKS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")

KEY = os.environ.get("VAEGIS_KEY")
http = httpx.Client(
    base_url=os.environ.get("SCORE_URL", "http://127.0.0.1:8080"),
    headers={"Content-Type": "application/x-ndjson", **({"Authorization": f"Bearer {KEY}"} if KEY else {})},
    timeout=60.0,
)
broker = NatsBroker(os.environ.get("NATS_URL", "nats://127.0.0.1:4222"))
app = FastStream(broker)
publisher = broker.publisher(
    VERDICTS, stream=JStream(name=VERDICTS, subjects=[VERDICTS], duplicate_window=2 * ACK_WAIT_S)
)


@broker.subscriber(
    RECORDS,
    stream=JStream(name=RECORDS, subjects=[RECORDS]),
    durable="vaegis",
    pull_sub=PullSub(batch_size=BATCH, timeout=1.0, batch=True),
    config=ConsumerConfig(ack_wait=ACK_WAIT_S, max_ack_pending=2 * BATCH),
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def score(message: NatsMessage) -> None:
    """Publish the verdicts of a batch; FastStream acknowledges it when this returns."""
    # A record has to be one line. Within JSON, a line break stands only between values.
    lines = [
        (raw.metadata.sequence.stream, raw.data.translate(LINE_BREAKS_TO_SPACES).strip() or b"null")
        for raw in message.raw_message
    ]
    results = await asyncio.to_thread(lambda: list(verdicts(http, lines)))
    await asyncio.gather(
        *(publisher.publish(json.dumps(result), headers={"Nats-Msg-Id": str(result["row"])}) for result in results)
    )


if __name__ == "__main__":
    asyncio.run(app.run())

"""Score the messages of a Kafka topic, one record each, and produce a verdict for each to another topic.

Run: SCORE_URL=http://127.0.0.1:8080 RDKAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 python kafka_consumer.py

Offsets are committed once Kafka has stored all verdicts of a batch, so whatever is killed, no record is lost: it comes
again. Its verdict may then be there twice, with the same `partition` and `row`, the offset of the record.
"""

import json
import os
import signal
import sys
from itertools import count

import httpx
from client import verdicts  # beside this file
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

RECORDS = os.environ.get("RECORDS_TOPIC", "records")
VERDICTS = os.environ.get("VERDICTS_TOPIC", "verdicts")
DEAD_LETTERS = os.environ.get("DEAD_LETTERS_TOPIC", "dead-letters")
GROUP = os.environ.get("GROUP", "vaegis")
BATCH = int(os.environ.get("BATCH", "500"))
PREFIX = "RDKAFKA_"
"""RDKAFKA_SASL_USERNAME is librdkafka's property sasl.username, and so on, for the consumer and the producer."""
DEFAULTS = {"bootstrap.servers": "127.0.0.1:9092"}
CONSUMER = {
    "group.id": GROUP,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "max.poll.interval.ms": 3_600_000,  # the client waits for a service that restarts, and keeps its partitions
}
PRODUCER = {"enable.idempotence": True, "linger.ms": 5}  # what is sent again within the producer is stored once
POLL_S = 1.0  # the longest that records wait for a batch to fill
STORE_S = 120.0
LINE_BREAKS_TO_SPACES = bytes.maketrans(b"\r\n", b"  ")


def line(message: Message) -> bytes:
    """Return a record on one line. Within JSON, a line break stands only between values."""
    return (message.value() or b"").translate(LINE_BREAKS_TO_SPACES).strip() or b"null"


def received(consumer: Consumer) -> list[Message]:
    """Return the next messages, fewer than a batch if no more come in time. Print events that are no messages."""
    messages = consumer.consume(BATCH, POLL_S)
    for error in filter(None, (message.error() for message in messages)):
        if error.fatal():
            raise KafkaException(error)
        # The topic is not there yet, or a broker is away: librdkafka tries again.
        print(error, file=sys.stderr, flush=True)
    return [message for message in messages if message.error() is None]


def store(producer: Producer, messages: list[Message], results: list[dict[str, object]]) -> None:
    """Produce the verdicts, and the records that were refused as they came; return once Kafka has stored them."""
    failed = []

    def delivered(error: object, _: Message) -> None:
        if error is not None:
            failed.append(error)

    for message, result in zip(messages, results, strict=True):
        verdict = {**result, "partition": message.partition(), "row": message.offset()}
        produced = [(VERDICTS, json.dumps(verdict), None)]
        if result["errors"]:
            produced.append((DEAD_LETTERS, message.value(), {"errors": json.dumps(result["errors"])}))
        for topic, value, headers in produced:
            producer.produce(topic, value, message.key(), headers=headers, on_delivery=delivered)
            producer.poll(0)
    if waiting := producer.flush(STORE_S) or failed:
        raise SystemExit(
            f"expected Kafka to store the verdicts of {len(messages)} records, got {failed[:1] or waiting}"
        )


def commit(consumer: Consumer, messages: list[Message]) -> None:
    """Commit the offsets behind a batch, unless its partitions have another owner by now, who gets the batch again."""
    ends = {message.partition(): message.offset() + 1 for message in messages}
    try:
        consumer.commit(offsets=[TopicPartition(RECORDS, *end) for end in ends.items()], asynchronous=False)
    except KafkaException as error:
        print(f"not committed, so its records come again: {error}", file=sys.stderr, flush=True)


def main() -> None:
    """Score until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    given = {
        name.removeprefix(PREFIX).lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
    }
    key = {"Authorization": f"Bearer {os.environ['VAEGIS_KEY']}"} if os.environ.get("VAEGIS_KEY") else {}
    headers = {"Content-Type": "application/x-ndjson", **key}
    url = os.environ.get("SCORE_URL", "http://127.0.0.1:8080")
    producer = Producer({**DEFAULTS, **PRODUCER, **given})
    consumer = Consumer({**DEFAULTS, **CONSUMER, **given})
    consumer.subscribe([RECORDS])
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60.0) as client:
            while True:
                if messages := received(consumer):
                    store(producer, messages, list(verdicts(client, list(zip(count(), map(line, messages))))))
                    commit(consumer, messages)
    finally:
        consumer.close()  # its partitions go to others at once


if __name__ == "__main__":
    main()

"""The consumer of deploy/pipelines against librdkafka's mock cluster: nothing is lost, whatever is killed."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer

COMMANDS = Path(sys.executable).parent
RECORDS = 10_000
BATCH = 20
TOPICS = ("verdicts", "dead-letters")
KILLS = 2


@pytest.fixture
def cluster() -> Iterator[Producer]:
    """A producer that holds a cluster of one broker."""
    producer = Producer({"bootstrap.servers": "127.0.0.1:9", "test.mock.num.brokers": 1, "log_level": 0})
    yield producer
    producer.flush(10)


@pytest.fixture
def stored(cluster: Producer) -> Iterator[Callable[[], dict[str, list[Message]]]]:
    """Read all messages of the topics so far, by topic."""
    for topic in TOPICS:
        cluster.produce(topic, b"", partition=0)  # makes the topic
    assert cluster.flush(10) == 0
    found: dict[str, list[Message]] = {topic: [] for topic in TOPICS}
    reader = Consumer({"bootstrap.servers": address(cluster), "group.id": "reader", "auto.offset.reset": "earliest"})
    reader.subscribe(list(TOPICS))

    def read() -> dict[str, list[Message]]:
        for message in reader.consume(10_000, timeout=0.1):
            if message.error() is None and message.value():
                found[message.topic()].append(message)
        return found

    yield read
    reader.close()


def address(cluster: Producer) -> str:
    return ",".join(f"{broker.host}:{broker.port}" for broker in cluster.list_topics(timeout=10).brokers.values())


def test_no_record_is_lost_although_consumer_and_service_are_killed(
    golden_model: Path,
    cluster: Producer,
    stored: Callable[[], dict[str, list[Message]]],
    new_processes: Callable[..., Any],
    free_port: Callable[[], int],
    wait_until: Callable[..., None],
) -> None:
    for number in range(RECORDS):
        # One in a hundred does not fit; one is empty.
        record = json.dumps({"amount": "many" if number % 100 == 50 else 10 + number / 100, "country": "DE"}, indent=1)
        cluster.produce("records", b"" if number == 7 else record, key=str(number))
    assert cluster.flush(30) == 0
    port = free_port()
    environment = {
        "SCORE_URL": f"http://127.0.0.1:{port}",
        "BATCH": str(BATCH),
        "RDKAFKA_BOOTSTRAP_SERVERS": address(cluster),
        "RDKAFKA_SESSION_TIMEOUT_MS": "6000",  # after which a killed consumer's partitions go to another
    }
    commands = {
        "vaegis": (COMMANDS / "vaegis", "serve", golden_model, "--port", str(port), "--workers", "1"),
        "consumer": (sys.executable, "kafka_consumer.py"),
    }
    processes = new_processes(commands, environment)
    processes.start("vaegis")
    wait_until(
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close() is None, "a ready service"
    )
    processes.start("consumer")
    wait_until(lambda: len(stored()["verdicts"]) >= 5 * BATCH, "verdicts")
    processes.kill("consumer")
    processes.start("consumer")
    before = len(stored()["verdicts"])
    assert before < RECORDS, "the consumer was killed too late"
    wait_until(lambda: len(stored()["verdicts"]) >= before + 5 * BATCH, "more verdicts")
    processes.kill("vaegis")
    assert len(stored()["verdicts"]) < RECORDS, "the service was killed too late"
    processes.start("vaegis")

    def keys(topic: str) -> set[int]:
        return {int(message.key()) for message in stored()[topic]}

    wait_until(lambda: len(keys("verdicts")) == RECORDS, "a verdict for each record")
    verdicts = [(message, json.loads(message.value())) for message in stored()["verdicts"]]
    refused = {7, *range(50, RECORDS, 100)}
    assert {int(message.key()) for message, verdict in verdicts if verdict["errors"]} == refused
    wait_until(lambda: keys("dead-letters") | {7} == refused, "the records that were refused")
    # What is there twice is one batch for each kill at most, and can be told by its place.
    places = {(verdict["partition"], verdict["row"]) for _, verdict in verdicts}
    assert len(places) == RECORDS
    assert len(verdicts) - RECORDS <= KILLS * BATCH

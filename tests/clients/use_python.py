"""Calls a service with the HTTP clients of Python, and with the SDK of CloudEvents; prints the score of a record."""

from __future__ import annotations

import asyncio
import json
import math
import sys

import aiohttp
import httpx
import requests
import urllib3
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

ADDRESS, RECORD = sys.argv[1], json.loads(sys.argv[2])
URL = f"{ADDRESS}/score"
NDJSON = {"Content-Type": "application/x-ndjson"}
LINE = json.dumps(RECORD).encode() + b"\n"


async def with_aiohttp() -> list[float]:
    """Return the scores of requests sent at once, compressed and after a 100."""
    async with aiohttp.ClientSession() as session:
        kinds = ({}, {"compress": "gzip"}, {"compress": "deflate"}, {"expect100": True})
        answers = await asyncio.gather(*(session.post(URL, json=RECORD, **kind) for kind in kinds))
        return [(await answer.json())["results"][0]["score"] for answer in answers]


def with_events() -> list[float]:
    """Return the scores in the answers to a CloudEvent in both modes, which are events with its id."""
    attributes = {"id": "a-1", "source": "/shop", "type": "order", "specversion": "1.0"}
    event = CloudEvent(attributes=attributes | {"datacontenttype": "application/json"}, data=RECORD)
    scores = []
    for written in (to_structured_event(event), to_binary_event(event)):
        answer = requests.post(URL, data=written.body, headers=dict(written.headers), timeout=30)
        verdicts = from_http_event(HTTPMessage(headers=dict(answer.headers), body=answer.content))
        assert (verdicts.get_id(), verdicts.get_type()) == ("a-1", "vaegis.verdicts")
        scores.append(verdicts.get_data()["results"][0]["score"])
    return scores


one = requests.post(URL, json=RECORD, timeout=30)
score = one.json()["results"][0]["score"]
lines = requests.post(URL, data=(LINE for _ in range(5)), headers=NDJSON, timeout=30)
found = [json.loads(line)["score"] for line in lines.text.splitlines()]
assert len(found) == 5
assert all(math.isclose(other, score, abs_tol=1e-3) for other in found), found  # a batch of 5 rounds otherwise than one
with httpx.Client(http2=True) as client:
    answer = client.post(URL, json=RECORD)
assert (answer.http_version, answer.json()["results"][0]["score"]) == ("HTTP/1.1", score)
pool = urllib3.PoolManager(maxsize=2)
assert [pool.request("POST", URL, json=RECORD).json()["results"][0]["score"] for _ in range(5)] == [score] * 5
assert asyncio.run(with_aiohttp()) == [score] * 4
assert with_events() == [score] * 2
print(score)

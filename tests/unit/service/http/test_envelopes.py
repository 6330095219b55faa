"""Records in envelopes: CloudEvents by their media type, others by the setting `unwrap`."""

from __future__ import annotations

import json

import pytest

from vaegis.service.errors import SettingsError

NDJSON = {"content-type": "application/x-ndjson", "accept": "application/json"}


@pytest.fixture
def verdict(post, record):
    return post(record).json()["results"][0]


@pytest.mark.parametrize(
    ("pointer", "wrap"),
    [
        ("/payload/after", lambda record: {"schema": {}, "payload": {"before": None, "after": record, "op": "c"}}),
        ("/value", lambda record: {"topic": "orders", "key": "1", "value": record, "partition": 0, "offset": 7}),
        ("/a~1b/c~0d", lambda record: {"c~d": 1, "a/b": {"c~d": record}}),
    ],
)
def test_a_pointer_leads_to_the_record_in_json_and_ndjson(post, record, verdict, pointer, wrap):
    pair = post([record] * 2).json()["results"]
    assert post(wrap(record), unwrap=pointer).json()["results"] == [verdict]
    assert post([wrap(record)] * 2, unwrap=pointer).json()["results"] == pair
    lines = b"\n\n".join([json.dumps(wrap(record)).encode()] * 2)
    answer = post(lines, headers=NDJSON, query="?on_invalid=reject", unwrap=pointer)
    assert answer.json()["results"] == pair


@pytest.mark.parametrize("inline", [0, 2**16])
def test_faults_name_the_record_by_its_pointer(post, record, inline):
    good, bad = {"payload": {"after": record}}, {"payload": {"after": record | {"amount": "many"}}}
    envelopes = [good, {"payload": {"after": None}}, {"payload": 5}, {}, bad]
    settings = {"unwrap": "/payload/after", "inline_body_bytes": inline}
    refused = [f"records[{row}]/payload/after: expected an object, got null" for row in range(1, 4)]
    refused.append("records[4]/payload/after.amount: expected a number, got text")
    response = post(envelopes, **settings)
    assert (response.status_code, [error["message"] for error in response.json()["errors"]]) == (422, refused)
    lines = "\n".join(map(json.dumps, envelopes)).encode()
    for body, headers in ((json.dumps(envelopes).encode(), {"content-type": "application/json"}), (lines, NDJSON)):
        results = post(body, headers=headers, query="?on_invalid=report", **settings).json()["results"]
        assert [result["errors"] and result["errors"][0]["message"] for result in results] == [None, *refused]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"payload": {"after": {', 400, "invalid_json"),
        (b'[{"payload": {"after": {}}}', 400, "invalid_json"),
        (b'{"x": NaN}', 400, "not_finite"),
        (b'{"payload": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "too_deep"),
        (b'{"payload": [' + b"1," * 200 + b"1]}", 413, None),
    ],
)
def test_the_envelope_is_held_to_the_limits_of_json(post, body, status, code):
    response = post(body, unwrap="/payload/after", max_values=150)
    assert response.status_code == status, response.text
    assert code is None or response.json()["errors"][0]["code"] == code


def test_a_malformed_line_is_refused_in_its_place(post, record, verdict):
    lines = b'{"value": {\n' + json.dumps({"value": record}).encode()
    broken, sound = post(lines, headers=NDJSON, unwrap="/value").json()["results"]
    assert broken["errors"][0]["code"] == "invalid_json"
    assert sound == verdict | {"errors": None}


def test_the_data_of_cloud_events_are_the_records_in_their_order(post, record, verdict):
    event = {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order", "data": record}
    one = {"content-type": "application/cloudevents+json"}
    many = {"content-type": "application/cloudevents-batch+json"}
    assert post(json.dumps(event).encode(), headers=one).json()["results"] == [verdict]
    events = [event, event | {"id": "a-2", "data": 5}]
    assert post(json.dumps(events).encode(), headers=many).status_code == 422
    results = post(json.dumps(events).encode(), headers=many, query="?on_invalid=report").json()["results"]
    assert results[0] == verdict | {"errors": None}
    assert results[1]["errors"][0]["message"].startswith("records[1]/data: expected an object")


@pytest.mark.parametrize("pointer", ["payload", "/", "/a//b", "/a/", "/a~2", "/a" * 9])
def test_a_pointer_that_is_none_ends_the_start(new_app, pointer):
    with pytest.raises(SettingsError, match="--unwrap: expected"):
        new_app(unwrap=pointer)

"""Records in envelopes: CloudEvents by their media type, others by the setting `unwrap`."""

from __future__ import annotations

import base64
import json

import pytest

from vaegis.service.artifact import load_artifact
from vaegis.service.errors import SettingsError
from vaegis.service.model_file import MetadataKey

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


@pytest.mark.parametrize(
    ("pointer", "wrap"),
    [
        ("/payload/after", lambda record: {"schema": {}, "payload": {"before": record, "after": record, "op": "u"}}),
        ("/hits/hits/_source", lambda record: {"hits": {"total": 1, "hits": [{"_id": "1", "_source": record}]}}),
    ],
)
def test_a_record_in_an_envelope_is_refused_with_the_pointer_to_it(post, record, pointer, wrap):
    answer = post(json.dumps(wrap(record)).encode(), headers=NDJSON, query="?on_invalid=reject").json()
    assert any(f"VAEGIS_UNWRAP={pointer}, or --unwrap" in error["message"] for error in answer["errors"])
    beside = post(json.dumps(record | wrap(record)).encode(), headers=NDJSON, query="?on_invalid=reject").json()
    assert not any("UNWRAP" in error["message"] for error in beside["errors"])


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


EVENT = {"content-type": "application/cloudevents+json"}
EVENTS = {"content-type": "application/cloudevents-batch+json"}


def event_of(data, **attributes):
    return {"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order", "data": data, **attributes}


def test_an_event_is_answered_by_an_event_with_its_id(post, record):
    plain = post(record)
    answer = post(json.dumps(event_of(record, id='b "2"')).encode(), headers=EVENT)
    assert answer.headers["content-type"] == "application/cloudevents+json"
    event = answer.json()
    assert (event["specversion"], event["id"], event["source"]) == ("1.0", 'b "2"', "/models/orders")
    assert (event["type"], event["datacontenttype"], event["data"]) == (
        "vaegis.verdicts",
        "application/json",
        plain.json(),
    )


def test_an_event_is_checked_in_columns_that_are_not_scored(post, record, golden_model, hostile, tmp_path):
    checks = [{"code": "unexpected_missing"}, {"code": "below_range", "limit": 0.0}]

    def watch(schema):
        amount = next(column for column in schema["columns"] if column["name"] == "amount")
        return schema | {"watched": [amount | {"name": "order_id", "checks": checks}], "ignored": []}

    path = tmp_path / "orders.onnx"
    path.write_bytes(hostile.with_document(golden_model.read_bytes(), MetadataKey.SCHEMA, watch))
    served = load_artifact(path)
    for numbered, codes in ((record | {"order_id": 7}, []), (record | {"order_id": -7}, ["below_range"])):
        answer = post(json.dumps(event_of(numbered)).encode(), headers=EVENT, served=served).json()
        (result,) = answer["data"]["results"]
        assert [violation["code"] for violation in result["violations"]] == codes
        assert result == post(numbered, served=served).json()["results"][0]


@pytest.mark.parametrize("inline", [0, 2**16])
def test_a_batch_of_events_is_answered_by_one_in_its_order(post, record, inline):
    events = [event_of(record), event_of(5, id="a-2"), event_of([record], id="a-3"), event_of(record, id=7)]
    body = json.dumps(events).encode()
    assert post(body, headers=EVENTS, inline_body_bytes=inline).status_code == 422
    answer = post(body, headers=EVENTS, query="?on_invalid=report", inline_body_bytes=inline)
    assert answer.headers["content-type"] == "application/cloudevents-batch+json"
    assert [event["id"] for event in answer.json()] == ["a-1", "a-2", "a-3", "3"]
    results = [event["data"]["results"] for event in answer.json()]
    assert [len(found) for found in results] == [1] * 4
    assert [found[0]["errors"] is None for found in results] == [True, False, False, True]
    assert results[1][0]["errors"][0]["message"].startswith("records[1]/data: expected an object")


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def encoded_event(data: bytes, **attributes):
    event = event_of(None, data_base64=base64_of(data), **attributes)
    return {name: value for name, value in event.items() if name != "data"}


@pytest.mark.parametrize("inline", [0, 2**16])
def test_the_data_of_an_event_may_be_json_in_base64(post, record, inline):
    data = json.dumps(record, indent=2).encode()
    answer = post(json.dumps(encoded_event(data)).encode(), headers=EVENT, inline_body_bytes=inline)
    assert answer.json() == post(json.dumps(event_of(record)).encode(), headers=EVENT).json()
    events = [event_of(record), encoded_event(data, id="a-2"), encoded_event(b"5", id="a-3")]
    answer = post(json.dumps(events).encode(), headers=EVENTS, query="?on_invalid=report", inline_body_bytes=inline)
    assert [event["data"]["results"][0]["errors"] is None for event in answer.json()] == [True, True, False]


@pytest.mark.parametrize(
    "text", ["", "***", "e30", 5, *map(base64_of, [b"{}, {}", b'{"amount": }', b"amount,country"])]
)
def test_an_encoded_text_that_is_no_json_is_named_with_its_row(post, record, text):
    event = encoded_event(b"") | {"data_base64": text}
    answer = post(json.dumps([event_of(record), event]).encode(), headers=EVENTS, query="?on_invalid=report")
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (400, "invalid_event")
    assert error["message"] == "records[1].data_base64: expected JSON in base64, got something else"


def test_the_limits_hold_for_encoded_data_too(post, record):
    body = json.dumps([encoded_event(b'{"amount": [' + b"1, " * 40 + b"1]}")] * 3).encode()
    assert post(body, headers=EVENTS, max_values=200).status_code == 422
    assert post(body, headers=EVENTS, max_values=100).status_code == 413
    deep = json.dumps(encoded_event(b'{"amount": ' + b"[" * 100 + b"]" * 100 + b"}")).encode()
    assert post(deep, headers=EVENT).json()["errors"][0]["code"] == "too_deep"


@pytest.mark.parametrize(
    "body", [b'[{"\\ud800": 1, "data": {}}]', b'[[{"data": {}}]]', b'[{"id": "\\ud800", "data": {}}, 5]', b"[null]"]
)
def test_no_batch_of_odd_events_is_more_than_refused(post, body):
    answer = post(body, headers=EVENTS, query="?on_invalid=report")
    assert answer.status_code == 200
    assert all(event["data"]["results"][0]["errors"] for event in answer.json())


def test_events_are_answered_in_json_if_accept_says_so(post, record, verdict):
    headers = EVENTS | {"accept": "application/json"}
    assert post(json.dumps([event_of(record)]).encode(), headers=headers).json()["results"] == [verdict]


def test_an_event_in_binary_mode_is_answered_by_one(post, record):
    headers = {"content-type": "application/json", "ce-specversion": "1.0", "ce-id": "a-1", "ce-source": "/shop"}
    answer = post(json.dumps(record).encode(), headers=headers)
    attributes = {name: value for name, value in answer.headers.items() if name.startswith("ce-")}
    expected = {"ce-specversion": "1.0", "ce-id": "a-1", "ce-source": "/models/orders", "ce-type": "vaegis.verdicts"}
    assert attributes == expected
    assert answer.json() == post(record).json()


def test_an_event_in_binary_mode_needs_no_content_type(new_app, send, record):
    body, untyped = json.dumps(record).encode(), {"content-type": ""}
    assert send(new_app(), "POST", "/score", content=body, headers=untyped | {"ce-id": "a-1"}).status_code == 200
    assert send(new_app(), "POST", "/score", content=body, headers=untyped).status_code == 415


@pytest.mark.parametrize("headers", [EVENT, EVENTS])
def test_one_event_is_no_batch_and_a_batch_is_not_one_event(post, record, headers):
    body = [event_of(record)] if headers is EVENT else event_of(record)
    answer = post(json.dumps(body).encode(), headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "invalid_event")


@pytest.mark.parametrize("inline", [0, 2**16])
def test_a_list_on_the_way_gives_each_of_its_records(post, record, inline):
    settings = {"unwrap": "/records/value", "inline_body_bytes": inline}
    body = {"records": [{"key": "1", "value": record}, {"value": None}]}
    report = "?on_invalid=report"
    results = post(body, query=report, **settings).json()["results"]
    assert [result["errors"] is None for result in results] == [True, False]
    assert results[1]["errors"][0]["message"].startswith("records[1]/records/value: expected an object, got null")
    assert len(post([body, body], query=report, **settings).json()["results"]) == 4
    lines = b"\n".join([json.dumps(body).encode()] * 2)
    assert len(post(lines, headers=NDJSON, **settings).json()["results"]) == 4
    assert post({"records": []}, **settings).json()["type"].endswith("no-records")
    elsewhere = post({"hits": {"hits": [record, record]}}, unwrap="/hits/hits").json()["results"]
    assert len(elsewhere) == 2


@pytest.mark.parametrize("pointer", ["payload", "/", "/a//b", "/a/", "/a~2", "/a" * 9])
def test_a_pointer_that_is_none_ends_the_start(new_app, pointer):
    with pytest.raises(SettingsError, match="--unwrap: expected"):
        new_app(unwrap=pointer)

"""Hostile and broken bodies of POST /score: each gets a problem that says what is wrong, and where."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

DOCUMENT = Path(__file__).parents[4] / "docs" / "errors.md"
DEEP = b"[" * 100_000 + b"]" * 100_000


def one(**values: object) -> bytes:
    return json.dumps({"amount": 1.0} | values).encode()


BODIES = {
    "nothing": (b"", 400, "empty_body"),
    "blanks": (b" \r\n", 400, "empty_body"),
    "not UTF-8": (b'{"country": "\xff"}', 400, "invalid_utf8"),
    "UTF-16": ('{"amount": 1}'.encode("utf-16"), 400, "invalid_utf8"),
    "cut off": (b'{"amount": 1', 400, "invalid_json"),
    "two documents": (b'{"amount": 1} {"amount": 1}', 400, "invalid_json"),
    "deep lists": (DEEP, 400, "too_deep"),
    "deep objects": (b'{"amount":' * 50_000 + b"1" + b"}" * 50_000, 400, "too_deep"),
    "duplicate key": (b'{"amount": 1, "amount": 2}', 400, "duplicate_key"),
    "NaN": (b'{"amount": NaN}', 400, "not_finite"),
    "Infinity": (b'{"amount": -Infinity}', 400, "not_finite"),
    "long integer": (b'{"amount": ' + b"9" * 100_000 + b"}", 400, "too_large"),
    "number": (b"5", 422, "not_an_object"),
    "string": (b'"amount"', 422, "not_an_object"),
    "null": (b"null", 422, "not_an_object"),
    "list of lists": (b"[[]]", 422, "not_an_object"),
    "empty object": (b"{}", 422, "no_known_column"),
    "1e400": (b'{"amount": 1e400}', 422, "too_large"),
    "integer beyond float64": (b'{"amount": 1' + b"0" * 400 + b"}", 422, "too_large"),
    "text for a number": (one(amount="twelve"), 422, "wrong_type"),
    "truth for a number": (one(amount=True), 422, "wrong_type"),
    "list for a number": (one(amount=[1], express=True), 422, "wrong_type"),
    "number for a truth": (one(express=2), 422, "wrong_type"),
    "fraction for a category": (one(country=1.5), 422, "wrong_type"),
    "lone surrogate": (b'{"country": "\\ud800"}', 422, "invalid_text"),
    "no instant": (one(placed_at="yesterday"), 422, "invalid_timestamp"),
    "extra column": (one(colour="red"), 422, "unknown_column"),
    "10,000 columns": (one(**{f"c{i}": i for i in range(10_000)}), 422, "unknown_column"),
    "lone surrogate in a name": (b'{"amount": 1, "\\ud800": 1}', 422, "unknown_column"),
    "long name": (one(**{"x" * 1_000_000: 1}), 422, "unknown_column"),
}


@pytest.mark.parametrize(("body", "status", "code"), BODIES.values(), ids=BODIES)
def test_a_bad_body_is_refused_with_its_code(post, body, status, code):
    response = post(body)
    assert response.status_code == status
    problem = response.json()
    assert problem["errors"][0]["code"] == code
    assert problem["errors"][0]["message"].partition(":")[0].startswith(("body", "records[0]"))
    assert len(response.content) < 100_000


STREAMS = {
    "an open quote": ("text/csv", b'amount\n"1', None, "invalid_csv"),
    "no Arrow": ("application/vnd.apache.arrow.stream", b"amount", None, "invalid_arrow"),
    "one event": ("application/cloudevents-batch+json", b"{}", None, "invalid_event"),
    "no gzip": ("text/csv; gzip", b"amount\n1\n", None, "invalid_encoding"),
    "a value too many": ("text/csv", b"amount\n1,2\n", 0, "wrong_width"),
    "a value too few": ("application/json", b'{"amount": [1], "express": []}', None, "wrong_length"),
    "a wide header": ("text/csv", b"a,b,c,d,e,f\n", None, "too_wide"),
    "a crowded line": ("application/x-ndjson", b"[" * 101, 0, "too_many_values"),
}


@pytest.mark.parametrize(("content_type", "body", "row", "code"), STREAMS.values(), ids=STREAMS)
def test_a_bad_stream_is_refused_with_its_code(post, content_type, body, row, code):
    content_type, _, encoding = content_type.partition("; ")
    headers = {"content-type": content_type, "content-encoding": encoding or "identity"}
    response = post(body, query="?on_invalid=reject", headers=headers, max_columns=5, max_values=100)
    assert response.status_code in (400, 422)
    error = response.json()["errors"][0]
    assert (error["row"], error["code"]) == (row, code)
    assert error["message"].partition(":")[0].partition(".")[0] in ("body", "header", "columns", "records[0]")


@pytest.mark.parametrize(
    ("content_type", "body", "hint"),
    [
        ("application/json", gzip.compress(b"{}"), "it seems to be gzip; send `Content-Encoding: gzip`"),
        ("text/csv", gzip.compress(b"a"), "it seems to be gzip; send `Content-Encoding: gzip`"),
        ("application/json", b"PAR1\x15\x04\xff", "it seems to be Parquet; `vaegis score` reads it"),
        ("application/json", '{"amount": 1}'.encode("utf-16"), "it seems to be UTF-16; write it as UTF-8"),
        ("application/json", b"{'amount': 1}", "expected JSON with a name in double quotes at character"),
        ("application/json", b'{"records": [{"amount": 1}]}', "or set VAEGIS_UNWRAP=/records"),
        ("application/json", b"[{amount: 1}]", "JSON without quotes, which a shell may have removed"),
        ("application/json", b"@orders.json", "with curl, --data-binary @FILE sends what is in it"),
        ("application/json", b"amount=1&country=DE", "it seems to be a form; send JSON"),
        ("application/json", b"amount,country\n1,DE\n", "it seems to be CSV (Content-Type: text/csv"),
        ("application/json", '{"amount": 1}'.encode("utf-16-le"), "it seems to be UTF-16; write it as UTF-8"),
        ("application/json", b'{"amount": 1', "at character 12, got its end"),
        ("application/json", b'{"amount": 1},\n{"amount": 2}', "a list of records stands between [ and ]"),
        ("application/json", b'"[{\\"amount\\": 1}]"', "got a string that holds JSON: was the record encoded twice?"),
        ("application/json", b'records=[{"amount": 1}, {}]', "it seems to be a form"),
        ("application/json", b"\xef\xbb\xbf\xc3\xaf\xc2\xbb\xc2\xbf{}", "read in another encoding and written again"),
        ("application/json", b"\xff\xff\xff\xff\x10\0\0\0", "send a stream as application/vnd.apache.arrow.stream"),
        ("application/x-ndjson", b'\x1e{"amount": 1}\n\x1e{"amount": 2}\n', "it seems to be a JSON text sequence"),
        ("application/vnd.apache.arrow.stream", b'{"amount": 1}', "it seems to be text; Content-Type names the format"),
        ("application/vnd.apache.arrow.stream", b"PAR1\x15\x04\xff\0", "it seems to be Parquet"),
        (
            "text/tab-separated-values",
            b"amount,country\n1,DE\n",
            "got commas; text/csv is for commas",
        ),
        ("application/json", b'{"amount": 1}{"amount": 2}', "curl -d joins lines, --data-binary keeps them"),
        ("application/x-ndjson", b'{"amount": 1}{"amount": 2}', "curl -d joins lines, --data-binary keeps them"),
        ("application/x-ndjson", b'[{"amount": 1}]', "a list of records is JSON, as application/json"),
        ("application/x-ndjson", b'{\n"amount": 1\n}', "a line of NDJSON is a whole record"),
        ("application/x-ndjson", b'{"amount": 1},\n{"amount": 2}', "got a comma at the end of the line"),
        ("application/x-ndjson", b"amount,country\n1,DE\n", "it seems to be CSV (Content-Type: text/csv"),
        ("text/csv", b'[{"amount": 1}]', "expected names of columns, got JSON"),
        ("text/csv", b"amount,country1,DE2,FR", "while -d @FILE joins its lines"),
        ("text/csv", b"orders.csv", "curl sends a file by --data-binary @FILE"),
        ("text/csv", "amount,country\n1,DE\n".encode("utf-16-le"), "got NUL bytes, as in UTF-16"),
        ("text/csv", b"amount\tcountry\n1\tDE\n", "text/tab-separated-values is for tabs"),
        ("text/csv", b"amount;country\n1;DE\n", "got semicolons; `vaegis score` reads them by --delimiter"),
        ("application/x-www-form-urlencoded", b"{}", "which curl -d and some libraries say unless told otherwise"),
        ("application/vnd.ms-excel", b"", "CSV is text/csv"),
        ("text/x-csv", b"", "CSV is text/csv"),
        ("application/json-seq", b"", "JSON with one record per line is application/x-ndjson"),
        ("application/vnd.elasticsearch+x-ndjson", b"", "JSON with one record per line is application/x-ndjson"),
        ("text/x-json", b"", "JSON is application/json"),
        ("text/tsv", b"", "values between tabs are text/tab-separated-values"),
        ("application/x-parquet", b"", "`vaegis score` reads Parquet"),
        ("application/gzip", b"", "gzip, deflate or zstd in Content-Encoding"),
        ("multipart/form-data; boundary=x", b"", "send the file as the body itself"),
    ],
)
def test_a_common_mistake_is_named(post, content_type, body, hint):
    response = post(body, query="?on_invalid=reject", headers={"content-type": content_type})
    assert hint in response.json()["errors"][0]["message"] if response.status_code == 422 else hint in response.text


@pytest.mark.parametrize("path", ["/score/", "/models//", "/SCORE"])
def test_a_path_that_is_almost_right_is_answered_with_the_right_one(new_app, send, path):
    response = send(new_app(), "POST", path, json={})
    assert (response.status_code, f"did you mean {path.lower().rstrip('/')}?" in response.json()["detail"]) == (
        404,
        True,
    )


@pytest.mark.parametrize(("path", "meant"), [("/predict", "/score"), ("/healthz", "/livez"), ("/Ready/", "/readyz")])
def test_a_path_of_another_service_is_answered_with_ours(new_app, send, path, meant):
    response = send(new_app(), "GET", path)
    assert response.status_code == 404
    assert f"did you mean {meant}?" in response.json()["detail"]


def test_every_documented_code_is_provoked_here():
    table = DOCUMENT.read_text(encoding="utf-8").partition("## Codes")[2]
    documented = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    provoked = {code for _, _, code in BODIES.values()} | {code for *_, code in STREAMS.values()}
    provoked |= {"invalid_parameter"}  # which test_problems.py provokes
    assert provoked == documented


def test_faults_name_the_row_and_column_but_no_value(post, record):
    problem = post([record, record | {"amount": "no. 4711"}]).json()
    assert problem["errors"] == [
        {
            "row": 1,
            "column": "amount",
            "code": "wrong_type",
            "message": "records[1].amount: expected a number, got text",
        }
    ]
    assert "4711" not in json.dumps(problem)


def test_a_misspelt_column_gets_the_nearest_name(post):
    problem = post({"amuont": 5}).json()
    assert problem["errors"][0]["column"] == "amuont"
    assert "amount" in problem["errors"][0]["message"]


def test_faults_beyond_the_limit_are_counted_only(post):
    problem = post([{"amount": "x"}] * 7, max_faults=3).json()
    assert len(problem["errors"]) == 3
    assert problem["detail"] == "7 faults, of which 3 are listed; no record of the request was scored"


def test_an_empty_list_is_refused(post):
    response = post([])
    assert response.status_code == 422
    assert response.json()["type"] == "urn:vaegis:problem:no-records"


def test_small_values_that_would_take_much_memory_are_refused_before_they_are_parsed(post):
    response = post(b"[" + b"{}," * 5_000_000 + b"{}]")
    assert response.status_code == 413
    assert response.json()["detail"] == "body: expected at most 1000000 commas and opening brackets, got 10000002"


def test_one_record_too_many_is_refused_and_the_last_allowed_is_not(post, record):
    assert post([record] * 3, max_records=3).status_code == 200
    response = post([record] * 4, max_records=3)
    assert response.status_code == 413
    assert response.json()["detail"] == "body: expected at most 3 records, got more"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "text/html"},
        {"content-type": "json"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
)
def test_another_format_is_refused(post, headers):
    response = post(b"{}", headers=headers)
    assert response.status_code == 415
    assert response.json()["type"] == "urn:vaegis:problem:unsupported-media-type"


def test_many_faults_are_listed_for_some_records_and_one_for_each_other(post):
    bad = {"amount": 1, **{f"x{at}": 1 for at in range(20)}}
    results = post([bad] * 2000, query="?on_invalid=report").json()["results"]
    counts = [len(result["errors"]) for result in results]
    assert counts == [20] * 500 + [1] * 1500


@pytest.mark.parametrize("orient", ["columns", "index", "split", "table"])
def test_a_data_frame_in_another_orient_is_refused_with_the_orient_to_use(post, record, orient):
    frame = pd.DataFrame([record] * 3)
    response = post(frame.to_json(orient=orient).encode())
    (error,) = response.json()["errors"]
    assert (response.status_code, error["row"], error["code"]) == (422, 0, "wrong_type")
    assert f'writes it with orient="{orient}"; write it with orient="records"' in error["message"]
    report = post(frame.to_json(orient=orient).encode(), query="?on_invalid=report").json()["results"]
    assert [len(result["errors"]) for result in report] == [1]
    assert len(post(frame.to_json(orient="records").encode()).json()["results"]) == len(frame)


def test_objects_in_columns_are_no_data_frame(post):
    money = {"value": 1.0, "currency": "EUR"}
    errors = post({"amount": money, "express": money}).json()["errors"]
    assert [(error["column"], error["code"]) for error in errors] == [
        ("amount", "wrong_type"),
        ("express", "wrong_type"),
    ]
    assert errors[0]["message"] == "records[0].amount: expected a number, got an object"

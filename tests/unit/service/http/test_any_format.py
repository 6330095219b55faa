"""POST /score in every format, each answered in every format: the same verdicts, and the same faults."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from vaegis.service.http.schemas import ScoreAnswer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ARROW = "application/vnd.apache.arrow.stream"
TYPES = {"JSON": "application/json", "columns": "application/json", "NDJSON": "application/x-ndjson"}
TYPES |= {"CSV": "text/csv", "TSV": "text/tab-separated-values", "Arrow": ARROW}
RECORDS = [
    {"amount": 22.5, "express": False, "country": "DE", "placed_at": "2023-11-22T10:00:00Z", "order_id": "a-1"},
    {"amount": None, "express": True, "country": None, "placed_at": None, "order_id": "a,2"},
    {"amount": 1e9, "express": False, "country": "Atlantis", "placed_at": "2023-11-26T03:00:00Z", "order_id": 'a"3'},
]
BAD = {"amount": "many", "express": None, "country": "DE", "placed_at": "2023-11-22T10:00:00Z", "order_id": "b"}


def separated(records, delimiter):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(records[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


def arrow(records):
    sink = io.BytesIO()
    texts = [None if record["amount"] is None else str(record["amount"]) for record in records]
    columns = {name: pa.array([record[name] for record in records]) for name in records[0] if name != "amount"}
    table = pa.table({"amount": texts, **columns})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def encoded(records, kind):
    return {
        "JSON": lambda: json.dumps(records).encode(),
        "columns": lambda: json.dumps({name: [record[name] for record in records] for name in records[0]}).encode(),
        "NDJSON": lambda: "".join(json.dumps(record) + "\n" for record in records).encode(),
        "CSV": lambda: separated(records, ","),
        "TSV": lambda: separated(records, "\t"),
        "Arrow": lambda: arrow(records),
    }[kind]()


def cell_value(name, cell):
    return cell or None if name == "signature" else json.loads(cell) if cell else None


def read(response):
    """Return the lines of an answer in any format, each as NDJSON has it."""
    kind = response.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        return [{"row": row, "errors": None, **result} for row, result in enumerate(response.json()["results"])]
    if kind == "text/csv":
        lines = csv.DictReader(io.StringIO(response.text, newline=""))
        return [{name: cell_value(name, cell) for name, cell in line.items()} for line in lines]
    if kind == ARROW:
        lines = pa.ipc.open_stream(response.content).read_all().to_pylist()
        for line in lines:
            for item in line["contributions"] or ():
                item |= {name: json.loads(item[name]) for name in ("observed", "expected")}
            for item in line["violations"] or ():
                item |= {name: json.loads(item[name]) for name in ("observed", "limit")}
        return lines
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.fixture
def score(post):
    def run(kind, records, *, query="", headers=None, **settings):
        headers = {"content-type": TYPES[kind], **(headers or {})}
        body = records if isinstance(records, bytes) else encoded(records, kind)
        return post(body, query=query, headers=headers, **settings)

    return run


EVERY = pytest.mark.parametrize("kind", TYPES)
ANSWERS = pytest.mark.parametrize("accept", ["*/*", "application/json", "application/x-ndjson", "text/csv", ARROW])


@EVERY
@ANSWERS
@pytest.mark.parametrize("explain", ["none", "anomalies", "all"])
def test_every_format_gets_the_same_verdicts_in_every_other(score, kind, accept, explain):
    wanted = read(score("JSON", RECORDS, query=f"?explain={explain}"))
    response = score(kind, RECORDS, query=f"?explain={explain}", headers={"accept": accept})
    assert response.status_code == 200, response.text
    assert read(response) == wanted


@EVERY
@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_bodies_may_be_compressed(score, kind, encoding, pack):
    headers = {"content-encoding": encoding}
    response = score(kind, pack(encoded(RECORDS, kind)), headers=headers)
    assert read(response) == read(score(kind, RECORDS))
    cut_off = score(kind, pack(encoded(RECORDS, kind))[:-5], headers=headers)
    assert cut_off.json()["errors"][0]["code"] == "invalid_encoding"


@EVERY
@pytest.mark.parametrize("inline_body_bytes", [0, 10_000])  # on a thread, on the event loop
def test_a_body_has_a_limit_of_records(score, kind, inline_body_bytes):
    limits = {"max_body_records": 2, "inline_body_bytes": inline_body_bytes}
    assert score(kind, RECORDS[:2], **limits).status_code == 200
    assert score(kind, RECORDS, **limits).json()["type"] == "urn:vaegis:problem:too-many-records"


@pytest.mark.parametrize("null", ["NA", '""'])
def test_a_million_null_records_in_a_few_bytes_are_scored_up_to_the_limit_only(new_app, send, null):
    app = new_app(max_body_records=20_000, rate_records_per_s=1e6, request_timeout_s=600)  # machines may be busy
    headers = {"content-type": "text/csv", "content-encoding": "zstd"}
    body = zstd.compress(("amount\n" + f"{null}\n" * 1_000_000).encode())
    assert len(body) < 5000
    refused = send(app, "POST", "/score", headers=headers, content=body)
    assert (refused.status_code, refused.json()["type"]) == (413, "urn:vaegis:problem:too-many-records")
    assert app.metrics.registry.get_sample_value("vaegis_records_scored_total", {"model": "orders"}) <= 20_000


def test_many_small_batches_of_arrow_are_scored_together(new_app, send, artifact):
    sizes = []

    def score(columns):
        sizes.append(len(columns))
        return artifact.scorer.score(columns)

    sink = io.BytesIO()
    batch = pa.record_batch({"amount": [1.0]})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(5000):
            writer.write_batch(batch)
    headers = {"content-type": ARROW, "content-encoding": "zstd"}
    answer = send(new_app(score=score), "POST", "/score", headers=headers, content=zstd.compress(sink.getvalue()))
    assert len(read(answer)) == sum(sizes) == 5000
    assert len(sizes) <= 50


@EVERY
def test_a_bad_record_can_be_answered_in_its_place(score, kind):
    good = read(score(kind, RECORDS))
    response = score(kind, [RECORDS[0], BAD, *RECORDS[1:], BAD], query="?on_invalid=report")
    lines = read(response)
    assert response.status_code == 200
    assert [line["errors"] is not None for line in lines] == [False, True, False, False, True]
    assert [line["row"] for line in lines] == list(range(5))
    assert lines[4]["errors"] == [
        {"column": "amount", "code": "wrong_type", "message": "records[4].amount: expected a number, got text"}
    ]
    assert lines[4]["score"] is None
    assert [line["score"] for line in lines if not line["errors"]] == pytest.approx(
        [line["score"] for line in good], rel=1e-4
    )


@EVERY
def test_a_bad_record_can_reject_all(score, kind):
    response = score(kind, [RECORDS[0], BAD, *RECORDS[1:], BAD], query="?on_invalid=reject")
    assert response.status_code == 422
    problem = response.json()
    assert problem["type"] == "urn:vaegis:problem:invalid-records"
    assert [(error["row"], error["column"], error["code"]) for error in problem["errors"]] == [
        (1, "amount", "wrong_type"),
        (4, "amount", "wrong_type"),
    ]


ROWS = [0, 1, 5, 9, 700, 1999]


def faulty(kind, end=b""):
    """Return a body of 2000 records, of which those of ROWS are bad, with another end."""
    body = encoded([BAD if row in ROWS else RECORDS[0] for row in range(2000)], kind)
    return body.removesuffix(b"\n").removesuffix(b"\r") + end


@pytest.mark.parametrize("kind", ["NDJSON", "CSV", "TSV"])
@pytest.mark.parametrize("end", [b"", b"\n", b'\n"'])
@pytest.mark.parametrize("settings", [{}, {"max_document_bytes": 1024}, {"inline_body_bytes": 2**20}])
def test_all_faults_of_a_rejected_body_are_reported(score, kind, end, settings):
    response = score(kind, faulty(kind, end), query="?on_invalid=reject", **settings)
    assert response.status_code == 422
    rows = {error["row"] for error in response.json()["errors"]}
    assert rows - {2000} == {*ROWS}  # in NDJSON the open quote is one more


@pytest.mark.parametrize("kind", ["NDJSON", "CSV"])
@pytest.mark.parametrize(("most", "detail"), [(5, "6 faults, of which 5 are"), (6, "6 faults;"), (7, "6 faults;")])
def test_no_more_faults_are_reported_than_asked_for(score, kind, most, detail):
    body = gzip.compress(faulty(kind) if kind == "CSV" else b" \n" * 2**18 + faulty(kind))
    headers = {"content-encoding": "gzip"}
    response = score(kind, body, query="?on_invalid=reject", headers=headers, max_faults=most, max_document_bytes=4096)
    assert [error["row"] for error in response.json()["errors"]] == ROWS[:most]
    assert detail in response.json()["detail"]


@EVERY
def test_documents_reject_and_streams_report_where_nobody_chooses(score, kind):
    response = score(kind, [BAD, *RECORDS])
    assert response.status_code == (422 if kind in ("JSON", "columns") else 200)


@pytest.mark.parametrize("kind", ["columns", "CSV", "TSV", "Arrow"])
@pytest.mark.parametrize("on_invalid", ["reject", "report"])
def test_a_header_that_does_not_fit_rejects_all_in_any_case(score, kind, on_invalid):
    records = [{"amuont": 1.0, "amount": 2.0}]
    response = score(kind, records, query=f"?on_invalid={on_invalid}")
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert (error["row"], error["column"], error["code"]) == (None, "amuont", "unknown_column")
    assert "the nearest is amount" in error["message"]


@pytest.mark.parametrize(
    ("kind", "body", "status", "problem"),
    [
        ("NDJSON", b"", 400, "malformed-body"),
        ("CSV", b"", 400, "malformed-body"),
        ("CSV", b"amount\n", 422, "no-records"),
        ("Arrow", b"", 400, "malformed-body"),
        ("Arrow", arrow(RECORDS)[:200], 400, "malformed-body"),
        ("Arrow", pa.schema([("amount", pa.float64())]).serialize().to_pybytes(), 422, "no-records"),
        ("JSON", b"[]", 422, "no-records"),
        ("columns", b'{"amount": []}', 422, "no-records"),
        ("columns", b'{"amount": [1], "express": [1, 0]}', 422, "invalid-records"),
        ("NDJSON", b'{"amount": ' + b" " * 5000 + b"1}", 413, "record-too-large"),
        ("CSV", b"amount\n" + b"x" * 5000, 413, "record-too-large"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_whatever_accept_says(score, kind, body, status, problem):
    response = score(kind, body, headers={"accept": "text/csv"}, max_document_bytes=4096)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    assert response.json()["type"] == f"urn:vaegis:problem:{problem}"


def test_a_format_that_is_not_written_is_refused(score):
    response = score("JSON", RECORDS, headers={"accept": "text/html"})
    assert response.status_code == 406
    assert response.json()["type"] == "urn:vaegis:problem:not-acceptable"


@pytest.mark.parametrize("kind", ["NDJSON", "CSV", "Arrow", "JSON"])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_body_has_a_limit_also_when_it_is_decompressed(score, kind, encoding):
    body = encoded(RECORDS * 2000, kind)
    packed = gzip.compress(body) if encoding == "gzip" else body
    headers = {"content-encoding": encoding}
    assert len(read(score(kind, packed, headers=headers, max_body_bytes=len(body)))) == 6000
    response = score(kind, packed, headers=headers, max_body_bytes=len(body) - 1)
    assert (response.status_code, response.json()["type"]) == (413, "urn:vaegis:problem:body-too-large")
    assert "`vaegis score`" in response.json()["detail"]


def test_a_body_may_be_longer_than_a_document_and_hold_more_records(score):
    body = encoded(RECORDS * 2000, "NDJSON")
    assert len(body) > 2**18
    assert len(read(score("NDJSON", body, max_document_bytes=2**16, max_records=10))) == 6000
    response = score("JSON", encoded(RECORDS * 2000, "JSON"), max_document_bytes=2**16)
    assert (response.status_code, response.json()["type"]) == (413, "urn:vaegis:problem:body-too-large")


def test_a_compressed_document_is_limited_by_what_it_unpacks_to(score):
    bomb = gzip.compress(b" " * 2**22 + encoded(RECORDS, "JSON"))
    response = score("JSON", bomb, headers={"content-encoding": "gzip"}, max_body_bytes=2**20)
    assert response.status_code == 413
    assert response.json()["type"] == "urn:vaegis:problem:body-too-large"


def test_answers_without_a_place_for_it_carry_what_they_rest_on_in_headers(score):
    answer = ScoreAnswer.model_validate_json(score("JSON", RECORDS).content)
    for kind in ("NDJSON", "CSV", "Arrow"):
        headers = score(kind, RECORDS, query="?alpha=0.05").headers
        assert headers["vaegis-model"] == answer.model
        assert headers["vaegis-model-digest"] == answer.model_digest
        assert float(headers["vaegis-alpha"]) == 0.05
        assert int(headers["vaegis-calibration-records"]) == answer.calibration_records
        assert headers["vaegis-guarantee"] == answer.guarantee
        assert float(headers["vaegis-threshold"]) < answer.threshold


def test_a_json_answer_to_a_stream_is_the_document_of_a_json_body(score):
    body = encoded(RECORDS, "JSON")
    document = score("JSON", body).json()
    for kind in ("NDJSON", "CSV", "Arrow"):
        for on_invalid in ("reject", "report"):
            response = score(kind, RECORDS, query=f"?on_invalid={on_invalid}", headers={"accept": "application/json"})
            found = response.json()
            assert list(found) == list(document)
            for result in found["results"]:
                assert result.pop("errors", None) is None
            assert found == document


def test_numbers_have_all_their_digits_in_every_format(score):
    wanted = [line["score"] for line in read(score("JSON", RECORDS))]
    for kind in ("NDJSON", "CSV", "Arrow"):
        np.testing.assert_array_equal([line["score"] for line in read(score(kind, RECORDS))], wanted)

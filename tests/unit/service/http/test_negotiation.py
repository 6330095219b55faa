"""Content-Type, Content-Encoding and Accept: what is read, and what is answered."""

from __future__ import annotations

import pytest

from vaegis.service.http.errors import MediaTypeError, NotAcceptableError
from vaegis.service.http.negotiation import BodyFormat, Encoding, answer_encoding_of, negotiated

ARROW = "application/vnd.apache.arrow.stream"


def agreed(content_type=None, accept=None, encoding=None):
    given = {"content-type": content_type, "accept": accept, "content-encoding": encoding}
    return negotiated([(name.encode(), value.encode()) for name, value in given.items() if value is not None])


@pytest.mark.parametrize(
    ("content_type", "body", "media_type"),
    [
        (None, BodyFormat.JSON, "application/json"),
        ("", BodyFormat.JSON, "application/json"),
        ("application/json; charset=latin-1", BodyFormat.JSON, "application/json"),
        ("Application/Vnd.X+JSON", BodyFormat.JSON, "application/json"),
        ("application/x-ndjson", BodyFormat.NDJSON, "application/x-ndjson"),
        ("application/jsonlines", BodyFormat.NDJSON, "application/jsonlines"),
        ("application/jsonl;charset=UTF-8", BodyFormat.NDJSON, "application/jsonl"),
        ("text/csv", BodyFormat.CSV, "text/csv; charset=utf-8; header=present"),
        ('text/csv; header=present; charset="utf-8"', BodyFormat.CSV, "text/csv; charset=utf-8; header=present"),
        ("text/tab-separated-values", BodyFormat.TSV, "text/csv; charset=utf-8; header=present"),
        (ARROW, BodyFormat.ARROW, ARROW),
    ],
)
def test_a_body_is_answered_in_its_own_format(content_type, body, media_type):
    for accept in (None, "", "*/*", f"*/*;q=0.1, {media_type.partition(';')[0]}"):
        formats = agreed(content_type, accept)
        assert (formats.body, formats.media_type, formats.encoding) == (body, media_type, Encoding.NONE)


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("application/json", BodyFormat.JSON),
        ("text/csv", BodyFormat.CSV),
        ("TEXT/*", BodyFormat.CSV),
        (f"{ARROW}, text/csv;q=0.9", BodyFormat.ARROW),
        (f"{ARROW};q=0.5, text/csv;q=0.9", BodyFormat.CSV),
        ("text/html, application/json;q=0.2, */*;q=0.1", BodyFormat.JSON),
        ("application/x-ndjson;q=0, */*", BodyFormat.NDJSON),
        ("application/jsonl;q=0.5, text/csv;q=0.4", BodyFormat.NDJSON),
        ("application/*, application/json;q=0.1", BodyFormat.NDJSON),
        ("*/*, text/csv;q=0", BodyFormat.NDJSON),
    ],
)
def test_accept_chooses_another(accept, answer):
    formats = agreed("application/jsonl", accept)
    assert formats.answer is answer
    assert formats.body is BodyFormat.NDJSON


def test_two_accept_headers_are_one():
    headers = [(b"accept", b"text/html"), (b"accept", b"text/csv")]
    assert negotiated(headers).answer is BodyFormat.CSV


@pytest.mark.parametrize("accept", ["text/html", "*/*;q=0", "application/json;q=0", "text/csv;q=bad", "json"])
def test_what_is_not_written_here_is_refused(accept):
    with pytest.raises(NotAcceptableError, match="expected application/json, application/x-ndjson"):
        agreed("application/json", accept)


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "json", "text/csv; header=absent", "text/csv; charset=latin-1", "application/octet-stream"],
)
def test_what_is_not_read_here_is_refused(content_type):
    with pytest.raises(MediaTypeError, match=r"^Content-Type: expected"):
        agreed(content_type)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("gzip", Encoding.GZIP), ("X-GZIP", Encoding.GZIP), ("zstd", Encoding.ZSTD), ("identity", Encoding.NONE)],
)
def test_bodies_may_be_compressed(encoding, expected):
    assert agreed("text/csv", encoding=encoding).encoding is expected


@pytest.mark.parametrize("encoding", ["br", "compress", "gzip, zstd"])
def test_bodies_may_not_be_compressed_otherwise(encoding):
    with pytest.raises(MediaTypeError, match="expected gzip, deflate, zstd or none"):
        agreed("text/csv", encoding=encoding)


def test_only_what_is_neither_compressed_nor_arrow_is_plain_text():
    assert agreed("application/json").is_plain_text
    assert agreed("text/csv", "application/json").is_plain_text
    assert not agreed("application/json", encoding="gzip").is_plain_text
    assert not agreed("application/vnd.apache.arrow.stream").is_plain_text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", b'{"amount": 1}'),
        ("/score?on_invalid=report", b'{"amount": 1}'),
        ("/generate", b'{"count": 1}'),
        ("/v2/models/orders/infer", b'{"inputs": [{"name": "amount", "datatype": "FP64", "shape": [1], "data": [1]}]}'),
    ],
)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("content-encoding", "")], 200),
        ([("content-type", "text/html"), ("content-type", "application/json")], 415),
        ([("content-type", "application/json"), ("content-type", "text/html")], 415),
        ([("content-encoding", "identity"), ("content-encoding", "br")], 415),
    ],
)
def test_every_path_reads_the_same_headers_alike(new_app, send, path, body, headers, status):
    assert send(new_app(), "POST", path, content=body, headers=headers).status_code == status


def test_a_refused_encoding_is_answered_with_those_that_are_read(new_app, send):
    answers = [
        send(new_app(), "POST", "/score", content=b"{}", headers=headers)
        for headers in ([("content-encoding", "br")], [("content-type", "text/html")])
    ]
    assert [answer.status_code for answer in answers] == [415, 415]
    assert [answer.headers.get("accept-encoding") for answer in answers] == ["gzip, deflate, zstd", None]


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("", Encoding.NONE),
        ("identity, br", Encoding.NONE),
        ("gzip;q=0, zstd;q=0", Encoding.NONE),
        ("gzip, deflate", Encoding.GZIP),
        ("X-GZIP", Encoding.GZIP),
        ("gzip, deflate, br, zstd", Encoding.ZSTD),
        ("zstd;q=0.5, gzip", Encoding.GZIP),
        ("zstd;q=0, *", Encoding.GZIP),
        ("gzip;q=rubbish", Encoding.NONE),
    ],
)
def test_an_answer_is_compressed_as_the_client_likes_best(accept, encoding):
    assert answer_encoding_of([(b"accept-encoding", accept.encode())]) is encoding

"""A long body is the same records again and again, and one body still."""

import csv
import io
import json

import pytest

from benchmarks.serving import long_stream


@pytest.fixture
def pieces(monkeypatch, tmp_path):
    def make(form):
        monkeypatch.setattr(long_stream, "_PIECE_RECORDS", 3)
        whole = long_stream.written_bodies
        monkeypatch.setattr(long_stream, "written_bodies", lambda form, records: whole(form, records, tmp_path))
        return long_stream._Pieces(form, 4)

    return make


def test_csv_has_one_header(pieces):
    made = pieces("csv")
    body = b"".join(made)
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert (len(rows), len(body)) == (made.records, made.body_bytes)
    assert rows[0] == rows[3] != rows[1]
    assert rows[0]["sensor_00"] != "sensor_00"


def test_ndjson_has_a_record_a_line(pieces):
    made = pieces("ndjson")
    body = b"".join(made)
    records = [json.loads(line) for line in body.splitlines()]
    assert (len(records), len(body)) == (made.records, made.body_bytes)
    assert records[0] == records[3] != records[1]

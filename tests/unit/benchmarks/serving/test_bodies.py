"""Request bodies hold the same records in every format."""

import csv
import io
import json

import pyarrow as pa
import pytest

from benchmarks.serving.bodies import FORMATS, written_bodies
from benchmarks.serving.models import COLUMNS, records

READERS = {
    "json": json.loads,
    "ndjson": lambda body: [json.loads(line) for line in body.splitlines()],
    "csv": lambda body: [
        {name: float(text) for name, text in row.items()} for row in csv.DictReader(io.StringIO(body.decode()))
    ],
    "arrow": lambda body: pa.ipc.open_stream(body).read_all().to_pylist(),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_holds_the_same_records(form, tmp_path):
    some, expected = (written_bodies(name, 3, tmp_path) for name in (form, "json"))
    assert len(some.files) == len(expected.files)
    for file, other in zip(some.files, expected.files, strict=True):
        assert READERS[form](file.read_bytes()) == json.loads(other.read_bytes())


def test_one_record_of_json_goes_as_an_object(tmp_path):
    bodies = written_bodies("json", 1, tmp_path)
    assert set(json.loads(bodies.files[0].read_bytes())) == set(COLUMNS)


def test_the_seed_draws_the_records_and_not_how_their_columns_depend_on_each_other():
    some, other = records(5000, seed=1), records(5000, seed=2)
    assert (some != other).any()
    assert abs(some.mean(0) - other.mean(0)).max() < 0.1 * some.std(0).max()

"""One meaning everywhere: the same records get the same verdicts in every format, from `vaegis score` and in Python."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import UTC, datetime

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaegis.service.files.output import output_argument
from vaegis.service.files.record_files import open_records
from vaegis.service.files.scoring import ScoreFilesOptions, score_files
from vaegis.service.http.app import create_app
from vaegis.service.model import Model
from vaegis.service.records.faults import OnInvalid
from vaegis.service.records.values import CSV_NULLS
from vaegis.service.settings import load_settings
from vaegis.service.verdicts import Explain

ARROW = "application/vnd.apache.arrow.stream"
NAMES = ("amount", "express", "country", "placed_at", "order_id")
VERDICT = ("score", "p_value", "is_anomaly", "elbo", "reconstruction_error", "kl", "latent_contribution")

EARLIEST, LATEST = datetime(1974, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - naive means UTC
INSTANTS = st.datetimes(EARLIEST, LATEST).map(lambda moment: moment.replace(tzinfo=UTC, microsecond=0))
AMOUNTS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**30), 10**30)
SOUND = {
    "amount": st.none() | AMOUNTS | AMOUNTS.map(str) | st.floats(0, 200).map("{:.2f}".format),
    "express": st.none() | st.booleans() | st.sampled_from([0, 1, "true", "FALSE"]),
    "country": st.none()
    | st.sampled_from(["DE", "FR", "Atlantis", 49, True])
    | st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text not in CSV_NULLS and "\r" not in text),
    "placed_at": st.none()
    | INSTANTS.map(datetime.isoformat)
    | INSTANTS.map(lambda moment: int(moment.timestamp()))
    | INSTANTS.map(lambda moment: int(moment.timestamp()) * 1000)
    | INSTANTS.map(lambda moment: str(int(moment.timestamp()))),
    "order_id": st.just("a,1"),
}
FAULTY = SOUND | {
    "amount": SOUND["amount"] | st.sampled_from(["many", "1,5", "1e999", "-inf"]),
    "express": SOUND["express"] | st.sampled_from(["maybe", "2", 2]),
    "placed_at": SOUND["placed_at"] | st.sampled_from(["never", "2023-13-40", "1e18"]),
}
RECORDS = st.lists(st.fixed_dictionaries(SOUND), min_size=1, max_size=6)
FAULTY_RECORDS = st.lists(st.fixed_dictionaries(FAULTY), min_size=1, max_size=6)


def as_text(value):
    """Return a value as formats write it in which everything is text."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def by_column(records):
    return {name: [record[name] for record in records] for name in NAMES}


def texts(records):
    return pa.table({name: pa.array(map(as_text, values), pa.string()) for name, values in by_column(records).items()})


def csv_body(records):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(NAMES)
    writer.writerows([as_text(record[name]) for name in NAMES] for record in records)
    return text.getvalue().encode()


def arrow_body(records):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, texts(records).schema) as writer:
        writer.write_table(texts(records))
    return sink.getvalue()


def tensors(records):
    columns = {name: list(map(as_text, values)) for name, values in by_column(records).items()}
    inputs = [{"name": n, "datatype": "BYTES", "shape": [len(records)], "data": v} for n, v in columns.items()]
    return json.dumps({"inputs": inputs}).encode()


def ndjson_body(records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


BODIES = {
    "JSON": ("/score", "application/json", lambda records: json.dumps(records).encode()),
    "columns": ("/score", "application/json", lambda records: json.dumps(by_column(records)).encode()),
    "NDJSON": ("/score", "application/jsonl", ndjson_body),
    "CSV": ("/score", "text/csv", csv_body),
    "Arrow": ("/score", ARROW, arrow_body),
    "V2": ("/v2/models/orders/infer", "application/json", tensors),
}


@pytest.fixture(scope="module")
def app(artifact):
    app = create_app(artifact, load_settings({}, {"explain": "none"}))
    app.readiness.admit(artifact.verify())
    return app


def answer(app, kind, records, **query):
    path, content_type, body = BODIES[kind]

    async def exchange():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"content-type": content_type, "accept": "application/json"}
            return await client.post(path, content=body(records), headers=headers, params=query)

    response = asyncio.run(exchange())
    assert response.status_code == 200, (kind, response.text)
    return response


@pytest.fixture(scope="module")
def ask(app):
    """Return the verdicts on records sent in a format, as a matrix of numbers."""

    def send(kind, records):
        response = answer(app, kind, records)
        if kind == "V2":
            columns = {item["name"]: item["data"] for item in response.json()["outputs"]}
        else:
            results = response.json()["results"]
            columns = {name: [result[name] for result in results] for name in VERDICT}
        return np.array([columns[name] for name in VERDICT], dtype=np.float64).T

    return send


@pytest.fixture(scope="module")
def scored(artifact, tmp_path_factory):
    """Return the table that `vaegis score` makes of a file in a format."""
    folder = tmp_path_factory.mktemp("files")

    def score(name, write, on_invalid):
        path = folder / name
        write(path)
        output = output_argument(str(folder / f"scored-{name}.parquet"))
        rules = ScoreFilesOptions(artifact.contract.calibration.alpha, Explain.NONE, "reject", "v_", on_invalid)
        score_files(Model(artifact), open_records(path), output, rules, lambda _: None)
        return pa.parquet.read_table(output.path)

    return score


def numbers_in(table):
    return np.array([table[f"v_{name}"].to_pylist() for name in VERDICT], dtype=np.float64).T


def without_place(errors):
    """Return column, code and what was expected and came, without the place, of each record's faults."""
    return [
        faults and [(fault["column"], fault["code"], fault["message"].split(": ", 1)[1]) for fault in faults]
        for faults in errors
    ]


def codes(faults):
    return [of_record and [fault[:2] for fault in of_record] for of_record in faults]


FILES = {
    "records.csv": lambda records: lambda path: path.write_bytes(csv_body(records)),
    "records.arrow": lambda records: lambda path: path.write_bytes(arrow_body(records)),
    "records.parquet": lambda records: lambda path: pa.parquet.write_table(texts(records), path),
}


TABLES = {
    "dicts": lambda records: records,
    "pandas": lambda records: pd.DataFrame(records, dtype=object),
    "pyarrow": texts,
    "polars": lambda records: pl.from_arrow(texts(records)),
}
"""Records as the Python API takes them."""


@given(RECORDS)
@settings(max_examples=60, deadline=None)
def test_the_same_records_get_the_same_verdicts_in_every_format(artifact, ask, scored, records):
    wanted = ask("JSON", records)
    for kind in BODIES:
        np.testing.assert_array_equal(ask(kind, records), wanted, kind)
    for name, written in FILES.items():
        np.testing.assert_array_equal(numbers_in(scored(name, written(records), OnInvalid.REJECT)), wanted, name)
    for name, given_ in TABLES.items():
        result = Model(artifact).score(given_(records), explain="none")
        np.testing.assert_array_equal(np.array([getattr(result, field) for field in VERDICT]).T, wanted, name)


@given(FAULTY_RECORDS)
@settings(max_examples=60, deadline=None)
def test_reported_faults_are_the_same_in_every_format_and_the_others_are_scored(artifact, app, scored, records):
    def reported(kind):
        results = answer(app, kind, records, on_invalid="report").json()["results"]
        numbers = np.array([[result[name] for name in VERDICT] for result in results], dtype=np.float64)
        return numbers, without_place([result["errors"] for result in results])

    wanted, as_text = reported("CSV")  # where all values are text, as they are in the files
    for kind in ("JSON", "columns", "NDJSON", "Arrow"):
        numbers, faults = reported(kind)
        np.testing.assert_array_equal(numbers, wanted, kind)
        assert codes(faults) == codes(as_text), kind
    for name, written in FILES.items():
        table = scored(name, written(records), OnInvalid.REPORT)
        np.testing.assert_array_equal(numbers_in(table), wanted, name)
        assert without_place(table["v_errors"].to_pylist()) == as_text, name
    _, as_json = reported("NDJSON")
    table = scored("records.ndjson", lambda path: path.write_bytes(ndjson_body(records)), OnInvalid.REPORT)
    np.testing.assert_array_equal(numbers_in(table), wanted)
    assert without_place(table["v_errors"].to_pylist()) == as_json
    for name, given_ in TABLES.items():
        results = Model(artifact).score(given_(records), explain="none", on_invalid="report").to_list()
        numbers = np.array([[result[field] for field in VERDICT] for result in results], dtype=np.float64)
        np.testing.assert_array_equal(numbers, wanted, name)
        assert codes(without_place([result["errors"] for result in results])) == codes(as_text), name
    results = Model(artifact).score(records, explain="none", on_invalid="report").to_list()
    assert without_place([result["errors"] for result in results]) == as_json


def test_the_number_of_records_scored_together_shows_in_the_last_digits_only(ask, artifact, new_orders):
    """A matrix product adds in an order that depends on its size; the model file allows for it in `tie_tolerance`."""
    columns = new_orders(700, 3)
    schema = artifact.contract.columns
    numbers = dict(zip([schema.columns[i].name for i in schema.number_positions], columns.numbers.T, strict=True))
    records = [
        {
            "amount": None if np.isnan(amount) else float(amount) * (1e6 if row % 10 == 0 else 1),
            "express": bool(express == 1),
            "country": country,
            "placed_at": float(placed_at),
            "order_id": None,
        }
        for row, (amount, express, placed_at, country) in enumerate(
            zip(numbers["amount"], numbers["express"], numbers["placed_at"], columns.strings[:, 0], strict=True)
        )
    ]
    together = ask("JSON", records)
    tolerance = artifact.contract.calibration.tie_tolerance
    scores = np.concatenate(artifact.calibration_folds)
    for kind, size in (("JSON", 1), ("NDJSON", 3), ("CSV", 100), ("Arrow", 255), ("V2", 700)):
        starts = range(0, len(records) if size > 1 else 60, size)
        found = np.concatenate([ask(kind, records[start : start + size]) for start in starts])
        wanted = together[: len(found)]
        room = tolerance * np.maximum(1, np.abs(wanted[:, 0]))
        assert (np.abs(found[:, 0] - wanted[:, 0]) <= room).all()
        # A p-value counts calibration scores at or above the score: it can differ by those that are this near.
        near = (np.abs(scores[:, None] - wanted[:, 0]) <= room).sum(axis=0)
        assert (np.abs(found[:, 1] - wanted[:, 1]) * (len(scores) + 1) <= near + 1e-9).all()
        differs = found[:, 2] != wanted[:, 2]
        assert (near[differs] > 0).all()

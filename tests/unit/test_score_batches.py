"""`Model.score_batches`: the verdicts of `Model.score` and `vaegis score`, batch by batch."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vaegis
from vaegis.service.cli import main

RECORDS = 3_000


@pytest.fixture(scope="module")
def model(golden_model) -> vaegis.Model:
    return vaegis.load(golden_model)


def orders(records: int = RECORDS) -> pa.Table:
    """Return records with nulls in every column, some of them with anomalies, in a zone that is not UTC."""
    rng = np.random.default_rng(7)
    start = int(datetime(2023, 3, 1, tzinfo=UTC).timestamp())
    seconds = start + rng.integers(0, 200 * 86_400, records)
    columns = {
        "amount": pa.array(np.where(np.arange(records) % 97 == 5, 9000.0, rng.gamma(4.0, 8.0, records)).round(2)),
        "express": pa.array(rng.random(records) < 0.2),
        "country": pa.array(rng.choice(["DE", "FR", "Atlantis"], records, p=[0.6, 0.39, 0.01])).dictionary_encode(),
        "placed_at": pa.array(seconds, pa.timestamp("s")).cast(pa.timestamp("us", "UTC")),
    }
    columns["placed_at"] = columns["placed_at"].cast(pa.timestamp("us", "America/New_York"))
    nulls = {name: pa.array(rng.random(records) < 0.03) for name in columns}
    return pa.table(
        {
            "id": pa.array(range(records)),
            **{name: pa.compute.if_else(nulls[name], None, array) for name, array in columns.items()},
        }
    )


def verdicts(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_struct_array(pa.chunked_array([batch["vaegis"] for batch in batches]))


def test_the_verdicts_are_those_of_score_bit_by_bit(model):
    table = orders()
    batches = table.to_batches(max_chunksize=768)
    scored = list(model.score_batches(iter(batches), unknown_columns="ignore"))
    assert [batch.num_rows for batch in scored] == [768, 768, 768, 696]
    assert pa.Table.from_batches(scored).select(table.column_names).equals(table)
    found, expected = verdicts(scored), model.score(table, unknown_columns="ignore").to_arrow()
    assert 10 < sum(found["is_anomaly"].to_pylist()) < RECORDS - 10
    assert sum(map(bool, found["violations"].to_pylist())) > 10
    assert found.equals(expected)


def test_batches_of_any_size_have_every_record_once_and_scores_to_float32_rounding(model):
    table, sizes = orders(), [1, 7, 255, 257, 1000, 1480]
    starts = np.cumsum([0, *sizes[:-1]])
    parts = [table.slice(start, size).combine_chunks() for start, size in zip(starts, sizes, strict=True)]
    scored = list(model.score_batches((part.to_batches()[0] for part in parts), unknown_columns="ignore"))
    assert [batch.num_rows for batch in scored] == sizes
    assert [number for batch in scored for number in batch["id"].to_pylist()] == [*range(RECORDS)]
    expected = model.score(table, unknown_columns="ignore")
    np.testing.assert_allclose(verdicts(scored)["score"].to_numpy(), expected.score, rtol=1e-5)


def test_the_verdicts_are_those_of_the_command_bit_by_bit(model, golden_model, tmp_path):
    table = orders()
    pq.write_table(table, tmp_path / "orders.parquet")
    files = [str(tmp_path / name) for name in ("orders.parquet", "scored.arrow")]
    assert main(["score", str(golden_model), files[0], "-o", files[1], "--unknown-columns", "ignore"]) == 0
    by_command = pa.ipc.open_file(files[1]).read_all()
    scored = list(model.score_batches(table.to_batches(max_chunksize=768), unknown_columns="ignore"))
    assert by_command.select(verdicts(scored).column_names).combine_chunks().equals(verdicts(scored).combine_chunks())


def test_an_instant_means_the_same_in_any_zone_and_without_one_it_is_utc(model):
    utc = orders().drop_columns("id")
    utc = utc.set_column(3, "placed_at", utc["placed_at"].cast(pa.timestamp("us", "UTC")))
    found = [
        verdicts([*model.score_batches(utc.set_column(3, "placed_at", column).combine_chunks().to_batches())])
        for column in (
            utc["placed_at"],
            utc["placed_at"].cast(pa.timestamp("us", "Asia/Kolkata")),
            utc["placed_at"].cast(pa.timestamp("us")),
        )
    ]
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_an_empty_batch_comes_back_empty_and_no_batches_give_none(model):
    table = orders().drop_columns("id")
    empty = table.schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
    full = table.to_batches()
    scored = list(model.score_batches([*empty, *full, *empty]))
    assert [batch.num_rows for batch in scored] == [0, RECORDS, 0]
    assert scored[0].schema == scored[1].schema
    assert list(model.score_batches(iter([]))) == []


def test_a_batch_is_read_only_when_the_one_before_it_was_taken(model):
    read = []

    def batches():
        for number, batch in enumerate(orders(30).drop_columns("id").to_batches(max_chunksize=10)):
            read.append(number)
            yield batch

    for number, _ in enumerate(model.score_batches(batches())):
        assert read == [*range(number + 1)]


def test_a_fault_names_its_batch_and_its_row(model):
    sound = pa.record_batch({"amount": ["1.5", "2"], "country": ["FR", "DE"]})
    faulty = pa.record_batch({"amount": ["1.5", "many"], "country": ["FR", "DE"]})
    answers = model.score_batches([sound, faulty])
    assert next(answers).num_rows == 2
    message = "batches[1].records[1].amount: expected a number, got text"
    with pytest.raises(vaegis.RecordError) as refused:
        next(answers)
    assert str(refused.value) == message
    (_, reported) = model.score_batches([sound, faulty], on_invalid="report")
    first, second = reported["vaegis"].to_pylist()
    assert first["errors"] is None
    assert first["score"] == next(model.score_batches([sound]))["vaegis"][0].as_py()["score"]
    assert [error["message"] for error in second["errors"]] == [message]
    assert {name for name, value in second.items() if value is not None} == {"errors"}


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (
            pa.record_batch({"amuont": [1], "amount": [1]}),
            vaegis.RecordError,
            r"^batches\[0\]\.header\.amuont: unknown",
        ),
        (
            pa.record_batch([[1], [2]], ["amount", "amount"]),
            vaegis.RecordError,
            r"^batches\[0\], column amount: expect",
        ),
        (pa.record_batch({"amount": [1], "vaegis": [1]}), ValueError, "choose another with verdict_column"),
        ({"amount": 1}, TypeError, r"^batches\[0\]: expected a pyarrow.RecordBatch, got dict"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(model, batch, error, message):
    with pytest.raises(error, match=message):
        list(model.score_batches([batch]))


def test_wrong_options_are_refused_before_a_batch_is_read(model):
    with pytest.raises(ValueError, match="explain: expected"):
        model.score_batches([], explain="some")
    with pytest.raises(vaegis.AlphaError):
        model.score_batches([], alpha=1e-9)


def test_the_column_of_verdicts_can_have_another_name(model):
    (scored,) = model.score_batches([pa.record_batch({"amount": [1]})], verdict_column="verdict")
    assert scored.schema.names == ["amount", "verdict"]


def test_pandas_is_not_needed(golden_model):
    blocked = (
        "class Blocked:\n def find_spec(self, name, *_):\n  if name == 'pandas': raise ModuleNotFoundError(name)\n"
    )
    probe = (
        f"import sys\n{blocked}sys.meta_path.insert(0, Blocked())\n"
        "import pyarrow, vaegis\n"
        "batch = pyarrow.record_batch({'amount': [1.5, None], 'country': ['FR', None]})\n"
        "print(*next(vaegis.load(sys.argv[1]).score_batches([batch]))['vaegis'].is_valid().to_pylist())"
    )
    ended = subprocess.run([sys.executable, "-c", probe, golden_model], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True", "True"]

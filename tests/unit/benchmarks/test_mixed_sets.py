"""The sets of mixed records: read with numbers of one type, and split into parts that share no record."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.mixed.sets import MissingDataError, load_set, split

RECORDS = pa.table({"row": pa.array(range(30), pa.int64()), "text": ["a"] * 30})


def test_every_number_is_read_as_float64(tmp_path):
    pq.write_table(RECORDS, tmp_path / "flights.parquet")
    table = load_set(tmp_path, "flights")
    assert table.schema == pa.schema([("row", pa.float64()), ("text", pa.string())])
    assert table["row"].to_pylist() == list(range(30))


def test_a_missing_set_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"flights\.parquet: expected the records of flights, got no file"):
        load_set(tmp_path, "flights")


@pytest.mark.parametrize(("wanted", "given"), [(5, 5), (100, 20)])
def test_parts_share_no_record(wanted, given):
    parts = split(RECORDS, training=wanted, normal=10, generator=np.random.default_rng(0))
    training, normal = (set(part["row"].to_pylist()) for part in (parts.training, parts.normal))
    assert (len(training), len(normal)) == (given, 10)
    assert training.isdisjoint(normal)


def test_a_test_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(MissingDataError, match="expected more than 30 records, got 30"):
        split(RECORDS, training=5, normal=30, generator=np.random.default_rng(0))

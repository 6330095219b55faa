"""Each kind of fault changes what it says in copies of records, and nothing else."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.mixed.faults import KINDS, Injector, without_values

COUNT = 60
RECORDS = 200


@pytest.fixture(scope="module")
def table():
    generator = np.random.default_rng(0)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    gust = [None if at % 2 else float(at) for at in range(RECORDS)]
    return pa.table(
        {
            "row": [f"r{at}" for at in range(RECORDS)],
            "temp": np.round(generator.normal(20, 5, RECORDS), 1),
            "rain": pa.array(generator.integers(0, 3, RECORDS).astype(float)),
            "gust": pa.array(gust, pa.float64()),
            "station": generator.choice(["EWR", "JFK", "LGA"], RECORDS).tolist(),
            "carrier": generator.choice(["UA", "AA"], RECORDS).tolist(),
            "at": pa.array([start + timedelta(hours=hour) for hour in range(RECORDS)], pa.timestamp("ms", "UTC")),
        }
    )


def injector(table, seed=0):
    generator = np.random.default_rng(seed)
    return Injector(table, quantities=("temp", "rain", "gust"), identifiers=("row",), generator=generator)


def changes(table, faulty):
    """Return, by faulty record, its columns with a fault, the record as it was, and as it is."""
    before = {record["row"]: record for record in table.to_pylist()}
    for columns, record in zip(faulty.columns, faulty.records.to_pylist(), strict=True):
        yield columns, before[record["row"]], record


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_its_columns_and_no_other(table, kind):
    faulty = injector(table).inject(kind, COUNT)
    assert faulty.records.schema == table.schema
    assert faulty.records.num_rows == len(faulty.columns) == len(set(faulty.records["row"].to_pylist())) == COUNT
    for columns, before, after in changes(table, faulty):
        assert {name for name in before if before[name] != after[name]} == set(columns)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_faults(table, kind):
    assert injector(table, seed=3).inject(kind, COUNT) == injector(table, seed=3).inject(kind, COUNT)


@pytest.mark.parametrize(("kind", "factor"), [("unit x10", 10.0), ("unit x60", 60.0)])
def test_a_wrong_unit_multiplies_a_quantity(table, kind, factor):
    for (name,), before, after in changes(table, injector(table).inject(kind, COUNT)):
        assert name in ("temp", "rain", "gust")
        assert after[name] == before[name] * factor


def test_swapped_columns_exchange_their_values(table):
    faulty = injector(table).inject("swapped", COUNT)
    for (one, other), before, after in changes(table, faulty):
        assert (after[one], after[other]) == (before[other], before[one])
        assert type(before[one]) is type(before[other])
    assert ("station", "carrier") in faulty.columns


def test_another_category_is_one_that_the_column_has(table):
    for (name,), _, after in changes(table, injector(table).inject("other category", COUNT)):
        assert after[name] in set(table[name].to_pylist())


def test_a_column_sticks_at_one_value(table):
    values = {}
    for (name,), _, after in changes(table, injector(table).inject("stuck", COUNT)):
        assert after[name] in table[name].to_pylist()
        values.setdefault(name, set()).add(after[name])
    assert set(values) == set(table.schema.names) - {"row"}
    assert all(len(stuck) == 1 for stuck in values.values())


def test_a_null_takes_the_place_of_a_value(table):
    for (name,), before, after in changes(table, injector(table).inject("null", COUNT)):
        assert before[name] is not None
        assert after[name] is None


def test_too_few_records_that_can_have_a_fault_are_named(table):
    few = table.slice(0, 5).append_column("zero", pa.array([0.0] * 5))
    only_zero = Injector(few, quantities=("zero",), identifiers=(), generator=np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected 2 records that can have the fault 'unit x10', got 0"):
        only_zero.inject("unit x10", 2)


def test_values_are_removed_at_random_in_every_column(table):
    removed = without_values(table.drop_columns(["gust"]), 0.3, np.random.default_rng(0))
    assert removed.schema == table.drop_columns(["gust"]).schema
    for name in removed.schema.names:
        pairs = zip(removed[name].to_pylist(), table[name].to_pylist(), strict=True)
        assert all(after in (None, before) for after, before in pairs)
        assert 0.15 < removed[name].null_count / RECORDS < 0.45

"""Each kind of fault changes what it says in copies of records, and the learned rule sees what it can see."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.faults.kinds import DUPLICATE, KINDS, Injector

if importlib.util.find_spec("pandas") is None:  # of the bench extra
    pytest.skip("no pandas", allow_module_level=True)
from benchmarks.faults.experiment import Rule
from benchmarks.faults.tables import split

RECORDS = 200


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    start = datetime(2013, 1, 1, tzinfo=UTC)
    return pa.table(
        {
            "row": pa.array(np.arange(RECORDS).astype(float)),
            "price": np.round(rng.lognormal(3, 1, RECORDS), 2),
            "share": rng.random(RECORDS),
            "mail": [f"user{at}@example.org" for at in range(RECORDS)],
            "station": rng.choice(["EWR", "JFK", "LGA"], RECORDS).tolist(),
            "carrier": rng.choice(["UA", "AA"], RECORDS).tolist(),
            "at": pa.array([start + timedelta(hours=hour) for hour in range(RECORDS)], pa.timestamp("us", "UTC")),
        }
    )


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_columns_that_are_named_differ(table, kind):
    made = Injector(table, table, np.random.default_rng(0)).inject(kind, 50)
    assert made is not None
    assert made.records.schema == table.schema
    assert len(made.columns) == made.records.num_rows > 0
    originals = table.to_pylist()
    for record, columns in zip(made.records.to_pylist(), made.columns, strict=True):
        kept = [name for name in record if name not in columns]
        assert any(all(record[name] == before[name] for name in kept) for before in originals)
        assert bool(columns) == (kind != DUPLICATE)
        assert not any(all(record[name] == before[name] for name in record) for before in originals if columns)


def test_a_kind_that_no_record_can_have_is_left_out(table):
    texts = table.select(["station", "carrier"])
    assert Injector(texts, texts, np.random.default_rng(0)).inject("x100", 5) is None


def any_broken(rule: Rule, records: pa.Table) -> np.ndarray:
    return np.logical_or.reduce([*rule.broken_by(records).values()])


def test_the_rule_reports_what_training_never_held_and_nothing_that_it_did(table):
    rule, injector = Rule(table), Injector(table, table, np.random.default_rng(0))
    assert not any_broken(rule, table).any()
    for kind in ("negative", "null", "unknown category", "sentinel -999", "future", "1970"):
        assert any_broken(rule, injector.inject(kind, 30).records).all(), kind
    assert not any_broken(rule, injector.inject("other known category", 30).records).any()
    made = injector.inject("negative", 30)
    broken = rule.broken_by(made.records)
    assert all([name for name in broken if broken[name][row]] == [*named] for row, named in enumerate(made.columns))


def test_parts_share_no_record(table):
    parts = split(table, 1000, 1000, np.random.default_rng(0))
    assert parts.normal.num_rows == RECORDS // 5
    assert set(parts.normal["row"].to_pylist()) | set(parts.training["row"].to_pylist()) == set(range(RECORDS))

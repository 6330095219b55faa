"""The records that the engines score."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def orders() -> pa.Table:
    """Return 20,000 records with nulls in each column that is scored, and instants in a zone."""
    records = 20_000
    rng = np.random.default_rng(3)
    seconds = int(datetime(2023, 3, 1, tzinfo=UTC).timestamp()) + rng.integers(0, 200 * 86_400, records)
    columns = {
        "amount": pa.array(rng.gamma(4.0, 8.0, records).round(2)),
        "express": pa.array(rng.random(records) < 0.2),
        "country": pa.array(rng.choice(["DE", "FR", "Atlantis"], records)),
        "placed_at": pa.array(seconds, pa.timestamp("s")).cast(pa.timestamp("us", "UTC")),
    }
    nulls = {name: pa.array(rng.random(records) < 0.03) for name in columns}
    scored = {name: pc.if_else(nulls[name], None, array) for name, array in columns.items()}
    return pa.table({"id": pa.array(range(records)), **scored})


@pytest.fixture(scope="session")
def orders_file(orders: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the records as a folder of four Parquet files, one of them without a record."""
    folder = tmp_path_factory.mktemp("orders")
    for number, start in enumerate((0, 5_000, 15_000, 20_000)):
        stop = (5_000, 15_000, 20_000, 20_000)[number]
        pq.write_table(orders.slice(start, stop - start), folder / f"{number}.parquet")
    return folder

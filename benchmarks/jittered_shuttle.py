"""As many records as wanted, made of the demo's sample: drawn again and again, each time with fresh jitter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conditions import SAMPLE
from numpy.typing import NDArray

JITTER = 0.5  # the sample's readings are whole numbers
DECIMALS = 3
RECORDS_PER_CHUNK = 50_000


def sample_schema() -> pa.Schema:
    """Return the columns of the records: those of the sample, as float64."""
    return pa.schema([(name, pa.float64()) for name in pq.read_schema(SAMPLE).names])


def chunks(generator: np.random.Generator) -> Iterator[pa.Table]:
    """Yield tables of `RECORDS_PER_CHUNK` records without end; small ones, so that the process stays small."""
    values = readings(pq.read_table(SAMPLE))
    while True:
        chosen = values[generator.integers(len(values), size=RECORDS_PER_CHUNK)]
        yield jittered(chosen, generator)


def jittered(values: NDArray[np.float64], generator: np.random.Generator) -> pa.Table:
    """Return readings, shape (n, columns), as records with jitter of up to half a unit."""
    moved = (values + generator.uniform(-JITTER, JITTER, values.shape)).round(DECIMALS)
    return pa.table(list(moved.T), schema=sample_schema())


def readings(records: pa.Table) -> NDArray[np.float64]:
    """Return the readings of records of the sample's columns, shape (n, columns)."""
    return np.stack([records[name].to_numpy() for name in sample_schema().names], axis=1).astype(np.float64)

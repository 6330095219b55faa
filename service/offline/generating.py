"""Generated records written as CSV, Parquet or Arrow, with the types that their columns had in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaegis.service.contract import BooleanColumn, CategoricalColumn, Column, NumericColumn, Schema
from vaegis.service.generation import Drawn
from vaegis.service.grid import is_integral
from vaegis.service.offline.output import OutputFormat
from vaegis.service.offline.tables import table_writer

_INTEGERS = 2.0**63
_MICROSECONDS = 1e6


@contextmanager
def drawn_writer(stream: BinaryIO, output_format: OutputFormat, schema: Schema) -> Iterator[Callable[[Drawn], None]]:
    """Yield a function that writes generated records; leaving the block completes the table."""
    types = [_type(column) for column in schema.columns]
    table = pa.schema(list(zip(schema.names, types, strict=True)))

    def batch(drawn: Drawn) -> pa.RecordBatch:
        arrays = [
            pa.array(_values(values, kind), kind, mask=drawn.missing[:, i])
            for i, (values, kind) in enumerate(zip(drawn.values, types, strict=True))
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=table)

    with table_writer(stream, output_format, table) as write:
        yield lambda drawn: write(batch(drawn))


def _type(column: Column) -> pa.DataType:
    if isinstance(column, NumericColumn):
        fits = column.minimum >= -_INTEGERS and column.maximum < _INTEGERS
        return pa.int64() if is_integral(column) and fits else pa.float64()
    if isinstance(column, BooleanColumn):
        return pa.int64() if column.as_number else pa.bool_()
    return pa.string() if isinstance(column, CategoricalColumn) else pa.timestamp("us", "UTC")


def _values(values: NDArray[np.generic], kind: pa.DataType) -> NDArray[np.generic]:
    if pa.types.is_timestamp(kind):
        return np.rint(values.astype(np.float64) * _MICROSECONDS).astype("datetime64[us]")
    return values.astype(np.int64) if kind == pa.int64() else values

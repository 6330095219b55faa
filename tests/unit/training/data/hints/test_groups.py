from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from vaegis.training.config import SplitSettings, TrainConfig
from vaegis.training.data.hints.groups import group_column_hint
from vaegis.training.data.kinds import ColumnPlan

pytestmark = pytest.mark.training
N = 400
REPEATED = np.repeat(np.arange(40), 10) * 17


@pytest.mark.parametrize("values", [REPEATED, [f"c{value}" for value in REPEATED]], ids=["numbers", "texts"])
def test_identifiers_that_repeat_are_suggested_as_groups(new_sample, values):
    sample = new_sample(pa.table({"amount": np.arange(N), "customerId": values}))
    plans = (ColumnPlan("amount", "numeric", ""), ColumnPlan("customerId", None, ""))
    assert 'splits.group_column = "customerId"' in (group_column_hint(plans, sample, TrainConfig()) or "")
    chosen = TrainConfig(splits=SplitSettings(group_column="customerId"))
    assert group_column_hint(plans, sample, chosen) is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("amount", REPEATED),
        ("order_id", np.arange(N)),
        ("device", np.arange(N) % 3),
        ("sensor_1", REPEATED),
        ("device.app_version", REPEATED),
        ("user_agent", REPEATED),
        ("member_age", REPEATED),
        ("row_index", REPEATED),
    ],
    ids=["no-name", "no-repeat", "few-values", "numbered", "part-of-an-object", "attribute", "quantity", "counter"],
)
def test_quantities_keys_and_columns_of_few_values_are_no_groups(new_sample, name, values):
    plans = (ColumnPlan(name, "numeric", ""),)
    assert group_column_hint(plans, new_sample(pa.table({name: values})), TrainConfig()) is None

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vaegis.service.contract import Reading
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.row_location import RowLocation
from vaegis.training.data.sampling import Sample
from vaegis.training.data.trends.new_values import with_new_values
from vaegis.training.data.trends.record_order import Order

N = 1000
BY_TIME, BY_FILE = Order("sent_at", np.arange(N), 86_400.0), Order(None, np.arange(N))
CAMPAIGNS = np.arange(N) // 12  # each goes on for a while, and never comes back
RANDOM = np.random.default_rng(0)
OVERLAPPING = CAMPAIGNS + RANDOM.integers(0, 3, N)


def plan_of(numbers, order, kind="categorical"):
    table = pa.table({"campaign": [f"c{number}" for number in numbers]})
    sample = Sample(table, np.arange(N), ((0, RowLocation(Path("a.csv"), 1)),))
    return with_new_values(ColumnPlan("campaign", kind, "text"), sample, order)


def test_a_list_that_goes_on_with_the_time_is_watched_by_its_form():
    plan = plan_of(CAMPAIGNS, BY_TIME)
    assert plan.kind == "text"
    assert plan.reason.startswith(
        "new values come with the time: 98% of the newest fifth, by the time in sent_at, hold"
    )


@pytest.mark.parametrize("numbers", [OVERLAPPING, OVERLAPPING[::-1]], ids=["newest last", "newest first"])
def test_a_list_that_goes_on_with_the_file_has_a_warning_because_that_may_have_another_order(numbers):
    plan = plan_of(numbers, BY_FILE)
    assert plan.kind == "categorical"
    assert plan.leaves_range
    assert "Unless the file has another order than time, about as many" in plan.warnings[-1]
    assert plan.warnings[-1].count('columns.campaign.kind = "text"') == 1


def test_a_file_that_is_sorted_by_a_column_says_nothing_of_its_next_values():
    assert not plan_of(CAMPAIGNS, BY_FILE).warnings


def test_a_new_version_or_shop_is_no_list_that_goes_on():
    plan = plan_of(np.where(np.arange(N) < 900, np.arange(N) % 5, 5), BY_TIME)
    assert plan.kind == "categorical"
    assert plan.warnings[-1].startswith("50% of the newest fifth, by the time in sent_at, hold a value that the rest")


@pytest.mark.parametrize(
    "numbers",
    [
        RANDOM.permutation(CAMPAIGNS),
        RANDOM.permutation(
            np.where(np.arange(N) < 500, np.arange(N), 0)
        ),  # half of the records hold a value of their own
        np.arange(N) % 7,
    ],
    ids=["shuffled", "rare values", "few values"],
)
@pytest.mark.parametrize("order", [BY_TIME, BY_FILE], ids=["by time", "by file"])
def test_rare_values_in_any_order_are_no_list_that_goes_on(numbers, order):
    plan = plan_of(numbers, order)
    assert (plan.kind, plan.warnings, plan.leaves_range) == ("categorical", (), False)


def test_a_marker_of_nulls_stays_in_a_list_that_becomes_text():
    table = pa.table({"campaign": [f"c{number}" for number in CAMPAIGNS]})
    sample = Sample(table, np.arange(N), ((0, RowLocation(Path("a.csv"), 1)),))
    plan = ColumnPlan("campaign", "categorical", "text", Reading(null_values=("none",)))
    assert with_new_values(plan, sample, BY_TIME).reading == plan.reading


@pytest.mark.parametrize("seed", range(5))
def test_few_records_with_rare_values_are_no_list_that_goes_on(seed):
    numbers = np.random.default_rng(seed).zipf(1.7, 100)
    table = pa.table({"campaign": [f"c{number}" for number in numbers]})
    sample = Sample(table, np.arange(100), ((0, RowLocation(Path("a.csv"), 1)),))
    assert not with_new_values(
        ColumnPlan("campaign", "categorical", "text"), sample, Order("at", np.arange(100))
    ).warnings


def test_few_values_and_other_kinds_stay():
    assert plan_of(CAMPAIGNS, Order("sent_at", np.arange(40))).kind == "categorical"
    assert plan_of(CAMPAIGNS, BY_TIME, kind=None).kind is None

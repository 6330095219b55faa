from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vaegis.training.data.hints.totals import total_line_hint
from vaegis.training.data.kinds import ColumnPlan
from vaegis.training.data.row_location import RowLocation

pytestmark = pytest.mark.training
PLANS = (ColumnPlan("no", "numeric", ""), ColumnPlan("shop", "categorical", ""), ColumnPlan("amount", "numeric", ""))


def records_of(shop: str, amount: str) -> pa.Table:
    rows = [(str(at), f"s{at % 3}", f"{at * 1.1 + 0.004:.2f}") for at in range(40)] + [(None, shop, amount)]
    return pa.table(dict(zip(("no", "shop", "amount"), zip(*rows, strict=True), strict=True)))


# The sum of what the file shows is 858.00, that of the values before they were rounded 858.16.
@pytest.mark.parametrize(
    ("word", "amount"), [("Total", "858.00"), ("SUM:", "858"), ("Grand Total", "858.02"), (None, "858.00")]
)
def test_a_last_line_that_is_the_sum_of_the_others_is_named(new_sample, word, amount):
    hint = total_line_hint(PLANS, new_sample(records_of(word, amount)), 41) or ""
    assert "records.csv, row 41 seems to hold totals" in hint
    assert "its amount is the sum of the others" in hint


@pytest.mark.parametrize(("word", "amount"), [("Total", "43.10"), ("Total", None), ("s1", "858.00"), (None, "43.10")])
def test_a_word_or_a_sum_alone_is_no_total(new_sample, word, amount):
    assert total_line_hint(PLANS, new_sample(records_of(word, amount)), 41) is None


def test_each_file_may_end_in_its_own_total(new_sample):
    whole = new_sample(pa.concat_tables([records_of("s1", "3.00"), records_of("Total", "858.00")]))
    starts = (
        (0, RowLocation(Path("a.csv"), 1)),
        (41, RowLocation(Path("b.csv"), 1)),
        (60, RowLocation(Path("b.csv"), 21)),
    )
    assert "b.csv, row 42 seems" in (total_line_hint(PLANS, replace(whole, starts=starts), 82) or "")
    part = replace(whole, rows=np.arange(82) * 2)
    assert total_line_hint(PLANS, part, 164) is None

"""A batch is as large as the model is fast, within its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaegis.service.http.batch_size import BATCH_S, FEW_RECORDS, BatchSize

MOST = 1024


def learned(batches, most=MOST) -> BatchSize:
    size = BatchSize(most)
    for records, seconds in batches:
        size.note(records, seconds)
    return size


@pytest.mark.parametrize(
    ("record_s", "records"), [(1e-6, MOST), (BATCH_S / MOST, MOST), (2e-5, 500), (1e-4, 100), (1e-3, FEW_RECORDS)]
)
def test_it_comes_to_what_the_model_takes_ten_milliseconds_for(record_s, records):
    assert learned([(200, 200 * record_s)] * 200).most_records == pytest.approx(records, abs=1)


def test_one_faster_batch_is_enough_and_one_slower_changes_little():
    slow = [(256, 256 * 1e-4)] * 100
    assert learned([*slow, (256, 256 * 1e-5)]).most_records == pytest.approx(1000, abs=1)
    assert learned([*slow, (256, 10.0)]).most_records >= 90


def test_small_batches_tell_nothing():
    assert learned([(FEW_RECORDS - 1, 1.0)] * 1000).most_records == MOST


@given(st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 1e3)), max_size=300), st.integers(1, 4096))
def test_it_stays_within_its_bounds(batches, most):
    assert min(most, FEW_RECORDS) <= learned(batches, most).most_records <= most

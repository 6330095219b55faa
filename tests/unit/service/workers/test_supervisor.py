"""When workers are started again."""

from __future__ import annotations

import pytest

from vaegis.service.workers.supervisor import LONGEST_DELAY_S, MOST_FAILED_STARTS, STABLE_S, Restarts


def test_a_worker_that_served_for_long_is_replaced_at_once_however_often():
    restarts = Restarts()
    assert {restarts.note_end(0, served_s=STABLE_S) for _ in range(100)} == {0.0}
    assert not restarts.is_hopeless


@pytest.mark.parametrize("served_s", [None, 0.0, STABLE_S / 2])
def test_short_lives_in_a_row_double_the_wait_up_to_a_longest_one(served_s):
    restarts = Restarts()
    delays = [restarts.note_end(0, served_s=served_s) for _ in range(10)]
    assert delays[:4] == [0.0, 0.1, 0.2, 0.4]
    assert max(delays) == LONGEST_DELAY_S
    assert restarts.note_end(1, served_s=served_s) == 0.0
    assert restarts.note_end(0, served_s=STABLE_S) == 0.0
    assert [restarts.note_end(0, served_s=served_s) for _ in range(2)] == [0.0, 0.1]


def test_starting_is_hopeless_after_so_many_failures_without_a_success_between_them():
    restarts = Restarts()
    for number in range(MOST_FAILED_STARTS - 1):
        restarts.note_end(number, served_s=None)
    assert not restarts.is_hopeless
    restarts.note_ready()
    for number in range(MOST_FAILED_STARTS):
        assert not restarts.is_hopeless
        restarts.note_end(number, served_s=None)
    assert restarts.is_hopeless


def test_workers_that_serve_and_end_are_not_hopeless():
    restarts = Restarts()
    for _ in range(10 * MOST_FAILED_STARTS):
        restarts.note_ready()
        restarts.note_end(0, served_s=0.1)
    assert not restarts.is_hopeless

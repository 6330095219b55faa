from __future__ import annotations

import threading
from contextlib import closing

from vaegis.service.watchdog import Watchdog

LONGEST_WAIT_S = 60


def test_silence_is_reported_once_with_its_length():
    reported, late = [], threading.Event()
    with closing(Watchdog(0.05, lambda silent_s: (reported.append(silent_s), late.set()))):
        assert late.wait(LONGEST_WAIT_S)
    assert len(reported) == 1
    assert reported[0] > 0.05


def test_signs_of_life_and_an_end_keep_it_quiet():
    late = threading.Event()
    with closing(Watchdog(0.5, lambda _: late.set())) as watchdog:
        for _ in range(100):
            watchdog.beat()
            assert not late.wait(0.01)
    assert not late.wait(1.0)


def test_the_time_until_the_next_sign_of_life_can_change():
    late = threading.Event()
    with closing(Watchdog(3600, lambda _: late.set())) as watchdog:
        watchdog.beat(0.05)
        assert late.wait(LONGEST_WAIT_S)

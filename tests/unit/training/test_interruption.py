from __future__ import annotations

import signal
import threading

import pytest

from vaegis.training.interruption import interruption

pytestmark = pytest.mark.training


def test_the_first_ctrl_c_is_noted_and_the_second_interrupts():
    with pytest.raises(KeyboardInterrupt), interruption() as came:  # noqa: PT012 - the second signal is to raise, not the first
        signal.raise_signal(signal.SIGINT)
        assert came.is_set()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_interrupts_as_before_at_the_end():
    with interruption() as came:
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not came.is_set()


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruption() as came:
            signal.raise_signal(signal.SIGINT)
        assert not came.is_set()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_than_the_main_one_leaves_signals_alone():
    seen = []

    def enter() -> None:
        with interruption() as came:
            seen.append((came.is_set(), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, signal.default_int_handler)]

"""Handle Ctrl-C: stop at the next step, not in the middle of one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Give the event that the first Ctrl-C sets; a second one raises KeyboardInterrupt, as it does elsewhere.

    The event stays unset outside the main thread, which alone receives signals, and where someone else handles them or
    has them ignored, as a shell does for what runs in the background.
    """
    came = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield came
        return

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        came.set()

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)

"""Many measurements in a few processes, each with one thread, results as they come."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import TypeVar

from vaegis.service.errors import ServiceError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_processes(
    work: Callable[[_Task], _Result], tasks: Sequence[_Task], processes: int
) -> Iterator[tuple[_Task, _Result | Exception]]:
    """Yield each task with its result, or the exception that it raised, in the order in which they end.

    Each task has a process of its own, as a command has. Ctrl-C ends them at once.

    Args:
        work: A function of a module.
        tasks: In the order in which they start: the longest first keeps all processes busy to the end.
        processes: How many run at the same time, at least 1.
    """
    for name in _THREAD_COUNTS:
        os.environ[name] = "1"  # read by the libraries as the new processes load them
    with ThreadPoolExecutor(processes) as threads:
        begun = {threads.submit(_in_a_process, work, task): task for task in tasks}
        try:
            for future in as_completed(begun):
                error = future.exception()
                if isinstance(error, Exception):
                    yield begun[future], error
                else:
                    yield begun[future], future.result()
        except BaseException:  # also when the caller stops asking
            threads.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _in_a_process(work: Callable[[_Task], _Result], task: _Task) -> _Result:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=_ignore_interrupts) as pool:
        return pool.submit(_told, work, task).result()


def _told(work: Callable[[_Task], _Result], task: _Task) -> _Result:
    """Do the work; the service's errors come back as text: those that name a file do not survive pickling."""
    try:
        return work(task)
    except ServiceError as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from None


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent: training would keep its model so far and give it as a result."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

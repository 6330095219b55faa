"""A coroutine run as far as it can without waiting: most parts of bodies are there when they are asked for."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")


class Begun(Generic[_Result]):
    """A coroutine that has run to the first point at which it had to wait, or to its end.

    Attributes:
        result: What it returned, if it never had to wait.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, _Result]) -> None:
        """Run it so far."""
        self._steps: Generator[object, Any, _Result] = coroutine.__await__()
        self._waits_for: object = None
        self.result: _Result | None = None
        try:
            self._waits_for = next(self._steps)
        except StopIteration as end:
            self.result = end.value

    def __await__(self) -> Generator[object, Any, _Result]:
        """Run on to its end."""
        while True:
            try:
                sent = yield self._waits_for
            except BaseException as error:  # noqa: BLE001 - a cancellation most of all, and none of our business
                step = partial(self._steps.throw, error)
            else:
                step = partial(self._steps.send, sent)
            try:
                self._waits_for = step()
            except StopIteration as end:
                result: _Result = end.value
                return result

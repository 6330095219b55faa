"""What is known of a request while it is answered, for whoever answers it: `call_of(scope)`.

A route that takes records calls `charge` before it scores them, and adds up `records` and `flagged`. One
whose answer begins before all records came calls `charge` for the first and `owe` for the others, and waits as told.
Decoding and inference run within `step("decode")` and `step("infer")`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Scope

from vaegis.service.callers.rates import Account
from vaegis.service.http.access import Route
from vaegis.service.http.errors import RateLimitedError
from vaegis.service.records.blocks import UnpackedBytes

if TYPE_CHECKING:
    from vaegis.service.http.tracing import RequestSpan

BYTES_PER_RECORD: Final = 16 * 1024
"""Bytes that are unpacked in about the time in which a record is scored."""

_UNTRACED: Final = nullcontext()
_PLACE: Final = "vaegis.call"


@dataclass(slots=True)
class Call:
    """A request and its answer.

    Attributes:
        route: Where it goes.
        request_id: Its own id.
        trace_id: The trace that it is part of.
        span_id: Its place there.
        key: Name of the caller's key; None where none was asked for.
        recheck_key: Passes if that key is still valid and allows the route, on the event loop's thread; None where no
            key was asked for.
        account: What the caller may still send; None where there is no limit.
        unpacked: Counts what its body is unpacked to; None where it is not compressed.
        records: Records that were scored or generated.
        flagged: Those of them that are anomalies.
        span: What is exported of it; None where nothing is.
    """

    route: Route
    request_id: str
    trace_id: str
    span_id: str
    key: str | None = None
    recheck_key: Callable[[], None] | None = None
    account: Account | None = None
    records: int = 0
    flagged: int = 0
    span: RequestSpan | None = None
    unpacked: UnpackedBytes | None = None
    _charged: int = 0

    def step(self, name: str) -> AbstractContextManager[None]:
        """Return what a step of the work is to run within, so that its time shows in traces; on any thread."""
        return _UNTRACED if self.span is None else self.span.step(name)

    def require_key(self) -> None:
        """Pass if the caller may still call; for what goes on for long, on the event loop's thread.

        Raises:
            UnknownKeyError: its key is no longer valid.
            MissingScopeError: its key no longer allows the route.
        """
        if self.recheck_key is not None:
            self.recheck_key()

    def require_room(self) -> None:
        """Pass if the caller may send a record now.

        Raises:
            RateLimitedError: not yet.
        """
        if self.account is not None:
            wait_s = self.account.wait_s()
            if wait_s:
                raise RateLimitedError(self.account.records_per_s, wait_s)

    def charge(self, records: int) -> None:
        """Take ``records`` from what the caller may send. To be called once nothing else can refuse them any more.

        Raises:
            RateLimitedError: there is no room for them yet; none was taken.
        """
        if self.account is not None:
            wait_s = self.account.take(records)
            if wait_s:
                raise RateLimitedError(self.account.records_per_s, wait_s)
            self._charged += records

    def owe(self, records: int) -> float:
        """Take ``records`` of a stream whose answer has begun, so that it is too late to refuse.

        Returns:
            The seconds to wait before more of the stream is read.
        """
        self._charged += records
        return 0.0 if self.account is None else self.account.owe(records)

    def settle(self) -> None:
        """Take a record for each `BYTES_PER_RECORD` that the body was unpacked to and no record was taken for.

        That happens at the end, whatever became of the request: what unpacks to much and is refused is paid for too.
        """
        if self.account is not None and self.unpacked is not None:
            due = self.unpacked.total // BYTES_PER_RECORD - self._charged
            if due > 0:
                self.account.owe(due)


def enter(scope: Scope, call: Call) -> None:
    """Put ``call`` where everything further in finds it."""
    scope[_PLACE] = call


def call_of(scope: Scope) -> Call:
    """Return what is known of the request that ``scope`` is of."""
    found: Any = scope[_PLACE]
    call: Call = found
    return call

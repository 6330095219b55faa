"""What is known of a request while it is answered: `scope[CONTEXT]`.

A route that takes records calls `charge` before it scores them, and adds up `records` and `flagged`. Decoding and
inference run within `step("decode")` and `step("infer")`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from vaegis.service.auth.keys import Access
from vaegis.service.auth.rate_limits import RateLimit
from vaegis.service.http.errors import RateLimitedError
from vaegis.service.http.routes import Route

BYTES_PER_RECORD: Final = 16 * 1024
"""Decompressing this many bytes takes about as long as scoring one record."""

CONTEXT: Final = "vaegis.request_context"
"""Key of the scope under which `Instrumentation` puts the `RequestContext`."""

_UNTRACED: Final = nullcontext()
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_INVALID_VERSION: Final = b"ff"
_FIRST_VERSION: Final = b"00"  # which has nothing after the flags
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_RANDOM_BYTES: Final = 32  # for a request: 16 for its id, 16 for its trace
_REQUESTS_AT_ONCE: Final = 128  # because each call of the system takes longer than the rest of this


class Span(Protocol):
    """The tracing span of a request."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Return a context manager that records a span for one step. Thread-safe."""

    def end(self, context: RequestContext, error: str | None) -> None:
        """End the span of an answered request, with the kind of an unexpected error."""


@dataclass(slots=True)
class RequestContext:
    """A request and its answer.

    Attributes:
        route: Its route.
        request_id: Its own id.
        trace_id: The trace that it is part of.
        span_id: Its span there.
        key: Name of the caller's key; None if the route needs none.
        scopes: What the key allows; None if there is none.
        rate_limit: The caller's rate limit; None if there is none.
        status: Of the answer; 0 until it begins.
        records: Records that were scored or generated.
        flagged: Those of them that are anomalies.
        span: Its tracing span; None if it is not traced.
    """

    route: Route
    request_id: str
    trace_id: str
    span_id: str
    key: str | None = None
    scopes: frozenset[Access] | None = None
    rate_limit: RateLimit | None = None
    status: int = 0
    records: int = 0
    flagged: int = 0
    span: Span | None = None
    _charged: int = 0

    def allows(self, scope: Access) -> bool:
        """Return whether the caller's key, if keys are needed, has ``scope``."""
        return self.scopes is None or scope in self.scopes

    def step(self, name: str) -> AbstractContextManager[None]:
        """Return a context manager that records a tracing span for one step of the work. Thread-safe."""
        return _UNTRACED if self.span is None else self.span.step(name)

    def require_tokens(self) -> None:
        """Pass if the caller may send a record now.

        Raises:
            RateLimitedError: not yet.
        """
        if self.rate_limit is not None:
            wait_s = self.rate_limit.wait_s()
            if wait_s:
                raise RateLimitedError(self.rate_limit.records_per_s, wait_s)

    def charge(self, records: int, *, into_debt: bool = False) -> None:
        """Charge ``records`` to the caller's rate, those of later blocks of a body into debt.

        Call this once nothing else can refuse them.

        Raises:
            RateLimitedError: the caller may not send them yet; none was charged.
        """
        if self.rate_limit is not None:
            wait_s = self.rate_limit.try_spend(records, into_debt=into_debt)
            if wait_s:
                raise RateLimitedError(self.rate_limit.records_per_s, wait_s)
            self._charged += records

    def charge_unpacked(self, size: int) -> None:
        """Charge a record for each `BYTES_PER_RECORD` of ``size`` decompressed bytes, less the records charged already.

        Call this at the end of a body, so that one which is refused after decompression costs its caller too.
        """
        due = size // BYTES_PER_RECORD - self._charged
        if due > 0:
            self.charge(due, into_debt=True)


class Identity(NamedTuple):
    """The ids of a request.

    Attributes:
        request_id: The caller's, if it is well-formed and short; otherwise a new one.
        trace_id: 32 hexadecimal digits; that of the caller's trace, if it names one.
        span_id: 16 hexadecimal digits, always new.
    """

    request_id: str
    trace_id: str
    span_id: str


def identify(headers: Iterable[tuple[bytes, bytes]]) -> Identity:
    """Return the ids of a request. A header that is malformed or comes twice is ignored.

    Only for use on the event loop's thread.
    """
    request_id = parent = None
    for name, value in headers:
        if name == b"x-request-id":
            request_id = value if request_id is None else b""
        elif name == b"traceparent":
            parent = value if parent is None else b""
    digits = next(_RANDOM)
    return Identity(
        request_id.decode() if request_id is not None and _REQUEST_ID.fullmatch(request_id) else digits[:32],
        (parent is not None and _trace_of(parent)) or digits[32:],
        digits[:16],
    )


def _random_digits() -> Iterator[str]:
    """Yield random hexadecimal digits without end."""
    while True:
        random = os.urandom(_RANDOM_BYTES * _REQUESTS_AT_ONCE).hex()
        for at in range(0, len(random), 2 * _RANDOM_BYTES):
            yield random[at : at + 2 * _RANDOM_BYTES]


_RANDOM: Final = _random_digits()


def _trace_of(parent: bytes) -> str | None:
    """Return the trace of a `traceparent` header, if it is valid."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace, span, more = found.groups()
    if version == _INVALID_VERSION or (version == _FIRST_VERSION and more) or trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return str(trace, "ascii")

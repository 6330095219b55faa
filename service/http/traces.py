"""By what a request is known: its own id, and its place in a trace (W3C Trace Context, level 1)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_PARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_INVALID_VERSION: Final = b"ff"
_FIRST_VERSION: Final = b"00"  # which has nothing after the flags
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_MADE_BYTES: Final = 32  # of chance for a request: an id of 16, and as many for a trace
_MADE_AT_ONCE: Final = 128  # asking the system takes longer than all else here


class Identity(NamedTuple):
    """By what a request is known.

    Attributes:
        request_id: The caller's, if it is well-formed and short; otherwise a new one.
        trace_id: 32 hexadecimal digits; that of the caller's trace, if it names one.
        span_id: 16 hexadecimal digits, always new.
    """

    request_id: str
    trace_id: str
    span_id: str


def identify(headers: Iterable[tuple[bytes, bytes]]) -> Identity:
    """Return by what a request is known. A header that is malformed, or comes twice, is as none.

    Only for use on the event loop's thread.
    """
    request_id = parent = None
    for name, value in headers:
        if name == b"x-request-id":
            request_id = value if request_id is None else b""
        elif name == b"traceparent":
            parent = value if parent is None else b""
    made = next(_MADE)
    return Identity(
        request_id.decode() if request_id is not None and _REQUEST_ID.fullmatch(request_id) else made[:32],
        (parent is not None and _trace_of(parent)) or made[32:],
        made[:16],
    )


def _made() -> Iterator[str]:
    """Yield hexadecimal digits of chance, without end."""
    while True:
        chance = os.urandom(_MADE_BYTES * _MADE_AT_ONCE).hex()
        for at in range(0, len(chance), 2 * _MADE_BYTES):
            yield chance[at : at + 2 * _MADE_BYTES]


_MADE: Final = _made()


def _trace_of(parent: bytes) -> str | None:
    """Return the trace of a `traceparent` header, if it is valid."""
    found = _PARENT.fullmatch(parent)
    if found is None:
        return None
    version, trace, span, more = found.groups()
    if version == _INVALID_VERSION or (version == _FIRST_VERSION and more) or trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return str(trace, "ascii")

"""Reading a request body: its media type, its size while it arrives, the time it takes, and what is in it."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.requests import Request

from service.http.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    IncompleteBodyError,
    MediaTypeError,
    TooManyValuesError,
)
from service.records.json import parse_json

_JSON_TYPE: Final = re.compile(r"application/([^/]+\+)?json")


def require_json(request: Request) -> None:
    """Pass if the body is declared as JSON, or not declared at all.

    A charset parameter is passed over: JSON is UTF-8 (RFC 8259, section 11), and the parser checks that.

    Raises:
        MediaTypeError: it is declared as another format, or as compressed.
    """
    declared = request.headers.get("content-type", "application/json")
    media_type = declared.partition(";")[0].strip().lower()
    if not _JSON_TYPE.fullmatch(media_type):
        raise MediaTypeError(f"Content-Type: expected application/json, got {media_type!r}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise MediaTypeError(f"Content-Encoding: expected none, got {encoding!r}")


async def read_body(request: Request, *, max_bytes: int, timeout_s: float) -> bytes:
    """Return the body, having held at most ``max_bytes`` and one network read of it in memory.

    Raises:
        BodyTooLargeError: the body is larger, by its Content-Length or by count.
        BodyTimeoutError: it was not complete after ``timeout_s`` seconds.
        IncompleteBodyError: the client went away.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise BodyTooLargeError(_too_large(max_bytes, length), unread=True)
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, max_bytes)
    except TimeoutError as error:
        raise BodyTimeoutError(f"body: expected its end within {timeout_s:g} s, got none") from error


def parse_body(body: bytes, *, max_depth: int, max_values: int) -> object:
    """Parse a body as JSON, unless it would take too much memory.

    A value may take a hundred bytes in memory for two in the body, so that a limit of bytes alone bounds little.
    Values are counted by what begins or parts them: commas and opening brackets, also within text.

    Raises:
        TooManyValuesError: there are more than ``max_values``.
        BodyError: the body is not well-formed JSON, or nests deeper than ``max_depth``.
    """
    values = sum(body.count(mark) for mark in (b",", b"[", b"{"))
    if values > max_values:
        raise TooManyValuesError(f"body: expected at most {max_values} commas and opening brackets, got {values}")
    return parse_json(body, max_depth=max_depth)


async def discard_body(request: Request, *, max_bytes: int, timeout_s: float) -> None:
    """Read on until the body ends, ``max_bytes`` have come or ``timeout_s`` seconds have passed, and keep nothing."""
    try:
        async with asyncio.timeout(timeout_s):
            while max_bytes > 0:
                message = await request.receive()
                if not message.get("more_body", False):
                    return
                max_bytes -= len(message.get("body", b""))
    except TimeoutError:
        return


async def _read(request: Request, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise IncompleteBodyError("body: expected all of it, got a connection closed by the client")
        more = message.get("more_body", False)
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise BodyTooLargeError(_too_large(max_bytes, "more"), unread=more)
        parts.append(part)
        if not more:
            return b"".join(parts)


def _too_large(max_bytes: int, got: str) -> str:
    return f"body: expected at most {max_bytes} bytes, got {got}"

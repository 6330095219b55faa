"""Reading a request body: its media type, its size while it arrives, the time it takes, and what is in it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, Final, Generic, TypeVar

from starlette.types import Receive

from service.http.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    IncompleteBodyError,
    MediaTypeError,
    TooManyValuesError,
)
from service.http.formats import Encoding, Headers
from service.records.json import VALUE_MARKS, parse_json
from service.records.marks import count_marks
from service.records.stream.unpacking import UNPACKERS

_Result = TypeVar("_Result")

_JSON_TYPE: Final = re.compile(r"application/([^/]+\+)?json")


def require_json(headers: Headers) -> None:
    """Pass if the body is declared as JSON, or not declared at all.

    A charset parameter is passed over: JSON is UTF-8 (RFC 8259, section 11), and the parser checks that.

    Raises:
        MediaTypeError: it is declared as another format, or as compressed.
    """
    declared = _header(headers, b"content-type", b"application/json")
    if declared != b"application/json":
        media_type = declared.decode("latin-1").partition(";")[0].strip().lower()
        if not _JSON_TYPE.fullmatch(media_type):
            raise MediaTypeError(f"Content-Type: expected application/json, got {media_type!r}")
    encoding = _header(headers, b"content-encoding", b"identity").decode("latin-1").strip().lower()
    if encoding != "identity":
        raise MediaTypeError(f"Content-Encoding: expected none, got {encoding!r}")


async def read_body(
    headers: Headers, receive: Receive, *, max_bytes: int, timeout_s: float, hold: Callable[[int], None]
) -> bytes:
    """Return the body, having held at most ``max_bytes`` and one network read of it in memory.

    Args:
        headers: Of the request.
        receive: Gives the parts of the body.
        max_bytes: Longest body.
        timeout_s: Longest time until its end.
        hold: Told the size of each part of a body that comes in several; may raise to refuse it.

    Raises:
        BodyTooLargeError: the body is larger, by its Content-Length or by count.
        BodyTimeoutError: it was not complete after ``timeout_s`` seconds.
        IncompleteBodyError: the client went away.
    """
    length = _header(headers, b"content-length", b"")
    if length.isdigit() and int(length) > max_bytes:
        raise BodyTooLargeError(_too_large(max_bytes, length.decode()))
    # Most bodies are there when they are asked for, and a timeout costs more than all else that is done here.
    body = Begun(_whole(receive, max_bytes, hold))
    if body.result is not None:
        return body.result
    try:
        async with asyncio.timeout(timeout_s):
            return await body
    except TimeoutError as error:
        raise BodyTimeoutError(f"body: expected its end within {timeout_s:g} s, got none") from error


def unpacked_body(body: bytes, encoding: Encoding, max_bytes: int) -> bytes:
    """Return a body as it was before it was compressed.

    Raises:
        BodyTooLargeError: that has more than ``max_bytes``.
        BodyError: it is not compressed so, or not whole.
    """
    if encoding is Encoding.NONE:
        return body
    unpacker = UNPACKERS[encoding.value]()
    unpacked = bytearray()
    for piece in unpacker.feed(body):
        unpacked += piece
        if len(unpacked) > max_bytes:
            raise BodyTooLargeError(f"body: expected at most {max_bytes} bytes when unpacked, got more")
    unpacker.end()
    return bytes(unpacked)


def parse_body(body: bytes, *, max_depth: int, max_values: int) -> object:
    """Parse a body as JSON, unless it would take too much memory.

    Raises:
        TooManyValuesError: there are more than ``max_values`` values; see `require_few_values`.
        BodyError: the body is not well-formed JSON, or nests deeper than ``max_depth``.
    """
    require_few_values(body, max_values)
    return parse_json(body, max_depth=max_depth)


def require_few_values(body: bytes, max_values: int) -> None:
    """Pass if a body can be parsed as JSON without taking too much memory.

    A value may take a hundred bytes in memory for two in the body, so that a limit of bytes alone bounds little.
    Values are counted by what begins or parts them: commas and opening brackets, also within text.

    Raises:
        TooManyValuesError: there are more than ``max_values``.
    """
    values = count_marks(body, VALUE_MARKS)
    if values > max_values:
        raise TooManyValuesError(f"body: expected at most {max_values} commas and opening brackets, got {values}")


async def _whole(receive: Receive, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise IncompleteBodyError("body: expected all of it, got a connection closed by the client")
        more = message.get("more_body", False)
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise BodyTooLargeError(_too_large(max_bytes, "more"))
        if not (more or parts):
            only: bytes = part
            return only
        hold(len(part))
        parts.append(part)
        if not more:
            return b"".join(parts)


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


def _header(headers: Headers, name: bytes, default: bytes) -> bytes:
    for key, value in headers:
        if key == name:
            return value
    return default


def _too_large(max_bytes: int, got: str) -> str:
    return f"body: expected at most {max_bytes} bytes, got {got}"

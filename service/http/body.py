"""Reading a request body: its media type, its size while it arrives, and what is in it."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Receive

from vaegis.service.http.errors import TooManyValuesError
from vaegis.service.http.formats import Encoding, Headers, header
from vaegis.service.http.server.limits import IncompleteBodyError
from vaegis.service.records.blocks import BodyTooLargeError, UnpackedBytes
from vaegis.service.records.decompression import unpacker_of
from vaegis.service.records.json import VALUE_MARKS, parse_json
from vaegis.service.records.json_limits import count_marks


async def read_body(headers: Headers, receive: Receive, *, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    """Return the body, having held at most ``max_bytes`` and one network read of it in memory.

    Args:
        headers: Of the request.
        receive: Gives the parts of the body.
        max_bytes: Longest body.
        hold: Told the size of each part of a body that comes in several; may raise to refuse it.

    Raises:
        BodyTooLargeError: the body is larger, by its Content-Length or by count.
        BodyTimeoutError: it came too slowly, as whoever gives the parts sees it.
        IncompleteBodyError: the client went away.
    """
    length = header(headers, b"content-length")
    if length.isdigit() and int(length) > max_bytes:
        raise BodyTooLargeError(_too_large(max_bytes, length.decode()))
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


def unpacked_body(body: bytes, encoding: Encoding, count: UnpackedBytes, between: Callable[[], None]) -> bytes:
    """Return a body as it was before it was compressed.

    Args:
        body: The body as it came.
        encoding: How it is compressed.
        count: Told the size of each piece; may raise to refuse it.
        between: Called after each piece; what it raises ends the work.

    Raises:
        BodyTooLargeError: there is more than ``count`` allows.
        BodyError: it is not compressed so, or not whole.
    """
    if encoding is Encoding.NONE:
        return body
    unpacker = unpacker_of(encoding.value, count)
    pieces: list[bytes] = []
    for piece in unpacker.feed(body):
        pieces.append(piece)
        between()
    unpacker.end()
    return b"".join(pieces)


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


def _too_large(max_bytes: int, got: str) -> str:
    return f"body: expected at most {max_bytes} bytes, got {got}"
